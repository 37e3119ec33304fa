"""What goes over a connection once it stands: frames with a head of fixed size.

========  ===========================================================================
MESSAGE   a message: its head, and the first piece of its body (all of it, mostly)
PIECE     the next piece of the body of the message before
PING      "say something"; may stand between two pieces
PONG      the answer to a PING
NEWS      whom the sender is in touch with, and where these take data
WEIGHT    bytes that mean nothing, so that the system learns what the line carries
========  ===========================================================================

A body on a slow line is sent in pieces, so that a question whether somebody is there need not wait
for all of it. Every length is checked before memory is taken for it.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from shoal.errors import FrameError
from shoal.mesh.events import MAX_HEAD
from shoal.mesh.names import is_incarnation, is_name
from shoal.mesh.place import MAX_PLACES, Place, is_place

MAX_NEWS = 1 << 18
"""Bytes of one NEWS."""
MAX_KNOWN = 1024
"""Nodes in one NEWS."""
MAX_WEIGHT = 1 << 18
"""Bytes of one WEIGHT."""
NO_BODY = (1 << 64) - 1
"""Body size of a message without a body (an empty body has size 0)."""

_HEADER = struct.Struct("<2sBxIQI")
HEADER_BYTES = _HEADER.size
_MAGIC = b"Sh"


class Kind(IntEnum):
    """What a frame is."""

    MESSAGE = 1
    PIECE = 2
    PING = 3
    PONG = 4
    NEWS = 5
    WEIGHT = 6


class Header(msgspec.Struct, frozen=True):
    """The head of a frame: ``head`` bytes of a head and ``piece`` bytes of a body follow; ``body``
    is the size of the whole body, None without one."""

    kind: Kind
    head: int = 0
    body: int | None = None
    piece: int = 0


class NodeSeen(msgspec.Struct, frozen=True, array_like=True):
    """A node that somebody is in touch with."""

    name: str
    incarnation: str
    places: tuple[Place, ...]


def write_header(kind: Kind, head: int = 0, body: int | None = None, piece: int = 0) -> bytes:
    """The bytes of a header."""
    return _HEADER.pack(_MAGIC, kind, head, NO_BODY if body is None else body, piece)


def read_header(data: bytes | bytearray | memoryview, max_body: int) -> Header:
    """The header in the first bytes of ``data``; FrameError for what is none, or over a limit."""
    magic, number, head, body, piece = _HEADER.unpack_from(data)
    try:
        kind = Kind(number)
    except ValueError:
        raise FrameError(f"a frame of unknown kind {number} came") from None
    if magic != _MAGIC:
        raise FrameError("something came that is no frame")
    size = None if body == NO_BODY else body
    most = MAX_NEWS if kind is Kind.NEWS else MAX_HEAD
    max_body = min(max_body, MAX_WEIGHT) if kind is Kind.WEIGHT else max_body
    if head > most or (size or 0) > max_body or piece > (size or 0):
        raise FrameError(
            f"a frame says that it has {head} + {size} bytes, {piece} of them here; "
            f"{most} + {max_body} can be"
        )
    return Header(kind, head, size, piece)


_decode_news = msgspec.msgpack.Decoder(list[NodeSeen]).decode


def write_news(nodes: list[NodeSeen]) -> bytes:
    """A whole NEWS frame; what is over the limits is left out."""
    known = msgspec.msgpack.encode(nodes[:MAX_KNOWN])
    while len(known) > MAX_NEWS:
        nodes = nodes[: len(nodes) // 2]
        known = msgspec.msgpack.encode(nodes)
    return write_header(Kind.NEWS, len(known)) + known


def read_news(head: bytes) -> list[NodeSeen]:
    """The nodes in the head of a NEWS; those that cannot be are left out. FrameError for what
    cannot be read."""
    try:
        nodes = _decode_news(head)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise FrameError(f"news cannot be read: {error}") from None
    return [
        node
        for node in nodes[:MAX_KNOWN]
        if is_name(node.name)
        and is_incarnation(node.incarnation)
        and len(node.places) <= MAX_PLACES
        and all(map(is_place, node.places))
    ]
