"""Requests that wait for their turn, for a device, or for a pause to end."""

from __future__ import annotations

import math
from collections import OrderedDict

from shoal.core.shared.timers import Timers

_LOOK_AGAIN_S = 0.1


class Queue:
    """The waiting requests of one gateway by number, each once, first come first served."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, None] = OrderedDict()
        self._pauses: Timers[int] = Timers()
        self._look_again: float | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def first(self) -> int | None:
        """Whose turn it is."""
        return next(iter(self._waiting), None)

    def put(self, number: int) -> None:
        """Wait behind the others."""
        self._waiting[number] = None

    def put_first(self, number: int) -> None:
        """Wait before the others: this one has waited before."""
        self._waiting[number] = None
        self._waiting.move_to_end(number, last=False)

    def pause(self, number: int, until: float) -> None:
        """Wait before the others, from ``until`` (seconds) on."""
        self._pauses.set(number, until)

    def drop(self, number: int) -> None:
        """Wait no more."""
        self._waiting.pop(number, None)
        self._pauses.clear(number)

    def stuck(self, now: float, *until: float | None) -> None:
        """Nobody can serve the first one now: look again in a while, or when something is known
        to change (``until``, in seconds), should nothing happen before."""
        at = min(now + _LOOK_AGAIN_S, *(t for t in until if t is not None and t > now), math.inf)
        if self._look_again is None or at < self._look_again:
            self._look_again = at

    def due(self, now: float) -> None:
        """Let those wait for their turn whose pause has ended."""
        for number in reversed(self._pauses.due(now)):
            self.put_first(number)
        if self._look_again is not None and self._look_again <= now:
            self._look_again = None

    def next(self) -> float | None:
        """When :meth:`due` has work to do next, in seconds."""
        times = [t for t in (self._pauses.next(), self._look_again) if t is not None]
        return min(times, default=None)
