"""A recording: all steps of a node from its start, as bytes.

A line that says what it is, then entries, each behind its length (4 bytes, the high ones first) and
in MessagePack: what the node was made of, its steps, and at the end why there are no more. One that
breaks off before (the process was killed) holds all that was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec

from shoal.core.log import Step
from shoal.core.messages import PROTOCOL
from shoal.core.settings import Origin
from shoal.errors import RecordingError

FORMAT = 2
"""Version of events, actions and entries."""
MAX_ENTRY = 64 << 20
_KIND = b"shoal recording "
_FIRST = _KIND + f"format {FORMAT} protocol {PROTOCOL}\n".encode()
_LENGTH = 4


class RecordingHead(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Whose steps follow: what the node was made of, and the version of Shoal that ran."""

    origin: Origin
    version: str


class End(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """No more steps follow; ``why`` is empty where the node ended."""

    why: str = ""


Entry: TypeAlias = RecordingHead | Step | End

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def begin(header: RecordingHead) -> bytes:
    """The beginning of a recording."""
    return _FIRST + encode(header)


def encode(entry: Entry) -> bytes:
    """An entry as bytes."""
    data = _encoder.encode(entry)
    return len(data).to_bytes(_LENGTH, "big") + data


def decode(chunks: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of a recording that comes in pieces: a header, steps, and an End unless it breaks
    off. RecordingError for anything else."""
    pieces, count = _Pieces(chunks), 0
    first = pieces.take(len(_FIRST))
    if not first.startswith(_KIND):
        raise RecordingError("it is no recording of a node")
    if first != _FIRST:
        theirs, ours = (line[len(_KIND) :].decode(errors="replace") for line in (first, _FIRST))
        raise RecordingError(
            f"it is in {theirs.strip()}, this Shoal plays {ours.strip()}: play it with the version "
            "that recorded it"
        )
    while True:
        length = int.from_bytes(pieces.take(_LENGTH), "big")
        if length > MAX_ENTRY:
            raise RecordingError(f"entry {count + 1} is damaged: it says that it is {length} bytes")
        data = pieces.take(length)
        if not length or len(data) < length:
            break
        count += 1
        entry = _decoded(data, count)
        if isinstance(entry, RecordingHead) is not (count == 1):
            raise RecordingError(f"entry {count} is out of place")
        yield entry
        if isinstance(entry, End):
            return
    if not count:
        raise RecordingError("it ends before the node began")


def _decoded(data: bytes, count: int) -> Entry:
    try:
        entry: Entry = _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
        raise RecordingError(f"entry {count} is damaged: {error}") from None
    return entry


class _Pieces:
    """Bytes that come in pieces, taken in others."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = bytearray()

    def take(self, size: int) -> bytes:
        """The next bytes, ``size`` of them; fewer where that is all."""
        while len(self._left) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._left += chunk
        taken = bytes(self._left[:size])
        del self._left[:size]
        return taken
