"""How many units of each layer all devices hold: as few as keep the promise. Pure.

From all that can be common it is taken away step by step, where the loss in the worst case grows
least for what is saved, until the promise would be broken. (To begin with nothing and add does
worse: where many layers have holes at once, to mend one of them shows no gain.) What a step costs
is only worked out anew when by what was known before it is the cheapest (M. Minoux, Accelerated
greedy algorithms, 1978): the more is missing, the dearer is the next step.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeAlias

Common: TypeAlias = tuple[int, ...]
"""How many units are common, by layer."""

STEPS = 8
"""In so many steps a layer is taken away."""


class Layer(NamedTuple):
    """A layer of ``units``; ``saved`` is what each device is spared (in any unit, the same for all
    layers) by one that is not common."""

    units: int
    saved: float


def uniform(layers: Sequence[Layer], rho: float) -> Common:
    """The same share of each layer."""
    return tuple(round(rho * layer.units) for layer in layers)


def replicate(
    layers: Sequence[Layer],
    loss: Callable[[Common], float],
    keeps: Callable[[Common], bool],
    fits: Callable[[Common], bool] = lambda common: True,
) -> Common:
    """As little as keeps the promise; less where no more ``fits``. ``loss`` is that of the worst
    failure. ``keeps`` is costly: it is asked at ever longer strides, then between the last two, and
    in the end of single steps."""
    way = taken_away(layers, loss)
    done = [_that_fits(way, fits)]
    good, stride = 0, 1
    while more := list(islice(way, stride)):
        done += more
        if not keeps(done[-1]):
            break
        good, stride = len(done) - 1, 2 * stride
    bad = len(done) if good == len(done) - 1 else len(done) - 1
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if keeps(done[middle]) else (good, middle)
    return _further(done[good], layers, loss, keeps)


def most_common(
    layers: Sequence[Layer],
    loss: Callable[[Common], float],
    fits: Callable[[Common], bool],
) -> Common:
    """As much as fits, whatever that keeps."""
    return _that_fits(taken_away(layers, loss), fits)


def _that_fits(way: Iterator[Common], fits: Callable[[Common], bool]) -> Common:
    """The first that fits, else the last."""
    common = next(way)
    while not fits(common) and (less := next(way, None)) is not None:
        common = less
    return common


def _further(
    common: Common,
    layers: Sequence[Layer],
    loss: Callable[[Common], float],
    keeps: Callable[[Common], bool],
) -> Common:
    """Steps more, the cheapest first; a layer with one that breaks the promise is left as it is."""
    free = set(range(len(layers)))
    while free:
        steps = [(index, less) for index in free if (less := _less(common, index, layers[index]))]
        if not steps:
            break
        now = loss(common)
        costs = {
            index: (loss(less) - now) / ((common[index] - less[index]) * layers[index].saved)
            for index, less in steps
        }
        index, less = min(steps, key=lambda step: (costs[step[0]], step[0]))
        if keeps(less):
            common = less
        else:
            free.discard(index)
    return common


def taken_away(layers: Sequence[Layer], loss: Callable[[Common], float]) -> Iterator[Common]:
    """From all common to nothing, the cheapest step first."""
    common = uniform(layers, 1.0)
    now, taken = loss(common), 0
    yield common
    # What nobody has worked out costs as little as can be.
    queue = [(-math.inf, index, -1) for index in range(len(layers))]
    while queue:
        cost, index, known = heapq.heappop(queue)
        less = _less(common, index, layers[index])
        if less is None:
            continue
        if known != taken:
            cost = (loss(less) - now) / ((common[index] - less[index]) * layers[index].saved)
            heapq.heappush(queue, (cost, index, taken))
            continue
        common, taken, now = less, taken + 1, loss(less)
        heapq.heappush(queue, (cost, index, -1))
        yield common


def _less(common: Common, index: int, layer: Layer) -> Common | None:
    """A step less of one layer; None when none of it is common."""
    if not common[index]:
        return None
    count = max(0, common[index] - max(1, round(layer.units / STEPS)))
    return (*common[:index], count, *common[index + 1 :])
