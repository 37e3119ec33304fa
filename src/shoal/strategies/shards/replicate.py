"""How many units of each layer all devices hold: as few as keep the promise. Pure.

Greedy: replication is added to the layer where the loss in the worst case falls most for a byte. A
gain is only worked out anew when the one that was known before is the largest (M. Minoux,
Accelerated greedy algorithms, 1978): it seldom grows.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

Common: TypeAlias = tuple[int, ...]
"""How many units are common, by layer."""

STEPS = 8
"""In so many steps a layer becomes common."""


class Layer(NamedTuple):
    """A layer of ``units``; ``bytes`` is what a device needs for one more."""

    units: int
    bytes: float


class Replication(NamedTuple):
    """What is common, the loss in the worst case with it, and whether that is ``enough``."""

    common: Common
    loss: float
    enough: bool


def uniform(layers: Sequence[Layer], rho: float) -> Common:
    """The same share of each layer."""
    return tuple(round(rho * layer.units) for layer in layers)


def replicate(
    layers: Sequence[Layer],
    loss: Callable[[Common], float],
    enough: Callable[[Common], bool],
    fits: Callable[[Common], bool] = lambda common: True,
    steps: int = STEPS,
) -> Replication:
    """Add to what is common, from nothing, until it is ``enough``, all is, or no more ``fits``.

    ``loss`` is that of the worst failure; both it and ``enough`` are costly.
    """
    common = uniform(layers, 0.0)
    now, done = loss(common), enough(common)
    # Gains that nobody has worked out are as large as can be.
    gains = [(-float("inf"), index, -1) for index in range(len(layers))]
    heapq.heapify(gains)
    round_ = 0
    while gains and not done:
        _, index, known = heapq.heappop(gains)
        more = _more(common, index, layers[index], steps)
        if more is None or not fits(more):
            continue
        if known != round_:
            added = (more[index] - common[index]) * layers[index].bytes
            gain = (now - loss(more)) / max(added, 1.0)
            heapq.heappush(gains, (-gain, index, round_))
            continue
        common, round_ = more, round_ + 1
        now, done = loss(common), enough(common)
        heapq.heappush(gains, (-float("inf"), index, -1))
    return Replication(common, now, done)


def _more(common: Common, index: int, layer: Layer, steps: int) -> Common | None:
    """A step more of one layer; None when all of it is common."""
    step = max(1, round(layer.units / steps))
    count = min(layer.units, common[index] + step)
    if count == common[index]:
        return None
    return (*common[:index], count, *common[index + 1 :])
