"""Beginning connections: who calls says hello, who is called hears it and replies.

Strangers cost little: one thread hears all that are not known yet, at most :data:`MAX_PENDING` of
them, each for :data:`HELLO_S`; when there are more, the one that is silent for the longest goes.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import selectors
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

from shoal.errors import FrameError, MeshError, VersionError
from shoal.mesh.doors import IN_TIME, Doors, take
from shoal.mesh.hello import (
    MAX_HELLO,
    PREAMBLE_BYTES,
    CallerHello,
    No,
    Refusal,
    Reply,
    length,
    read_hello,
    read_reply,
    write_hello,
)

MAX_PENDING, LEAST_PENDING = 128, 8
"""Connections that have not said who they are yet, and those whose other half has not come."""
OPEN_FILES = 8
"""The part of the files that this process may have open which are so many connections, at most."""
HELLO_S = 2.0
"""How long a greeting may take."""
TAKEN_AT_ONCE = 16
LOOK_UP_S = 0.1
"""Time after which who waits for a reply looks whether it is still wanted."""
PAUSE_S = 0.05
"""Pause after something that would go wrong again at once."""

TOO_MANY = "too many who say nothing"

log = logging.getLogger("shoal.mesh")

Decide: TypeAlias = Callable[[CallerHello, socket.socket, socket.socket], None]
"""Takes or refuses a session with the connections that it reads from and writes to, and says so
with :func:`reply`."""


class _Pending:
    """A connection that has not said who it is yet."""

    def __init__(self, sock: socket.socket, now: float) -> None:
        self.sock = sock
        self.since = now
        self.data = bytearray()

    def hear(self) -> CallerHello | None:
        """What it says, once it has said it. Raises OSError, or as :func:`length` does."""
        while True:
            wanted = PREAMBLE_BYTES
            if len(self.data) >= PREAMBLE_BYTES:
                wanted += length(self.data)
                if len(self.data) == wanted:
                    return read_hello(bytes(self.data[PREAMBLE_BYTES:]))
            try:
                more = self.sock.recv(wanted - len(self.data))
            except BlockingIOError:
                return None
            if not more:
                raise ConnectionResetError("it hung up")
            self.data += more


class Porter:
    """Takes the connections that come through ``doors``. ``refused`` hears why one was not
    taken."""

    def __init__(
        self, name: str, doors: Doors, decide: Decide, refused: Callable[[str], None]
    ) -> None:
        self._doors = doors
        self._decide = decide
        self._refused = refused
        self._selector = selectors.DefaultSelector()
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.setblocking(False)
        self._pending: OrderedDict[socket.socket, _Pending] = OrderedDict()
        self._halves: OrderedDict[tuple[str, str, int], tuple[CallerHello, socket.socket, float]]
        self._halves = OrderedDict()
        self._most_pending = most_pending()
        self._closed = False
        self.thread = threading.Thread(target=self._serve, name=f"{name}-porter", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._selector.register(self._here, selectors.EVENT_READ)
        for door in self._doors.sockets:
            self._selector.register(door, selectors.EVENT_READ)
        self.thread.start()

    def close(self) -> None:
        """Take no more; the thread ends soon."""
        if self._closed:
            return
        self._closed = True
        if self.thread.ident is None:
            self._clear()
        else:
            with contextlib.suppress(OSError):  # it has seen it already
                self._there.send(b"!")

    # -- the thread -----------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._closed:
            try:
                self._round()
            except Exception:  # a fault of ours must not leave the doors unattended
                log.exception("%s failed", self.thread.name)
                time.sleep(PAUSE_S)
        self._clear()

    def _round(self) -> None:
        waits = self._pending or self._halves
        for key, _ in self._selector.select(HELLO_S / 4 if waits else None):
            sock = key.fileobj
            if not isinstance(sock, socket.socket):
                continue
            if sock in self._pending:
                self._hear(self._pending[sock])
            elif sock is not self._here and sock.fileno() >= 0:
                self._open(sock)
        self._expire(time.monotonic())

    def _open(self, door: socket.socket) -> None:
        for _ in range(TAKEN_AT_ONCE):
            try:
                sock = take(door, self._doors.context)
            except OSError as error:  # no more connections can be had, so it goes on waiting
                self._refused(f"there is no room for it: {error.strerror or error}")
                if not self._pending:
                    time.sleep(PAUSE_S)
                    return
                self._dismiss(next(iter(self._pending.values())), TOO_MANY)
                continue
            if sock is None:
                return
            self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        pending = _Pending(sock, time.monotonic())
        self._pending[sock] = pending
        self._selector.register(sock, selectors.EVENT_READ)
        self._hear(pending)  # mostly it is there already
        while len(self._pending) > self._most_pending:
            self._dismiss(next(iter(self._pending.values())), TOO_MANY)

    def _hear(self, pending: _Pending) -> None:
        try:
            hello = pending.hear()
        except VersionError as error:
            # It finds the version of this node in what it is told. What it said further is taken
            # from the system, which would hang up on it harshly otherwise, and it not hear that.
            reply(pending.sock, Refusal(No.STRANGER, str(error)))
            with contextlib.suppress(OSError):
                pending.sock.recv(MAX_HELLO)
            self._dismiss(pending, str(error))
            return
        except FrameError as error:
            self._dismiss(pending, str(error))
            return
        except OSError:  # a call that was given up, or somebody who looks whether we are there
            self._dismiss(pending, "")
            return
        if hello is None:
            return
        del self._pending[pending.sock]
        self._selector.unregister(pending.sock)
        pending.sock.setblocking(True)
        self._match(hello, pending.sock)

    def _match(self, hello: CallerHello, sock: socket.socket) -> None:
        """Both connections of a session must have come."""
        key = (hello.name, hello.incarnation, hello.number)
        other = self._halves.pop(key, None)
        if other is None:
            self._halves[key] = (hello, sock, time.monotonic())
            while len(self._halves) > self._most_pending:
                self._halves.popitem(last=False)[1][1].close()
            return
        if other[0].back == hello.back:
            self._refused(f"{hello.name} made one half of a connection twice")
            other[1].close()
            sock.close()
            return
        there, back = (other[1], sock) if hello.back else (sock, other[1])
        main = hello if not hello.back else other[0]
        try:
            self._decide(main, there, back)
        except BaseException:
            there.close()
            back.close()
            raise

    def _dismiss(self, pending: _Pending, why: str) -> None:
        del self._pending[pending.sock]
        self._selector.unregister(pending.sock)
        pending.sock.close()
        if why:
            self._refused(why)

    def _expire(self, now: float) -> None:
        for pending in list(self._pending.values()):
            if now - pending.since < HELLO_S:
                break
            self._dismiss(pending, "it said nothing")
        for key, (_, sock, since) in list(self._halves.items()):
            if now - since < HELLO_S:
                break
            del self._halves[key]
            sock.close()

    def _clear(self) -> None:
        for sock in [*self._pending, *(half[1] for half in self._halves.values())]:
            sock.close()
        self._pending.clear()
        self._halves.clear()
        self._selector.close()
        self._doors.close()
        self._here.close()
        self._there.close()


def most_pending() -> int:
    """How many connections may wait to be known, so that a process with few files keeps some."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_PENDING
    return max(LEAST_PENDING, min(MAX_PENDING, files // OPEN_FILES))


def reply(sock: socket.socket, what: Reply) -> None:
    """Answer a hello, on the connection of the two on which the caller sends."""
    with contextlib.suppress(OSError):
        sock.send(write_hello(what), IN_TIME)


def say_hello(
    there: socket.socket,
    back: socket.socket,
    hello: Callable[[bool], CallerHello],
    given_up: Callable[[], bool] = lambda: False,
) -> Reply:
    """Ask for a session on two fresh connections; ``given_up`` says that nobody wants it any more.

    MeshError when what answers is no node, of another version, or does not answer in time.
    """
    end = time.monotonic() + HELLO_S
    try:
        for sock in (back, there):
            sock.settimeout(HELLO_S)  # an encrypted one waits for the other side first
        back.sendall(write_hello(hello(True)), IN_TIME)
        back.settimeout(None)
        there.sendall(write_hello(hello(False)), IN_TIME)
        size = length(_exactly(there, PREAMBLE_BYTES, end, given_up))
        said = read_reply(_exactly(there, size, end, given_up))
        there.settimeout(None)
    except TimeoutError:
        raise MeshError("it does not answer: it is frozen, or no node of Shoal") from None
    except OSError as error:
        raise MeshError(error.strerror or str(error)) from None
    return said


def _exactly(sock: socket.socket, size: int, end: float, given_up: Callable[[], bool]) -> bytes:
    data = bytearray()
    while len(data) < size:
        left = end - time.monotonic()
        if left <= 0 or given_up():
            raise TimeoutError
        sock.settimeout(min(left, LOOK_UP_S))
        with contextlib.suppress(TimeoutError):
            more = sock.recv(size - len(data))
            if not more:
                raise FrameError("it hung up without a word")
            data += more
    return bytes(data)
