"""Telling devices that requests are over, so that they free what they keep for them.

Every task says below which number all requests are over; this is for those who get no more tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

_PAUSE_S = 1.0


class Settling:
    """The devices that may hold something of requests that are over. ``settled`` is the number
    below which all are."""

    def __init__(self) -> None:
        self.settled = 0
        self._highest: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._at: float | None = None

    def __len__(self) -> int:
        return len(self._highest)

    def note(self, devices: Iterable[str], number: int, now: float) -> None:
        """The request ``number`` is over and ``devices`` may hold something of it."""
        for name in devices:
            if number >= self._highest.get(name, 0):
                self._highest[name] = number
        if self._at is None and self._highest:
            self._at = now + _PAUSE_S

    def forget(self, device: str) -> None:
        """A device is gone, and what it held with it."""
        self._highest.pop(device, None)
        self._told.pop(device, None)

    def due(self, now: float, alive: Callable[[str], bool]) -> list[str]:
        """The devices to tell ``settled`` now."""
        if self._at is None or now < self._at:
            return []
        names = []
        for name in sorted(self._highest):
            if not alive(name):
                continue
            if self.settled > self._told.get(name, 0):
                names.append(name)
                self._told[name] = self.settled
            if self.settled > self._highest[name]:
                self.forget(name)
        self._at = now + _PAUSE_S if self._highest else None
        return names

    def next(self) -> float | None:
        """When :meth:`due` has work to do next, in seconds."""
        return self._at
