"""How many attempts a gateway has under way at once."""

from __future__ import annotations

_CALM_S = 0.05


class Window:
    """As many as keep all devices busy; fewer while workers say that they are overloaded, since
    what they refuse is only sent again. Halved at a refusal, then one more with each round of
    answers: so several gateways come to share the same workers (Chiu and Jain 1989)."""

    def __init__(self, per_device: int) -> None:
        self._per_device = per_device
        self._limit: float | None = None
        self._halved = -_CALM_S

    def size(self, devices: int) -> int:
        """The number of attempts that may be under way on so many usable devices."""
        full = max(4, self._per_device * devices)
        if self._limit is not None and self._limit >= full:
            self._limit = None
        return full if self._limit is None else max(1, int(self._limit))

    def overloaded(self, under_way: int, now: float) -> None:
        """A worker refused an attempt for want of room (refusals in a burst count once)."""
        if now < self._halved + _CALM_S:
            return
        self._halved = now
        limit = float(under_way) if self._limit is None else min(self._limit, under_way)
        self._limit = max(1.0, limit / 2)

    def answered(self) -> None:
        """An attempt was answered."""
        if self._limit is not None:
            self._limit += 1 / self._limit
