"""Virtual time: what is to happen, in order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    """A heap of calls. Those of one moment happen in the order in which they were asked for, so a
    run is the same each time. ``now`` is in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: float, do: Callable[..., None], *args: Any) -> None:
        """Call ``do(*args)`` at time ``when``; at once (after what is due now) if that is past."""
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, do, args))

    def after(self, delay_s: float, do: Callable[..., None], *args: Any) -> None:
        """Call ``do(*args)`` in ``delay_s`` seconds."""
        self.at(self.now + delay_s, do, *args)

    def run(self, until: float) -> None:
        """Let everything happen that is due up to ``until``, which it is then."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, do, args = heapq.heappop(heap)
            self.steps += 1
            do(*args)
        self.now = max(self.now, until)

    def next(self) -> float | None:
        """When something happens next."""
        return self._heap[0][0] if self._heap else None
