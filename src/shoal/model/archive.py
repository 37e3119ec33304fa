"""One file with many blobs in it: a zip archive whose members are stored as they are.

Archives come from outside, so nothing of one is believed: the list of members is bounded before
it is read, members may not be compressed, and all of them together cannot be larger than the file.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from shoal.errors import ModelFileError
from shoal.model.store import write_file

MAX_FILE_BYTES = 1 << 30
"""Largest archive that is read or written."""
MAX_LIST_BYTES = 8 << 20
"""Largest list of members."""
_END = struct.Struct("<4s4H2LH")
_FIRST = b"PK\x03\x04"
_MARK, _MARK_64 = b"PK\x05\x06", b"PK\x06\x07"
_LOCATOR_64 = 20
_DATE = (1980, 1, 1, 0, 0, 0)


def write_archive(path: str | Path, members: Iterable[tuple[str, bytes | memoryview]]) -> None:
    """Write an archive, whole or not at all; equal members give equal bytes. StoreError when it
    cannot be written, ModelFileError when it would be too large to be read again."""
    file = BytesIO()
    size = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name, data in members:
            size += memoryview(data).nbytes
            if size > MAX_FILE_BYTES:
                raise ModelFileError(f"{path}: more than {MAX_FILE_BYTES} bytes; use less weights.")
            archive.writestr(zipfile.ZipInfo(name, _DATE), bytes(data))
    write_file(path, file.getbuffer())


def read_archive(path: str | Path, limits: Mapping[str, int]) -> dict[str, bytes]:
    """The members of an archive by name.

    ``limits`` maps the beginning of a member's name to the most bytes that it may have; a member
    whose name begins otherwise is refused. ModelFileError says what is wrong with the file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _read(file, str(path), limits)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, EOFError) as error:
        raise _damaged(str(path), str(error)) from None


def is_archive(path: str | Path) -> bool:
    """Whether a file begins as archives do (False as well when it cannot be read)."""
    try:
        if not Path(path).is_file():  # opening a pipe waits for whoever writes to it
            return False
        with Path(path).open("rb") as file:
            return file.read(len(_FIRST)) == _FIRST
    except (OSError, ValueError):  # no such file, or no path at all: with a zero byte, say
        return False


def _read(file: BinaryIO, what: str, limits: Mapping[str, int]) -> dict[str, bytes]:
    size = os.fstat(file.fileno()).st_size
    if size > MAX_FILE_BYTES:
        raise ModelFileError(f"{what} has {size} bytes; at most {MAX_FILE_BYTES} are read.")
    _check_end(file, size, what)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        total = 0
        for member in members:
            limit = next((m for name, m in limits.items() if member.filename.startswith(name)), 0)
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 0x1:
                raise ModelFileError(
                    f"{what}: {member.filename[:80]!r} is compressed or locked; "
                    "such files are not read."
                )
            if member.file_size > limit or member.file_size != member.compress_size:
                raise ModelFileError(
                    f"{what}: {member.filename[:80]!r} has no place in it, or has "
                    f"{member.file_size} bytes and may have {limit}."
                )
            total += member.file_size
        if total > size:
            raise _damaged(what, "its members overlap")
        if len({member.filename for member in members}) < len(members):
            raise _damaged(what, "two members have one name")
        return {member.filename: archive.read(member) for member in members}


def _check_end(file: BinaryIO, size: int, what: str) -> None:
    """Check the record at the end, which says how long the list of members is."""
    if size < _END.size:
        raise _damaged(what, f"{size} bytes are too few")
    start = max(0, size - _END.size - _LOCATOR_64)
    file.seek(start)
    tail = file.read()
    mark, disk, list_disk, here, count, list_bytes, list_at, comment = _END.unpack(
        tail[-_END.size :]
    )
    if mark != _MARK or disk or list_disk or comment or here != count:
        raise _damaged(what, "its end is missing")
    if tail[: -_END.size].startswith(_MARK_64):
        raise ModelFileError(f"{what} is an archive of a kind (ZIP64) that is not read.")
    if list_bytes > MAX_LIST_BYTES:
        raise ModelFileError(f"{what}: its list of members has {list_bytes} bytes, too many.")
    if list_at + list_bytes + _END.size != size:
        raise _damaged(what, "its length is not what it says")


def _damaged(what: str, why: str) -> ModelFileError:
    return ModelFileError(f"{what} is no archive of Shoal, or damaged ({why[:200]}).")
