"""Requests that wait for their turn, for a device, or for a pause to end."""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

from shoal.core.shared.timers import Timers

LOOK_AGAIN_S = 0.1
_SLACK = 64


class Turn(NamedTuple):
    """The place of a request: those of a higher priority come first, of these the ones whose
    deadline (seconds) is nearer, of these the ones that were asked before."""

    rank: int
    deadline: float
    number: int


def turn(number: int, priority: int, deadline: float) -> Turn:
    """The turn of a request."""
    return Turn(-priority, deadline, number)


class Queue:
    """The waiting requests of one gateway, each once, in the order of their turns."""

    def __init__(self) -> None:
        self._waiting: dict[int, Turn] = {}
        self._heap: list[Turn] = []
        self._paused: dict[int, Turn] = {}
        self._pauses: Timers[int] = Timers()
        self._look_again: float | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def first(self) -> int | None:
        """Whose turn it is."""
        while self._heap and self._waiting.get(self._heap[0].number) != self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0].number if self._heap else None

    def before(self, turn: Turn) -> int:
        """How many come before a turn."""
        return sum(each < turn for each in self._waiting.values())

    def put(self, turn: Turn) -> None:
        """Wait for a turn."""
        if self._waiting.get(turn.number) == turn:
            return
        self._waiting[turn.number] = turn
        heapq.heappush(self._heap, turn)
        if len(self._heap) > _SLACK + 2 * len(self._waiting):
            self._heap = sorted(self._waiting.values())

    def pause(self, turn: Turn, until: float) -> None:
        """Wait for a turn from ``until`` (seconds) on."""
        self._paused[turn.number] = turn
        self._pauses.set(turn.number, until)

    def drop(self, number: int) -> None:
        """Wait no more."""
        self._waiting.pop(number, None)
        self._paused.pop(number, None)
        self._pauses.clear(number)

    def stuck(self, now: float, *until: float | None) -> None:
        """Nobody can serve the first one now: look again in a while, or when something is known
        to change (``until``, in seconds), should nothing happen before."""
        at = min(now + LOOK_AGAIN_S, *(t for t in until if t is not None and t > now), math.inf)
        if self._look_again is None or at < self._look_again:
            self._look_again = at

    def due(self, now: float) -> None:
        """Let those wait for their turn whose pause has ended."""
        for number in self._pauses.due(now):
            self.put(self._paused.pop(number))
        if self._look_again is not None and self._look_again <= now:
            self._look_again = None

    def next(self) -> float | None:
        """When :meth:`due` has work to do next, in seconds."""
        times = [t for t in (self._pauses.next(), self._look_again) if t is not None]
        return min(times, default=None)
