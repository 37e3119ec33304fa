"""A closed loop of requests, and what became of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from shoal_benchmarks.rivals.rival import Client

TOLERANCE = 1e-3
"""Largest difference from the whole network, relative to its largest output."""
PAUSE_S = 0.01
"""After a failure, before its place in the window is used again."""
SWEEP_S = 0.02


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A request that ended. Times are on the monotonic clock, which all processes share. ``why``
    is empty for a right answer."""

    asked_s: float
    ended_s: float
    why: str = ""


class Asking:
    """Keeps ``window`` requests under way from ``start`` to ``finish``. A request without an
    answer after ``deadline_s`` is lost, whatever becomes of it later."""

    def __init__(
        self,
        client: Client,
        images: Sequence[np.ndarray[Any, Any]],
        expected: Sequence[np.ndarray[Any, Any]],
        window: int,
        deadline_s: float,
    ) -> None:
        self.records: list[Record] = []
        self._client = client
        self._images = images
        self._expected = expected
        self._window = window
        self._deadline_s = deadline_s
        self._room = threading.Semaphore(window)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[int, float] = {}
        self._asker = threading.Thread(target=self._ask, name="asker", daemon=True)
        self._sweeper = threading.Thread(target=self._sweep, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._asker.start()
        self._sweeper.start()

    def first_good_s(self, after_s: float) -> float | None:
        """When the first right answer came to a request asked after ``after_s``."""
        with self._lock:
            good = [r.ended_s for r in self.records if not r.why and r.asked_s >= after_s]
        return min(good, default=None)

    def finish(self) -> list[Record]:
        """Ask no more, wait for what is under way; all records."""
        self._stop.set()
        for _ in range(self._window):
            self._room.acquire()
        self._sweeper.join()
        with self._lock:
            return list(self.records)

    def _ask(self) -> None:
        number = 0
        while not self._stop.is_set():
            if not self._room.acquire(timeout=0.1):
                continue
            if self._stop.is_set():
                self._room.release()
                return
            asked_s = time.monotonic()
            with self._lock:
                self._open[number] = asked_s
            self._submit(number)
            number += 1

    def _submit(self, number: int) -> None:
        case = number % len(self._images)
        try:
            future = self._client.submit(self._images[case])
        except Exception as error:
            self._end(number, _words(error))
            return
        future.add_done_callback(lambda done: self._end(number, self._judge(done, case)))

    def _judge(self, done: Future[np.ndarray[Any, Any]], case: int) -> str:
        try:
            return "" if right(done.result(), self._expected[case]) else "wrong answer"
        except BaseException as error:
            return _words(error)

    def _end(self, number: int, why: str) -> None:
        ended_s = time.monotonic()
        with self._lock:
            asked_s = self._open.pop(number, None)
            if asked_s is None:
                return
            self.records.append(Record(asked_s, ended_s, why))
        if why:  # or a client that fails at once would be asked as fast as it can fail
            timer = threading.Timer(PAUSE_S, self._room.release)
            timer.daemon = True
            timer.start()
        else:
            self._room.release()

    def _sweep(self) -> None:
        while True:
            now = time.monotonic()
            with self._lock:
                late = [n for n, asked_s in self._open.items() if now > asked_s + self._deadline_s]
                idle = not self._open
            for number in late:
                self._end(number, "no answer before the deadline")
            if idle and self._stop.is_set() and not self._asker.is_alive():
                return
            time.sleep(SWEEP_S)


def right(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> bool:
    """Whether an answer is that of the whole network, within the tolerance."""
    if found.shape != expected.shape:
        return False
    return bool(np.abs(found - expected).max() <= TOLERANCE * max(np.abs(expected).max(), 1e-6))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200] or "failed"
