"""One measured value of a lab beside what was asked."""

from __future__ import annotations

import msgspec

TOLERANCE = 0.05


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """``low`` and ``high`` are the smallest and largest sample; ``within`` is how far it may be
    off, in ``unit``. ``way`` says what emulates it."""

    what: str
    way: str
    asked: float
    got: float
    low: float
    high: float
    within: float
    unit: str
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether it is as near as promised."""
        return abs(self.got - self.asked) <= self.within
