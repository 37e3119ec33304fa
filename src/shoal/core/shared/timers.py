"""Times at which something is due, kept by key."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
_SLACK = 64


class Timers(Generic[K]):
    """At most one time per key; setting a key again moves it. Memory is bounded by a small
    multiple of the number of keys that are set."""

    def __init__(self) -> None:
        self._at: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, key: K) -> bool:
        return key in self._at

    def set(self, key: K, at: float) -> None:
        """Make ``key`` due at ``at`` (seconds); never, if that is infinite."""
        if math.isinf(at):
            self.clear(key)
            return
        self._at[key] = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, key))
        self._trim()

    def clear(self, key: K) -> None:
        """Forget ``key``."""
        if self._at.pop(key, None) is not None:
            self._trim()

    def due(self, now: float) -> Iterator[K]:
        """Take out the keys whose time has come, earliest first, one by one: when something goes
        wrong with one, the others are still set. What is set meanwhile is for the next time."""
        last = self._count
        while self._heap and self._heap[0][0] <= now and self._heap[0][1] <= last:
            at, _, key = heapq.heappop(self._heap)
            if self._at.get(key) == at:
                del self._at[key]
                yield key

    def next(self) -> float | None:
        """The earliest time that is set."""
        while self._heap and self._at.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _trim(self) -> None:
        """Drop what was moved or forgotten when it outweighs what is set."""
        if len(self._heap) > _SLACK + 2 * len(self._at):
            self._heap = [(at, n, key) for at, n, key in self._heap if self._at.get(key) == at]
            heapq.heapify(self._heap)


def soonest(*times: float | None) -> float:
    """The earliest of the times that are set; infinite when none is."""
    least = math.inf
    for (
        at
    ) in times:  # asked after each event: a loop takes half of what min() over a generator does
        if at is not None and at < least:
            least = at
    return least
