"""A plain client of replicas: requests are dealt in turn to those that are connected."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from shoal.errors import FrameError
from shoal_benchmarks.rivals.stage import dial
from shoal_benchmarks.rivals.tensors import Arrays, receive, send

REDIAL_S = 0.05


class RoundRobin:
    """Deals requests to ``addresses``. What was under way on a connection that breaks is lost;
    the replica is left out until it can be reached again, which is tried all the time. When none
    can be, a request waits (at most ``deadline_s``)."""

    def __init__(
        self, addresses: Sequence[tuple[str, int]], given: str, wanted: str, deadline_s: float
    ) -> None:
        self._given = given
        self._wanted = wanted
        self._deadline_s = deadline_s
        self._turn = itertools.count()
        self._over = threading.Event()
        self._change = threading.Condition()
        self._lines: list[_Line] = []
        self._threads = [
            threading.Thread(target=self._keep, args=address, name="line", daemon=True)
            for address in addresses
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, image: np.ndarray[Any, Any]) -> Future[np.ndarray[Any, Any]]:
        """Ask the next replica."""
        with self._change:
            if not self._change.wait_for(lambda: self._lines, self._deadline_s):
                raise ConnectionError("no replica can be reached")
            line = self._lines[next(self._turn) % len(self._lines)]
        return line.ask({self._given: image})

    def close(self) -> None:
        """Hang up."""
        self._over.set()
        with self._change:
            lines = list(self._lines)
        for line in lines:
            line.hang_up()
        for thread in self._threads:
            thread.join()

    def _keep(self, address: str, port: int) -> None:
        while not self._over.is_set():
            try:
                line = _Line(dial(address, port), self._wanted)
            except OSError:
                time.sleep(REDIAL_S)
                continue
            with self._change:
                self._lines.append(line)
                self._change.notify_all()
            line.listen()
            with self._change:
                self._lines.remove(line)
            line.fail()


class _Line:
    """A connection to a replica, which answers in the order of the requests."""

    def __init__(self, sock: socket.socket, wanted: str) -> None:
        self._sock = sock
        self._wanted = wanted
        self._lock = threading.Lock()
        self._waiting: deque[Future[np.ndarray[Any, Any]]] = deque()
        self._broken = False

    def ask(self, arrays: Arrays) -> Future[np.ndarray[Any, Any]]:
        """Send a request; the future fails when the connection does."""
        future: Future[np.ndarray[Any, Any]] = Future()
        with self._lock:
            if self._broken:
                raise ConnectionError("the connection broke")
            self._waiting.append(future)
            with contextlib.suppress(OSError):  # whoever listens notices, and fails the future
                send(self._sock, arrays)
        return future

    def listen(self) -> None:
        """Take answers until the connection breaks."""
        with contextlib.suppress(OSError, FrameError):
            while (arrays := receive(self._sock)) is not None:
                self._waiting.popleft().set_result(arrays[self._wanted])

    def fail(self) -> None:
        """What is under way is lost."""
        with self._lock:
            self._broken = True
        self._sock.close()
        while self._waiting:
            self._waiting.popleft().set_exception(ConnectionError("the replica is gone"))

    def hang_up(self) -> None:
        """Let the listener end."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
