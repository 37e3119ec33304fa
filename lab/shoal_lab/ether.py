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
    """One direction of one connection: from ``source`` to ``target``, which are those of
    ``ends``."""

    def __init__(
        self, way: Way, ends: tuple[object, object], source: socket.socket, target: socket.socket
    ) -> None:
        self.way, self.ends = way, ends
        self.source, self.target = source, target
        self.carried: deque[tuple[float, memoryview]] = deque()
        self.bytes = 0
        self.ended = False  # nothing more comes from the source
        self.over = False  # and nothing more goes to the target
        self.hung = False  # whose end the source is has hung up

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
        self._frozen: list[object] = []
        self._delays: dict[Way, float] = {}
        self._calls: tuple[socket.socket, socket.socket] | None = None

    def connect(self, way: Way, ends: tuple[object, object], far: socket.socket) -> socket.socket:
        """A connection from the first to the second of ``way``, which are ``ends``: the end of who
        calls. ``far`` is one that was made to who is called."""
        mine, near = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
        with self._lock:
            self._pipes += [
                _Pipe(way, ends, near, far),
                _Pipe((way[1], way[0]), (ends[1], ends[0]), far, near),
            ]
            if self._calls is None:
                self._calls = socket.socketpair()
                for bell in self._calls:
                    bell.setblocking(False)
                threading.Thread(target=self._serve, name="ether", daemon=True).start()
            self._wake()
        return mine

    def stop(self, way: Way, stopped: bool) -> None:
        """Let nothing pass on a way any more, not even that somebody hung up; or let it again."""
        with self._lock:
            (self._stopped.add if stopped else self._stopped.discard)(way)
            self._wake()

    def is_stopped(self, way: Way) -> bool:
        """Whether something does not pass, there or back."""
        return bool({way, (way[1], way[0])} & self._stopped)

    def freeze(self, end: object, frozen: bool) -> None:
        """A node does not take or send anything any more; or it does again."""
        with self._lock:
            self._frozen = [other for other in self._frozen if other is not end]
            self._frozen += [end] if frozen else []
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
            with contextlib.suppress(BlockingIOError):  # it has rung often enough
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
                with contextlib.suppress(BlockingIOError):
                    bell.recv(4096)
            with self._lock:
                self._move(ready, time.monotonic())

    def _takes(self, pipe: _Pipe) -> bool:
        """Whether something is taken from who sends."""
        held = pipe.way in self._stopped or pipe.ends[0] in self._frozen
        return not (held or pipe.ended or pipe.over) and pipe.bytes < MAX_CARRIED

    def _gives(self, pipe: _Pipe) -> bool:
        """Whether something is given to who receives, once it is due."""
        held = pipe.way in self._stopped or pipe.ends[1] in self._frozen
        return not (held or pipe.over) and bool(pipe.carried or pipe.ended)

    def _watch(self, now: float) -> tuple[select.poll, float | None]:
        """What to wait for, and for how long at most."""
        events: dict[int, int] = {self._calls[0].fileno(): select.POLLIN} if self._calls else {}
        wait_s: float | None = None
        for pipe in self._pipes:
            source, target = pipe.source.fileno(), pipe.target.fileno()
            if self._takes(pipe):
                events[source] = events.get(source, 0) | select.POLLIN
            elif not pipe.hung:
                events.setdefault(source, 0)
            if self._gives(pipe):
                left = pipe.carried[0][0] - now if pipe.carried else 0.0
                if left <= 0:
                    events[target] = events.get(target, 0) | select.POLLOUT
                else:
                    wait_s = left if wait_s is None else min(wait_s, left)
        poll = select.poll()
        for number, mask in events.items():
            poll.register(number, mask)
        return poll, wait_s

    def _move(self, ready: dict[int, int], now: float) -> None:
        for pipe in self._pipes:
            seen = ready.get(pipe.source.fileno(), 0)
            pipe.hung = pipe.hung or bool(seen & (select.POLLHUP | select.POLLERR))
            if seen & ~select.POLLOUT and self._takes(pipe):
                pipe.take(now + self._delays.get(pipe.way, 0.0))
            if self._gives(pipe):
                pipe.give(now)
        kept = []
        # Both directions share the sockets.
        for there, back in zip(self._pipes[::2], self._pipes[1::2], strict=True):
            if (there.over and back.over) or (there.hung and back.hung):
                there.source.close()
                there.target.close()
            else:
                kept += [there, back]
        self._pipes = kept
