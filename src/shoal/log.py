"""What Shoal logs, held to a rate: a fault that comes with every message must not fill a disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from shoal.process import tell_of_forks

NAMES = ("shoal", "shoal.mesh")
"""The loggers of the package."""
AT_ONCE = 32
"""Entries from one place in the code that pass at once; then one each :data:`PAUSE_S`."""
PAUSE_S = 1.0
MAX_PLACES = 1024


@dataclass(slots=True)
class _Place:
    left: float
    at: float
    withheld: int = 0


class Rate(logging.Filter):
    """Lets through what comes from one place in the code as long as it is not too often. The next
    entry that passes says how many did not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._places: dict[tuple[str, int], _Place] = {}
        tell_of_forks(self)

    def in_child(self) -> None:
        """Another thread may have been in here when this process was forked."""
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether an entry passes."""
        now, where = self._clock(), (record.pathname, record.lineno)
        with self._lock:
            place = self._places.pop(where, None) or _Place(AT_ONCE, now)
            self._places[where] = place  # the last one that was used
            if len(self._places) > MAX_PLACES:
                del self._places[next(iter(self._places))]
            place.left = min(AT_ONCE, place.left + (now - place.at) / PAUSE_S)
            place.at = now
            if place.left < 1.0:
                place.withheld += 1
                return False
            place.left -= 1.0
            withheld, place.withheld = place.withheld, 0
        if withheld:
            record.msg = f"{record.msg} (and {withheld} more like it)"
        return True

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._places.clear()


RATE = Rate()


def hold_to_a_rate(*names: str) -> None:
    """Let these loggers pass only what :data:`RATE` does."""
    for name in names:
        logging.getLogger(name).addFilter(RATE)
