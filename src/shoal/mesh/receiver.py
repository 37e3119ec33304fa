"""The receiving end of a connection: frames from a socket, bodies read to where they stay."""

from __future__ import annotations

import socket
import time
from typing import TypeAlias

import msgspec
import numpy as np

from shoal.errors import FrameError
from shoal.mesh.frames import HEADER_BYTES, Header, Kind, NodeSeen, read_header, read_news
from shoal.mesh.tcp_info import tcp_info

AHEAD_BYTES = 1 << 14
"""What is read at a time where it is not known how much comes."""


class Incoming(msgspec.Struct, frozen=True):
    """A message that came."""

    head: bytes
    body: memoryview | None


class Asked(msgspec.Struct, frozen=True):
    """The other end wants to hear something."""


class News(msgspec.Struct, frozen=True):
    """The other end says whom it is in touch with."""

    nodes: list[NodeSeen]


Came: TypeAlias = Incoming | Asked | News


class Receiver:
    """Reads from ``sock``, which blocks. One thread may use it; ``received`` and ``bytes_received``
    count messages."""

    def __init__(self, sock: socket.socket, max_body: int) -> None:
        self.received = self.bytes_received = 0
        self._sock = sock
        self._heard_at = time.monotonic()
        # To be woken for all of a piece costs less; the system knows what came of it meanwhile.
        self._flags = 0 if tcp_info(sock) is None else socket.MSG_WAITALL
        self._max_body = max_body
        self._ahead = bytearray(AHEAD_BYTES)
        self._view = memoryview(self._ahead)
        self._start = self._end = 0
        self._head = b""
        self._body: memoryview | None = None
        self._at = 0  # bytes of the body that are here

    def heard_at(self, now: float) -> float:
        """When something came last; any thread may ask."""
        info = tcp_info(self._sock)
        return self._heard_at if info is None else max(self._heard_at, now - info.unheard_s)

    def next(self) -> Came | None:
        """What comes next; None at the end. FrameError for what breaks the rules, OSError when the
        connection broke."""
        while self._fill(HEADER_BYTES):
            header = read_header(self._view[self._start : self._end], self._max_body)
            self._start += HEADER_BYTES
            came = self._frame(header)
            if came is not None:
                return came
        return None

    def _frame(self, header: Header) -> Came | None:
        """What a frame completes, if it does."""
        match header.kind:
            case Kind.PING:
                return Asked()
            case Kind.PONG:
                return None
            case Kind.WEIGHT:
                self._skip(header.piece)
                return None
            case Kind.NEWS:
                return News(read_news(self._bytes(header.head)))
            case Kind.MESSAGE:
                if self._body is not None:
                    raise FrameError("a message came before the end of the last one")
                self._head = self._bytes(header.head)
                if header.body is None:
                    return self._whole(None)
                self._body = _memory(header.body)
                self._at = 0
                return self._piece(header.piece)
            case Kind.PIECE:
                return self._piece(header.piece)

    def _piece(self, size: int) -> Incoming | None:
        body = self._body
        if body is None or size > len(body) - self._at:
            raise FrameError("a piece came that belongs to no message")
        self._into(body[self._at : self._at + size])
        self._at += size
        if self._at < len(body):
            return None
        self._body = None
        return self._whole(body)

    def _whole(self, body: memoryview | None) -> Incoming:
        self.received += 1
        head, self._head = self._head, b""
        self.bytes_received += len(head) + (0 if body is None else len(body))
        return Incoming(head, body)

    def _bytes(self, size: int) -> bytes:
        if size <= AHEAD_BYTES:
            if not self._fill(size):
                raise _broken()
            self._start += size
            return bytes(self._view[self._start - size : self._start])
        taken = bytearray(size)
        self._into(memoryview(taken))
        return bytes(taken)

    def _fill(self, size: int) -> bool:
        """Have so many bytes at hand; False where the connection ended before the first."""
        while self._end - self._start < size:
            if self._start:
                left = self._end - self._start
                self._view[:left] = bytes(self._view[self._start : self._end])
                self._start, self._end = 0, left
            count = self._sock.recv_into(self._view[self._end :])
            if not count:
                if self._end or self._body is not None:
                    raise _broken()
                return False
            self._heard_at = time.monotonic()
            self._end += count
        return True

    def _skip(self, size: int) -> None:
        while size and self._fill(1):
            taken = min(size, self._end - self._start)
            self._start += taken
            size -= taken

    def _into(self, target: memoryview) -> None:
        """Fill a buffer with what comes: what was read ahead, then straight from the system."""
        ahead = min(len(target), self._end - self._start)
        target[:ahead] = self._view[self._start : self._start + ahead]
        self._start += ahead
        at = ahead
        while at < len(target):
            count = self._sock.recv_into(target[at:], 0, self._flags)
            if not count:
                raise _broken()
            self._heard_at = time.monotonic()
            at += count


def _memory(size: int) -> memoryview:
    """Memory for a body. It is not touched before bytes are there, so a lie takes none. FrameError
    where the system does not even promise it: less than the whole memory of a small board."""
    try:
        return np.empty(size, np.uint8).data
    except MemoryError:
        raise FrameError(f"there is no memory for a body of {size} bytes") from None


def _broken() -> ConnectionResetError:
    return ConnectionResetError("it left in the middle of a message")
