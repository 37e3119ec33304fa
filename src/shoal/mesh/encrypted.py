"""An encrypted connection, used as a plain one is.

The mesh sends with ``sendmsg``, in part without waiting, and hangs up on one thread while another
reads; a ``ssl.SSLSocket`` does neither. Hands are shaken with what is read and sent first, so
nobody waits for that apart from those who wait for a greeting.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import Any

from shoal.errors import FrameError

RECORD_BYTES = 1 << 14
"""Bytes that are encrypted at a time, at most."""


def encrypt(
    sock: socket.socket, context: ssl.SSLContext, called: str | None = None
) -> socket.socket:
    """A fresh connection, encrypted: to the host ``called``, or one that somebody made to here."""
    context.sslsocket_class = Encrypted
    if called is None:
        # Nobody reads what a session could be resumed with from a connection that only sends; a
        # connection that is closed with something unread is reset, and the last words are lost.
        context.num_tickets = 0
    return context.wrap_socket(
        sock,
        server_side=called is None,
        do_handshake_on_connect=False,
        server_hostname=called if context.check_hostname else None,
    )


class Encrypted(ssl.SSLSocket):
    """One thread at a time reads from it or sends on it."""

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        with _as_plain(reads=True):
            return super().recv(buflen)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        with _as_plain(reads=True):
            return super().recv_into(buffer, nbytes or None)

    def send(self, data: Any, flags: int = 0) -> int:
        with _as_plain(reads=False):
            return super().send(data)

    def sendall(self, data: Any, flags: int = 0) -> None:
        with _as_plain(reads=False):
            super().sendall(data)

    def sendmsg(  # type: ignore[override]
        self,
        buffers: Iterable[Any],
        ancdata: Iterable[Any] = (),
        flags: int = 0,
        address: Any = None,
    ) -> int:
        """What could not be sent must be sent first the next time, as the mesh does."""
        self.settimeout(0.0 if flags & socket.MSG_DONTWAIT else None)
        sent = 0
        try:
            for data in _records(buffers):
                while len(data):
                    # Of more, some ciphers say that nothing is sent before all of it is.
                    count = self.send(data[:RECORD_BYTES])
                    sent += count
                    data = data[count:]
        except BlockingIOError:
            if not sent:
                raise
        finally:
            self.settimeout(None)
        return sent

    def shutdown(self, how: int) -> None:
        """Wake all who wait. A thread that reads must not take for plain what is encrypted."""
        socket.socket.shutdown(self, how)


@contextlib.contextmanager
def _as_plain(reads: bool) -> Iterator[None]:
    """Say that something would have to be waited for as a plain socket does, and what is wrong with
    what was read: FrameError."""
    try:
        yield
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
        raise BlockingIOError(*error.args) from None
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError):
        raise
    except ssl.SSLError as error:
        if reads:
            raise FrameError(f"it is not encrypted as it must be: {error.reason}") from error
        raise


def _records(buffers: Iterable[Any]) -> Iterator[memoryview]:
    """All bytes; what is short is put together with what follows it."""
    short = bytearray()
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        if short or len(view) < RECORD_BYTES:
            taken = view[: RECORD_BYTES - len(short)]
            short += taken
            view = view[len(taken) :]
            if len(short) < RECORD_BYTES:
                continue
            yield memoryview(bytes(short))
            short.clear()
        if len(view) < RECORD_BYTES:
            short += view
        else:
            yield view
    if short:
        yield memoryview(bytes(short))
