"""Parts on disk, each blob under the hash of its content.

Layout: ``<root>/ab/abcdef...`` holds the bytes whose SHA-256 is ``abcdef...``: graphs and weights
alike. Several processes may use one store: a file appears whole or not at all (written aside,
flushed, renamed), and is never changed. Every file is verified when this process first reads it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from shoal.cache import cache_folder, is_file
from shoal.errors import HashError, StoreError
from shoal.model.dtypes import Buffer
from shoal.model.wire import externals, is_hash

if TYPE_CHECKING:
    from shoal.model.part import Part


_MAPPED_BYTES = 64 * 1024
"""Files of at least this size are mapped, smaller ones read: each mapping holds a file open."""


_ABANDONED_S = 3600.0
"""No writer takes as long for one file."""


class PartStore:
    """A folder of blobs named by their hash.

    ``limit_bytes`` bounds the folder: what was used least recently is dropped when it is
    exceeded (None: no bound). Methods raise :class:`StoreError` when the disk does not do what is
    asked, and its child :class:`HashError` when bytes do not match their hash.
    """

    def __init__(self, root: str | Path | None = None, *, limit_bytes: int | None = None) -> None:
        self.root = Path(root) if root is not None else cache_folder() / "parts"
        self.limit_bytes = limit_bytes
        self._verified: set[tuple[str, int, int]] = set()
        with _disk(f"make the folder {self.root}"):
            self.root.mkdir(parents=True, exist_ok=True)
        self._clear()

    def has(self, hash: str) -> bool:
        """Whether the bytes of this hash are here."""
        return is_file(self._path(hash))

    def put(self, data: Buffer, *, hash: str | None = None) -> str:
        """Store bytes; their hash. If ``hash`` is given the bytes must have it."""
        found = hashlib.sha256(data).hexdigest()
        if hash is not None and found != hash:
            raise HashError(f"Bytes that should have hash {hash} have {found}: get them again.")
        path = self._path(found)
        if not is_file(path):
            self._make_room(memoryview(data).nbytes)
            write_whole(path, data)
        return found

    def get(self, hash: str) -> memoryview:
        """The bytes of this hash, read-only; large ones are mapped from disk."""
        path = self._path(hash)
        try:
            with path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if stat.st_size < _MAPPED_BYTES:
                    view = memoryview(file.read())
                else:
                    view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except FileNotFoundError:
            raise StoreError(f"The store {self.root} does not hold {hash}.") from None
        except OSError as error:
            raise StoreError(f"The store cannot read {path}: {error}.") from None
        seen = (hash, stat.st_mtime_ns, stat.st_size)
        if seen not in self._verified:
            if hashlib.sha256(view).hexdigest() != hash:
                view.release()
                self.drop(hash)
                raise HashError(f"{path} was damaged; it is removed, get it again.")
            self._verified.add(seen)
        return view

    def drop(self, hash: str) -> None:
        """Forget the bytes of this hash, if they are here."""
        with _disk(f"remove {self._path(hash)}"):
            self._path(hash).unlink(missing_ok=True)

    def add_part(self, part: Part) -> str:
        """Store a part, weights first, so that a graph that is here has its weights; its hash."""
        sizes = [memoryview(blob).nbytes for blob in part.blobs.values()]
        self._check_limit(sum(sizes) + len(part.graph))
        for hash, blob in part.blobs.items():
            if not self.has(hash):
                self.put(blob, hash=hash)
        return self.put(part.graph, hash=part.hash)

    def missing(self, hash: str) -> tuple[str, ...]:
        """Hashes still to get before part ``hash`` can be loaded: its graph, then its weights."""
        if not self.has(hash):
            return (hash,)
        needed = dict.fromkeys(weight.blob for weight in externals(self.get(hash)))
        return tuple(blob for blob in needed if not self.has(blob))

    def load_part(self, hash: str) -> tuple[bytes, dict[str, memoryview]]:
        """Graph and weights of a part."""
        graph = bytes(self.get(hash))
        needed = dict.fromkeys(weight.blob for weight in externals(graph))
        blobs = {blob: self.get(blob) for blob in needed}
        for kept in (hash, *needed):
            self._touch(kept)
        return graph, blobs

    def hashes(self) -> tuple[str, ...]:
        """Everything that is here."""
        return tuple(sorted(path.name for path in self._files()))

    def size_bytes(self) -> int:
        """Bytes of everything that is here."""
        return sum(size for _, size, _ in self._used())

    def _path(self, hash: str) -> Path:
        if not is_hash(hash):
            raise HashError(f"{hash[:80]!r} is not a hash (64 lower-case hexadecimal digits).")
        return self.root / hash[:2] / hash

    def _touch(self, hash: str) -> None:
        """Note a use: the access time, which the file system alone may not keep."""
        path = self._path(hash)
        with contextlib.suppress(OSError):
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))

    def _make_room(self, needed: int) -> None:
        if self.limit_bytes is None:
            return
        self._check_limit(needed)
        used = sorted(self._used())
        total = sum(size for _, size, _ in used)
        for _, size, path in used:
            if total + needed <= self.limit_bytes:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size

    def _check_limit(self, needed: int) -> None:
        if self.limit_bytes is not None and needed > self.limit_bytes:
            raise StoreError(
                f"{needed} bytes do not fit into the store {self.root}, "
                f"whose limit is {self.limit_bytes} bytes: raise the limit."
            )

    def _clear(self) -> None:
        """Remove what writers that were killed left half-written."""
        for path in self.root.glob("*/.new-*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()

    def _used(self) -> Iterator[tuple[int, int, Path]]:
        for path in self._files():
            with contextlib.suppress(OSError):
                stat = path.stat()
                yield max(stat.st_atime_ns, stat.st_mtime_ns), stat.st_size, path

    def _files(self) -> Iterator[Path]:
        with _disk(f"list {self.root}"):
            for folder in self.root.iterdir():
                if folder.is_dir():
                    yield from (path for path in folder.iterdir() if is_hash(path.name))


def write_whole(path: Path, data: Buffer) -> None:
    """Write a file so that it is there whole or not at all, even if the power fails."""
    with _disk(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(aside).rename(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise


def write_file(path: str | Path, data: Buffer) -> None:
    """Write a file that the user named, whole or not at all: beside it, then renamed. Its rights
    are those of any new file. What is no regular file (a pipe, ``/dev/null``) is written to."""
    path = Path(path)
    aside = path.with_name(f".{path.name[:200]}.new-{os.getpid()}")
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        try:
            aside.write_bytes(data)
            aside.replace(path.resolve())
        finally:
            aside.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # links in a circle, for the latter
        raise _unwritable(path, error) from None


def check_file(path: str | Path) -> None:
    """StoreError when a file that the user named can surely not be written."""
    path = Path(path)
    try:
        path.resolve()
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"there is no folder {path.parent}")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, RuntimeError) as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError | RuntimeError) -> StoreError:
    reason = error.strerror if isinstance(error, OSError) else None
    return StoreError(f"cannot write {path}: {reason or error}")


@contextlib.contextmanager
def _disk(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = {
            errno.ENOSPC: "The disk is full: make room or set SHOAL_CACHE to another disk.",
            errno.EDQUOT: "The quota is used up: make room or set SHOAL_CACHE to another disk.",
            errno.EACCES: "Rights are missing: set SHOAL_CACHE to a folder you may write.",
            errno.EROFS: "The disk is read-only: set SHOAL_CACHE to a folder you may write.",
        }.get(error.errno or 0, "Set SHOAL_CACHE to a folder on a working disk.")
        raise StoreError(f"The store cannot {what}: {error.strerror or error}. {hint}") from None
