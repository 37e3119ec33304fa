"""Which regions of a network are dealt: the way through it that costs least. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Step(Generic[T]):
    """From one place of a network to a later one at a ``cost``: a region that is dealt (``what``),
    or a stretch that one device runs (None)."""

    start: int
    end: int
    cost: float
    what: T | None = None


def cheapest(
    last: int, dealt: Iterable[Step[T]], alone: Callable[[int, int], float]
) -> tuple[Step[T], ...] | None:
    """The steps from place 0 to ``last`` whose costs add up to the least, of which at least one is
    dealt; ``alone`` is the cost of a stretch that one device runs (``inf`` where none can). None
    where no step is dealt."""
    by_start: dict[int, list[Step[T]]] = {}
    ends = {last}
    for step in dealt:
        by_start.setdefault(step.start, []).append(step)
        ends.add(step.end)
    places = sorted({0, last, *by_start, *ends})
    # By place, and by whether something was dealt before it and whether it was just now: two
    # stretches that one device runs are one.
    best: dict[tuple[int, bool, bool], tuple[float, tuple[Step[T], ...]]] = {}
    best[0, False, True] = (0.0, ())

    def reach(place: int, some: bool, just: bool, cost: float, way: tuple[Step[T], ...]) -> None:
        known = best.get((place, some, just))
        if known is None or cost < known[0]:
            best[place, some, just] = (cost, way)

    for place in places:
        for some, just in ((False, True), (False, False), (True, True), (True, False)):
            if (place, some, just) not in best:
                continue
            cost, way = best[place, some, just]
            for step in by_start.get(place, ()):
                reach(step.end, True, True, cost + step.cost, (*way, step))
            if just:
                for end in places:
                    if end > place and (end == last or end in by_start):
                        more = alone(place, end)
                        if more == math.inf:
                            continue
                        stretch: Step[T] = Step(place, end, more)
                        reach(end, some, False, cost + more, (*way, stretch))
    ways = [best[key] for just in (True, False) if (key := (last, True, just)) in best]
    return min(ways, key=lambda found: found[0])[1] if ways else None
