"""The wire of the in-process mesh: one thread that carries bytes between pairs of sockets."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

MAX_CARRIED = 1 << 22
"""Bytes that are on their way on one connection; more are not taken from who sends them."""
TAKEN_AT_ONCE = 1 << 18

Way: TypeAlias = tuple[str, str]
"""From whom to whom."""


class _Pipe:
    """One direction of one connection: from ``source`` to ``target``."""

    def __init__(self, way: Way, source: socket.socket, target: socket.socket) -> None:
        self.way = way
        self.source, self.target = source, target
        self.carried: deque[tuple[float, memoryview]] = deque()
        self.bytes = 0
        self.ended = False  # nothing more comes from the source
        self.over = False  # and nothing more goes to the target

    def take(self, due: float) -> None:
        """Take from the source what is there."""
        try:
            data = self.source.recv(TAKEN_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.carried.append((due, memoryview(data)))
            self.bytes += len(data)
        else:
            self.ended = True

    def give(self, now: float) -> None:
        """Give the target what is due."""
        try:
            while self.carried and self.carried[0][0] <= now:
                due, data = self.carried[0]
                count = self.target.send(data)
                self.bytes -= count
                if count < len(data):
                    self.carried[0] = due, data[count:]
                else:
                    self.carried.popleft()
        except BlockingIOError:
            return
        except OSError:  # who receives is gone: who sends shall know
            self.carried.clear()
            self.ended = True
            with contextlib.suppress(OSError):
                self.source.shutdown(socket.SHUT_RDWR)
        if self.ended and not self.carried:
            self.over = True
            with contextlib.suppress(OSError):
                self.target.shutdown(socket.SHUT_WR)


class Ether:
    """The thread runs while there are connections."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pipes: list[_Pipe] = []
        self._stopped: set[Way] = set()
        self._frozen: set[str] = set()
        self._delays: dict[Way, float] = {}
        self._calls: tuple[socket.socket, socket.socket] | None = None

    def connect(self, way: Way) -> tuple[socket.socket, socket.socket]:
        """A connection from the first to the second of ``way``: their ends of it."""
        mine, near = socket.socketpair()
        theirs, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
        with self._lock:
            self._pipes += [_Pipe(way, near, far), _Pipe((way[1], way[0]), far, near)]
            if self._calls is None:
                self._calls = socket.socketpair()
                threading.Thread(target=self._serve, name="ether", daemon=True).start()
            self._wake()
        return mine, theirs

    def stop(self, way: Way, stopped: bool) -> None:
        """Let nothing pass on a way any more, not even that somebody hung up; or let it again."""
        with self._lock:
            (self._stopped.add if stopped else self._stopped.discard)(way)
            self._wake()

    def freeze(self, name: str, frozen: bool) -> None:
        """A node does not take or send anything any more; or it does again."""
        with self._lock:
            (self._frozen.add if frozen else self._frozen.discard)(name)
            self._wake()

    def delay(self, way: Way, seconds: float) -> None:
        """What goes this way takes so long."""
        with self._lock:
            self._delays[way] = seconds

    def drop(self, which: Callable[[Way], bool]) -> None:
        """Break connections."""
        with self._lock:
            for pipe in self._pipes:
                if which(pipe.way):
                    pipe.carried.clear()
                    pipe.ended = pipe.over = True
                    for sock in (pipe.source, pipe.target):
                        with contextlib.suppress(OSError):
                            sock.shutdown(socket.SHUT_RDWR)
            self._wake()

    def _wake(self) -> None:
        if self._calls is not None:
            self._calls[1].send(b"!")

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._pipes and self._calls is not None:
                    for sock in self._calls:
                        sock.close()
                    self._calls = None
                if self._calls is None:
                    return
                poll, wait_s = self._watch(time.monotonic())
                bell = self._calls[0]
            ready = dict(poll.poll(None if wait_s is None else max(0.0, wait_s * 1e3)))
            if bell.fileno() in ready:
                bell.recv(4096)
            with self._lock:
                self._move(ready, time.monotonic())

    def _watch(self, now: float) -> tuple[select.poll, float | None]:
        """What to wait for, and for how long at most."""
        events: dict[int, int] = {self._calls[0].fileno(): select.POLLIN} if self._calls else {}
        wait_s: float | None = None
        for pipe in self._pipes:
            if pipe.way in self._stopped or pipe.over:
                continue
            takes = not pipe.ended and pipe.bytes < MAX_CARRIED and pipe.way[0] not in self._frozen
            if takes:
                number = pipe.source.fileno()
                events[number] = events.get(number, 0) | select.POLLIN
            if pipe.carried and pipe.way[1] not in self._frozen:
                left = pipe.carried[0][0] - now
                if left <= 0:
                    number = pipe.target.fileno()
                    events[number] = events.get(number, 0) | select.POLLOUT
                else:
                    wait_s = left if wait_s is None else min(wait_s, left)
        poll = select.poll()
        for number, mask in events.items():
            poll.register(number, mask)
        return poll, wait_s

    def _move(self, ready: dict[int, int], now: float) -> None:
        for pipe in self._pipes:
            if pipe.way in self._stopped or pipe.over:
                continue
            if (
                ready.get(pipe.source.fileno(), 0) & ~select.POLLOUT
                and not pipe.ended
                and pipe.bytes < MAX_CARRIED
                and pipe.way[0] not in self._frozen
            ):
                pipe.take(now + self._delays.get(pipe.way, 0.0))
            if pipe.way[1] not in self._frozen and (pipe.carried or pipe.ended):
                pipe.give(now)
        # Both directions share the sockets.
        for there, back in zip(self._pipes[::2], self._pipes[1::2], strict=True):
            if there.over and back.over:
                there.source.close()
                there.target.close()
        self._pipes = [
            pipe
            for pair in zip(self._pipes[::2], self._pipes[1::2], strict=True)
            for pipe in pair
            if not (pair[0].over and pair[1].over)
        ]
