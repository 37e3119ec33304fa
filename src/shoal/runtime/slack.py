"""When memory that runs have left behind is to be given back to the system.

The engine keeps what its largest run needed, for the next one. That is right while runs are alike,
and wrong when nothing is run any more, or after a request of many images among those of one.
"""

from __future__ import annotations

IDLE_S = 2.0
"""After so long without a run everything is given back."""
PERIOD_S = 5.0
"""While runs follow each other it is given back when all of so long needed less than half."""


class Slack:
    """Judges by the sizes of what runs are given (bytes of their inputs), which what they need in
    between is in proportion to."""

    def __init__(self) -> None:
        self._most = 0
        self._recent = 0
        self._look_at = 0.0

    @property
    def wait_s(self) -> float | None:
        """How long to wait for the next run before giving everything back; None: it is."""
        return IDLE_S if self._most else None

    def idle(self) -> None:
        """Everything has been given back."""
        self._most = self._recent = 0

    def ran(self, size: int, now: float) -> bool:
        """Note a run; whether to give back what is left of larger ones."""
        size += 1  # nothing at all is also something
        self._recent = max(self._recent, size)
        if now < self._look_at:
            self._most = max(self._most, size)
            return False
        left = 2 * self._recent < self._most
        self._most = self._recent if left else max(self._most, self._recent)
        self._recent, self._look_at = 0, now + PERIOD_S
        return left
