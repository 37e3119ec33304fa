"""How sure an early exit must be: thresholds for a wanted accuracy, and what follows from them.

Pure, on the calibration table of a network's exits (:class:`shoal.model.exits.Exits`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from shoal.errors import PlanError
from shoal.model.exits import Exits
from shoal.plan.playbook_check import NEVER as NEVER
from shoal.plan.statistics import lower_bound, quantile

TRIED = 5_000
"""Sets of thresholds that a search begins with at most, that of the last exit not counted."""
_STEPS = 1000
_Ints = npt.NDArray[np.int64]


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What follows from thresholds: ``accuracy``, the share of images that are answered rightly;
    ``sure``, the share that is promised (one-sided, 95 %; see
    :func:`shoal.plan.statistics.lower_bound`); ``leaving``, the share that leaves at each exit, and
    last at the network's end."""

    accuracy: float
    sure: float
    leaving: tuple[float, ...]

    def cost(self, costs: Sequence[float]) -> float:
        """The mean cost of an image, where ``costs`` are those of the stages, in any unit."""
        reached = 1.0
        total = 0.0
        for leaves, each in zip(self.leaving, costs, strict=True):
            total += reached * each
            reached -= leaves
        return total


def expected(exits: Exits, thresholds: Sequence[float]) -> Expected:
    """What follows from these thresholds, one for each exit; PlanError for another number."""
    _fit(exits, thresholds)
    table = _Table(exits)
    leaving, right = table.outcome([_level(threshold) for threshold in thresholds])
    return Expected(
        accuracy=right / table.count,
        sure=lower_bound(right, table.count),
        leaving=tuple(each / table.count for each in leaving),
    )


def thresholds_for(
    exits: Exits,
    least_accuracy: float,
    costs: Sequence[float],
) -> tuple[float, ...]:
    """The thresholds for which an image costs least in the mean while the accuracy stays.

    ``costs`` are those of the stages, in any unit: one more than there are exits. Of the images of
    the table the share ``least_accuracy`` (0 to 1) must be answered rightly.

    Exact for one exit and for two, and wherever exits have few different confidences; else a grid
    of all exits but the last, which is always solved exactly, and then one exit after the other
    until nothing gets better. PlanError for an accuracy above that of the whole network.
    """
    _check(exits, least_accuracy, costs)
    table = _Table(exits, costs)
    return tuple(map(_threshold, _search(table, _needed(table, least_accuracy))))


def kept(exits: Exits, thresholds: Sequence[float], confidence: float) -> float:
    """The share of the whole network's accuracy that is kept with this confidence, at most 1.

    What is told of is the difference of both on the same images, by those that only one of them
    answers rightly, half an image more for each (Agresti and Min, Statistics in Medicine 24, 2005).
    That the thresholds were chosen by these images is not reckoned with. PlanError for another
    number of thresholds than of exits.
    """
    _fit(exits, thresholds)
    return _kept(_Table(exits), [_level(threshold) for threshold in thresholds], confidence)


def thresholds_keeping(
    exits: Exits, share: float, costs: Sequence[float], confidence: float
) -> tuple[float, ...]:
    """The thresholds of the least cost with which so large a ``share`` of the whole network's
    accuracy is :func:`kept`; such that nobody leaves where there are no others."""
    _check(exits, share, costs)
    table = _Table(exits, costs)
    whole = table.right_at_end / table.count
    least, step = share * whole, 1 / table.count
    while True:
        levels = _search(table, _needed(table, least))
        short = share - _kept(table, levels, confidence)
        if short <= 1e-12:
            return tuple(map(_threshold, levels))
        if least >= whole:
            return (NEVER,) * len(exits.heads)
        least = min(whole, least + max(step, short * whole))


def _fit(exits: Exits, thresholds: Sequence[float]) -> None:
    if len(thresholds) != len(exits.heads):
        raise PlanError(f"{len(thresholds)} thresholds for {len(exits.heads)} exits")


def _check(exits: Exits, least_accuracy: float, costs: Sequence[float]) -> None:
    if not 0.0 <= least_accuracy <= 1.0:
        raise PlanError(f"{least_accuracy:g} is no accuracy; give a share from 0 to 1")
    if len(costs) != len(exits.table):
        raise PlanError(f"{len(costs)} costs for {len(exits.table)} stages")
    if not all(math.isfinite(each) and each >= 0 for each in costs):
        raise PlanError("the cost of a stage is negative, or no number")


def _level(threshold: float) -> int:
    """The least permille that reaches a threshold; 0 (all leave) to 1001 (none does)."""
    if math.isnan(threshold):
        raise PlanError("a threshold is no number")
    return min(max(math.ceil(threshold * _STEPS - 1e-9), 0), _STEPS + 1)


def _threshold(level: int) -> float:
    """The threshold that just the confidences of this permille reach. 1 stands for less, too."""
    return 0.0 if level <= 1 else NEVER if level > _STEPS else level / _STEPS


