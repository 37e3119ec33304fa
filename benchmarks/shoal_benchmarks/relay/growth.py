"""Whether memory and queues grow while more is asked than can be done.

In the memory of the gateway is what the bench notes of each request: some 3 MB for 10,000.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from shoal_benchmarks.row import Row, row
from shoal_benchmarks.split.driver import Told

EVERY_S = 0.5
GROWN = "<= 1.1"
"""Of the last third over the first."""
THIRDS = 3
STEPS = 100
"""Moments in a third at which the queue is counted."""


class Resident(NamedTuple):
    """What each host held in memory at a time (monotonic clock)."""

    at_s: float
    mib: Mapping[str, float]


class Watch:
    """Looks at what is resident, again and again, in a ``with`` block."""

    def __init__(self, look: Callable[[], Mapping[str, float]]) -> None:
        self.seen: list[Resident] = []
        self._look = look
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            self.seen.append(Resident(time.monotonic(), self._look()))


def under_way(told: Sequence[Told], at_s: float) -> int:
    """Requests that were asked by then and had not ended."""
    return sum(one.asked_s <= at_s < one.answered_s for one in told)


def third(told: Sequence[Told], number: int) -> tuple[float, float]:
    """From when to when that part lasts of the time in which was asked."""
    begin_s = min(one.asked_s for one in told)
    length_s = (max(one.asked_s for one in told) - begin_s) / THIRDS
    return begin_s + number * length_s, begin_s + (number + 1) * length_s


def queue_in(told: Sequence[Told], number: int) -> float:
    """Requests under way on average, in a third."""
    first_s, last_s = third(told, number)
    step_s = (last_s - first_s) / STEPS
    return sum(under_way(told, first_s + k * step_s) for k in range(STEPS)) / STEPS


def memory_in(told: Sequence[Told], seen: Sequence[Resident], number: int) -> dict[str, float]:
    """MiB of each host on average, in a third; of none where nobody looked."""
    first_s, last_s = third(told, number)
    looks = [one.mib for one in seen if first_s <= one.at_s <= last_s]
    return (
        {name: sum(mib[name] for mib in looks) / len(looks) for name in looks[0]} if looks else {}
    )


def rows_of(what: str, told: Sequence[Told], seen: Sequence[Resident]) -> Iterator[Row]:
    """The last third over the first: of the queue, and of the memory of the host that grew most."""
    last = THIRDS - 1
    before, after = queue_in(told, 0), queue_in(told, last)
    yield row(f"{what}: requests under way, first third", before, "requests")
    grown = after / before if before else 1.0
    yield row(f"{what}: requests under way, last third over first", grown, "ratio", GROWN)
    held, holds = memory_in(told, seen, 0), memory_in(told, seen, last)
    for name in sorted(held.keys() & holds.keys()):
        yield row(f"{what}: memory of {name}, first third", held[name], "MiB")
        yield row(
            f"{what}: memory of {name}, last third over first",
            holds[name] / held[name],
            "ratio",
            GROWN,
        )
