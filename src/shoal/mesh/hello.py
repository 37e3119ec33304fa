"""What a connection begins with: who calls whom, and what it is for.

A session between two nodes is two connections, one for each direction, both made by who calls.
So a connection is never read and written at the same time, which encrypted ones would not bear.
Each begins with a :class:`CallerHello`; the other side replies with a :class:`Welcome` or a
:class:`Refusal`. All are ``[4 letters][version][length][MessagePack]``.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import TypeAlias, TypeVar

import msgspec

from shoal.errors import FrameError, VersionError
from shoal.mesh.names import is_incarnation, is_name
from shoal.mesh.place import MAX_PLACES, Place, is_place

VERSION = 1
"""Of what is said here and of the frames that follow."""
MAX_HELLO = 1 << 14
"""Bytes of a hello or a reply."""
MAX_TEXT = 300
"""Letters of what a stranger says that are shown."""

_PREAMBLE = struct.Struct("<4sHI")
PREAMBLE_BYTES = _PREAMBLE.size
_LETTERS = b"Shol"


class CallerHello(msgspec.Struct, frozen=True, array_like=True):
    """``name`` in its life ``incarnation`` calls ``target`` in the life that it knows of it, for
    its session ``number``; the connection carries what the caller sends, or (``back``) what it is
    sent. It takes data itself at ``places``."""

    cluster: str
    name: str
    incarnation: str
    target: str
    life: str
    number: int
    back: bool
    places: tuple[Place, ...] = ()


class No(StrEnum):
    """Why a node does not want a session."""

    AGAIN = "again"
    """Not now: there is another, which is ending or comes first. Call again at once."""
    STRANGER = "stranger"
    """It is not the node that is called, or not of this cluster."""


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The session stands."""


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """It does not, and why: ``name`` and ``incarnation`` are of who refuses."""

    no: No
    text: str
    name: str = ""
    incarnation: str = ""


Reply: TypeAlias = Welcome | Refusal
_T = TypeVar("_T")

_encode = msgspec.msgpack.Encoder().encode
_decode_hello = msgspec.msgpack.Decoder(CallerHello)
_decode_reply: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def write_hello(message: CallerHello | Welcome | Refusal) -> bytes:
    """The bytes of a hello or a reply."""
    data = _encode(message)
    return _PREAMBLE.pack(_LETTERS, VERSION, len(data)) + data


def length(preamble: bytes | bytearray | memoryview) -> int:
    """How many bytes follow a preamble.

    FrameError for what is none (a stranger, or a port of something else) or too long,
    VersionError for another version of the wire.
    """
    letters, version, size = _PREAMBLE.unpack_from(preamble)
    if letters != _LETTERS:
        raise FrameError("what answers there is no node of Shoal")
    if version != VERSION:
        raise VersionError(
            f"speaks version {version} of the wire, this is version {VERSION}; install the same "
            "version of Shoal on both"
        )
    if size > MAX_HELLO:
        raise FrameError(f"a greeting of {size} bytes came; {MAX_HELLO} are the limit")
    return int(size)


def read_hello(data: bytes) -> CallerHello:
    """The hello in what follows the preamble; FrameError for what cannot be one."""
    hello = _read(_decode_hello, data)
    if (
        not all(map(is_name, (hello.cluster, hello.name, hello.target)))
        or not is_incarnation(hello.incarnation)
        or not is_incarnation(hello.life)
        or len(hello.places) > MAX_PLACES
        or not all(map(is_place, hello.places))
    ):
        raise FrameError("a greeting cannot be true")
    return hello


def read_reply(data: bytes) -> Reply:
    """The reply in what follows the preamble; FrameError for what cannot be one. What is shown of
    it is short and can be."""
    said = _read(_decode_reply, data)
    if isinstance(said, Welcome):
        return said
    text = "".join(letter if letter.isprintable() else " " for letter in said.text[:MAX_TEXT])
    name = said.name if is_name(said.name) else ""
    return Refusal(
        said.no, text, name, said.incarnation if is_incarnation(said.incarnation) else ""
    )


def _read(decoder: msgspec.msgpack.Decoder[_T], data: bytes) -> _T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise FrameError(f"a greeting cannot be read: {error}") from None