class _Table:
    """The calibration as arrays: ``sure`` (permille) and ``right`` (1 or 0) by exit and image."""

    def __init__(self, exits: Exits, costs: Sequence[float] | None = None) -> None:
        signed = np.array(exits.table, np.int64)
        self.sure: _Ints = abs(signed[:-1])
        self.right: _Ints = (signed > 0).astype(np.int64)
        self.count = int(signed.shape[1])
        self.right_at_end = int(self.right[-1].sum())
        # What is saved by leaving at each exit, and what it gains of right answers.
        self.saved = [sum(costs[k + 1 :]) for k in range(len(costs) - 1)] if costs else []
        self.gained: _Ints = self.right[:-1] - self.right[-1]

    def outcome(self, levels: Sequence[int]) -> tuple[list[int], int]:
        """How many images leave at each exit and at the end, and how many are right."""
        staying = np.ones(self.count, bool)
        leaving, right = [], 0
        for sure, good, level in zip(self.sure, self.right, levels, strict=False):
            leaves = staying & (sure >= level)
            leaving.append(int(leaves.sum()))
            right += int(good[leaves].sum())
            staying &= ~leaves
        return [*leaving, int(staying.sum())], right + int(self.right[-1][staying].sum())

    def apart(self, levels: Sequence[int]) -> tuple[int, int]:
        """How many images are wrong that the whole network answers rightly, and the other way."""
        staying = np.ones(self.count, bool)
        lost = gained = 0
        for sure, gains, level in zip(self.sure, self.gained, levels, strict=True):
            leaves = staying & (sure >= level)
            lost += int((gains[leaves] < 0).sum())
            gained += int((gains[leaves] > 0).sum())
            staying &= ~leaves
        return lost, gained

    def last(self, levels: Sequence[int], needed: int) -> tuple[float, int]:
        """What all images save, and the level of the last exit that saves most with those of the
        others given and so many right answers ``needed``; -inf where none does."""
        staying = np.ones(self.count, bool)
        saved, right = 0.0, self.right_at_end
        for sure, gained, level, each in zip(
            self.sure, self.gained, levels, self.saved, strict=False
        ):
            leaves = staying & (sure >= level)
            saved += each * int(leaves.sum())
            right += int(gained[leaves].sum())
            staying &= ~leaves
        sure = self.sure[-1][staying]
        leave = np.bincount(sure, minlength=_STEPS + 2)[::-1].cumsum()[::-1]
        gained = np.bincount(sure, self.gained[-1][staying], minlength=_STEPS + 2)
        enough = np.flatnonzero(right + np.round(gained[::-1].cumsum()[::-1]) >= needed)
        if not len(enough):
            return -math.inf, _STEPS + 1
        return saved + self.saved[-1] * int(leave[enough[0]]), int(enough[0])


def _needed(table: _Table, least_accuracy: float) -> int:
    """How many images must be answered rightly; PlanError where the whole network answers fewer."""
    needed = math.ceil(least_accuracy * table.count - 1e-9)
    if needed > table.right_at_end:
        raise PlanError(
            f"an accuracy of {100 * least_accuracy:.2f} % is above the "
            f"{100 * table.right_at_end / table.count:.2f} % that the whole network has on the "
            f"{table.count} images of its calibration; ask for less"
        )
    return needed


def _kept(table: _Table, levels: Sequence[int], confidence: float) -> float:
    """What :func:`kept` tells, by levels."""
    if min(levels) > _STEPS:
        return 1.0
    lost, gained = table.apart(levels)
    count = table.count + 2
    apart = (gained - lost) / count
    spread = math.sqrt(max(0.0, (gained + lost + 1) / count - apart * apart) / count)
    sure = apart - quantile(confidence) * spread
    return min(1.0, max(0.0, 1 + sure * table.count / max(1, table.right_at_end)))


def _search(table: _Table, needed: int) -> list[int]:
    """The levels that save most with so many right answers."""
    others = len(table.sure) - 1
    best, levels = -math.inf, [_STEPS + 1] * (others + 1)
    each = max(2, int(TRIED ** (1 / others))) if others else 0
    for tried in _grid([_levels(sure, each) for sure in table.sure[:-1]]):
        saved, last = table.last(tried, needed)
        if saved > best:
            best, levels = saved, [*tried, last]
    improved = True
    while improved:
        improved = False
        for place in range(others):
            for level in _levels(table.sure[place], _STEPS + 2):
                tried = [*levels[:place], level, *levels[place + 1 : -1]]
                saved, last = table.last(tried, needed)
                if saved > best + 1e-9 * max(1.0, abs(best)):
                    best, levels, improved = saved, [*tried, last], True
    # As high as the images of the table let them be: others may be less sure.
    return [
        int(sure[sure >= level].min(initial=_STEPS + 1))
        for sure, level in zip(table.sure, levels, strict=True)
    ]


def _levels(sure: _Ints, most: int) -> list[int]:
    """Levels worth a try: the confidences that there are, and none; of many, about equally many
    images between each two."""
    known = np.unique(sure)
    if len(known) >= most:
        known = np.unique(np.quantile(sure, np.linspace(0, 1, most - 1), method="nearest"))
    return [*known.tolist(), _STEPS + 1]


def _grid(levels: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    if not levels:
        yield []
        return
    for first in levels[0]:
        for rest in _grid(levels[1:]):
            yield [first, *rest]
