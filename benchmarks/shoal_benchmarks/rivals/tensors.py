"""Tensors as the rivals' own messages: a short header, then the bytes as they lie in memory."""

from __future__ import annotations

import math
import socket
from typing import Any, TypeAlias

import msgspec
import numpy as np

from shoal.errors import FrameError

Array: TypeAlias = np.ndarray[Any, Any]
Arrays: TypeAlias = dict[str, Array]

MAX_BYTES = 256 << 20
MAX_HEAD = 64 << 10
MAX_TENSORS = 64
ALIGN = 64
"""Tensors begin at multiples of this, as the engines like them."""


class _Head(msgspec.Struct, frozen=True, array_like=True):
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]


def parts_of(arrays: Arrays) -> list[bytes | memoryview]:
    """The message as chunks, so that a socket can send the tensors from where they are."""
    held = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    head = msgspec.msgpack.encode(
        _Head(tuple((name, a.dtype.name, a.shape) for name, a in held.items()))
    )
    chunks: list[bytes | memoryview] = [_padded(len(head).to_bytes(4, "little") + head)]
    for array in held.values():
        chunks.append(array.reshape(-1).view(np.uint8).data)
        chunks.append(bytes(-array.nbytes % ALIGN))
    return chunks


def pack(arrays: Arrays) -> bytes:
    """The message in one piece."""
    return b"".join(parts_of(arrays))


def unpack(data: bytes | bytearray | memoryview) -> Arrays:
    """The tensors of a message, as views of it. FrameError when it lies."""
    view = memoryview(data)
    size = int.from_bytes(view[:4], "little")
    if size > min(MAX_HEAD, len(view) - 4):
        raise FrameError(f"a message of {len(view)} bytes has no head of {size}")
    try:
        head = msgspec.msgpack.decode(view[4 : 4 + size], type=_Head)
        if len(head.tensors) > MAX_TENSORS:
            raise FrameError(f"a message holds {len(head.tensors)} tensors")
        start = _up(4 + size)
        arrays: Arrays = {}
        for name, dtype, shape in head.tensors:
            count = math.prod(shape)
            arrays[name] = np.frombuffer(view, np.dtype(dtype), count, start).reshape(shape)
            start = _up(start + arrays[name].nbytes)
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        raise FrameError(f"a message cannot be read: {error}") from None
    return arrays


def send(sock: socket.socket, arrays: Arrays) -> None:
    """Send a message with its length before it."""
    chunks = parts_of(arrays)
    size = sum(len(chunk) for chunk in chunks)
    sock.sendall(size.to_bytes(8, "little") + bytes(chunks[0]))
    for chunk in chunks[1:]:
        if len(chunk):
            sock.sendall(chunk)


def receive(sock: socket.socket) -> Arrays | None:
    """The next message; None when the other side has closed."""
    head = _exactly(sock, 8)
    if head is None:
        return None
    size = int.from_bytes(head, "little")
    if size > MAX_BYTES:
        raise FrameError(f"a message of {size} bytes; {MAX_BYTES} is the limit")
    body = _exactly(sock, size)
    return None if body is None else unpack(body)


def _exactly(sock: socket.socket, size: int) -> bytearray | None:
    held = bytearray(size)
    view = memoryview(held)
    while len(view):
        got = sock.recv_into(view)
        if got == 0:
            return None
        view = view[got:]
    return held


def _up(size: int) -> int:
    return size + -size % ALIGN


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGN)
