"""What one frame on the mesh looks like.

A frame is an *attachment* (a fixed header, then the head of the message) and a *payload* (the
body, untouched, so that it is copied once). Three kinds:

=====  ==========================  =========================================================
DATA   seq, body size              a message; carries head and body
ACK    received, settled, asked,   all that a receiver knows; replaces every earlier one
       when it came
ASK    number                      "what have you got?", sent when an ACK is overdue
=====  ==========================  =========================================================

Each names both incarnations and the session between them, so that nothing meant for another
life of a node, or for the time before a break, is ever taken for something new.
"""

from __future__ import annotations

import math
import struct
from typing import TypeAlias

import msgspec

from shoal.errors import FrameError
from shoal.mesh.link import MAX_BODY, MAX_HEAD

MAGIC = b"Sh"
VERSION = 1
"""Of the header. What follows it may change with the protocol of messages, in which nodes tell each
other that they do not understand each other (``runtime/wire.py``)."""
NO_BODY = (1 << 64) - 1
"""Body size of a message without a body (an empty body has size 0)."""

_HEADER = struct.Struct("<2sBB6Q")
_CAME = struct.Struct("<d")
_DATA, _ACK, _ASK = 1, 2, 3
MAX_ATTACHMENT = _HEADER.size + MAX_HEAD


class Pairing(msgspec.Struct, frozen=True):
    """Who speaks to whom, in which session; incarnations as in :mod:`shoal.mesh.names`."""

    source: str
    target: str
    session: int


class Data(msgspec.Struct, frozen=True):
    """Message number ``seq`` of the session; ``size`` is that of the body, None without one."""

    pairing: Pairing
    seq: int
    head: bytes
    size: int | None


class Ack(msgspec.Struct, frozen=True):
    """All messages up to ``received`` are here, those up to ``settled`` dealt with; ``asked`` is
    the last ASK that was seen. ``came`` is when the last of them came, in seconds on the
    receiver's clock: differences between such times are free of what delays an acknowledgement."""

    pairing: Pairing
    received: int
    settled: int
    asked: int
    came: float


class Ask(msgspec.Struct, frozen=True):
    """ASK number ``number`` of the session."""

    pairing: Pairing
    number: int


Frame: TypeAlias = Data | Ack | Ask


def encode(frame: Frame) -> bytes:
    """The attachment of ``frame``."""
    match frame:
        case Data(pairing, seq, head, size):
            return _header(pairing, _DATA, seq, NO_BODY if size is None else size, 0) + head
        case Ack(pairing, received, settled, asked, came):
            return _header(pairing, _ACK, received, settled, asked) + _CAME.pack(came)
        case Ask(pairing, number):
            return _header(pairing, _ASK, number, 0, 0)


def _header(pairing: Pairing, kind: int, x: int, y: int, z: int) -> bytes:
    source, target = int(pairing.source, 16), int(pairing.target, 16)
    return _HEADER.pack(MAGIC, VERSION, kind, source, target, pairing.session, x, y, z)


def decode(attachment: bytes, payload_bytes: int, max_body: int = MAX_BODY) -> Frame:
    """The frame that came as ``attachment`` with a payload of ``payload_bytes``.

    Raises FrameError when it is not a frame of this version, or when its sizes lie or pass a
    limit. The payload itself is not needed, so nothing is copied for a frame that is refused.
    """
    if not _HEADER.size <= len(attachment) <= MAX_ATTACHMENT or payload_bytes > max_body:
        raise FrameError(
            f"a frame of {len(attachment)} + {payload_bytes} bytes is outside the limits"
        )
    magic, version, kind, source, target, session, x, y, z = _HEADER.unpack_from(attachment)
    if magic != MAGIC or version != VERSION:
        raise FrameError(f"not a frame of version {VERSION} of Shoal's mesh")
    pairing = Pairing(f"{source:016x}", f"{target:016x}", session)
    if (kind == _DATA and z) or (kind == _ASK and (y or z)):
        raise FrameError("a frame holds numbers where its kind has none")
    if kind == _DATA:
        size = None if y == NO_BODY else y
        if (size or 0) != payload_bytes:
            raise FrameError(f"a frame announces {size} bytes and brings {payload_bytes}")
        return Data(pairing, x, attachment[_HEADER.size :], size)
    if len(attachment) != _HEADER.size + (_CAME.size if kind == _ACK else 0) or payload_bytes:
        raise FrameError("a frame without a message brings bytes")
    if kind == _ACK:
        (came,) = _CAME.unpack_from(attachment, _HEADER.size)
        if not math.isfinite(came):
            raise FrameError(f"an acknowledgement says that something came at {came}")
        return Ack(pairing, x, y, z, came)
    if kind == _ASK:
        return Ask(pairing, x)
    raise FrameError(f"a frame is of unknown kind {kind}")
