"""Which regions are dealt, and what one device runs between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from shoal.errors import PlanError
from shoal.model.shards import Op, Region
from shoal.plan.size import readable
from shoal.strategies.shards.costs import Ground, Held
from shoal.strategies.shards.search import Step, cheapest

ALL_MS = 1e9
"""What it costs not to deal a whole network, where all is to be dealt that can be."""
PRICES = (0.0, *(10.0**k for k in range(-9, 1)))
"""ms for a byte that a device holds: raised until all have room."""
NAMED = 2
"""Devices without the memory are named up to so many."""

REMEDY = "raise a limit or add devices"
"""What would do where devices have not the memory."""

Layout = tuple[Step[Region], ...]


def lay_out(
    ground: Ground,
    regions: Sequence[Region],
    limits: Mapping[str, float],
    deal_all: bool,
    remedy: str = REMEDY,
) -> Layout:
    """The quickest way through a network that the devices have room for, of which something is
    dealt; with ``deal_all``, all that can be. ``limits`` are bytes by device (absent: none).

    Raises PlanError where there is none; ``remedy`` says what would do.
    """
    last = len(ground.network.nodes)
    # Of an answer whose channels are missing nothing is known of some classes.
    able = [each for each in regions if each.end < last or each.op is not Op.CHANNELS]
    over: list[str] = []
    for price in PRICES:
        steps = [_dealt(ground, region, price, deal_all) for region in able]
        found = cheapest(last, steps, partial(_alone, ground, price, deal_all))
        if found is None:
            raise PlanError(
                f"{ground.network.name!r} has no layer that can be dealt; use another strategy"
            )
        over = too_large(ground, found, limits)
        if not over:
            return found
    raise PlanError(no_room(over, remedy))


def duration_ms(ground: Ground, layout: Layout) -> float:
    """How long a request takes by this way, about."""
    return math.fsum(
        ground.alone_ms(step.start, step.end)
        if step.what is None
        else ground.compute_ms(step.what) + ground.exchange_ms(step.what)
        for step in layout
    )


def too_large(ground: Ground, layout: Layout, limits: Mapping[str, float]) -> list[str]:
    """Which devices have not the memory for their shards, in words."""
    found = []
    for index, name in enumerate(ground.devices):
        need = memory(ground, layout, partial(_evenly, ground, index))
        if need > limits.get(name, math.inf):
            found.append(lacking(name, need, limits[name]))
    return found


def lacking(device: str, need: float, room: float) -> str:
    """That a device has not the memory for its shards."""
    return f"{device} needs {readable(need)} and has {readable(room)} for them"


def no_room(over: Sequence[str], remedy: str) -> str:
    """That devices have not the memory for their shards (``over``), and what would do."""
    named = ", ".join(over[:NAMED])
    more = f", and {len(over) - NAMED} more" if len(over) > NAMED else ""
    return f"the devices have not the memory for their shards: {named}{more}; {remedy}"


def _evenly(ground: Ground, index: int, region: Region) -> Held:
    return ground.evenly(region, index)


def memory(ground: Ground, layout: Layout, held: Callable[[Region], Held]) -> float:
    """Bytes that a device needs which holds so much of each region, with what one device runs,
    which all hold."""
    return math.fsum(
        ground.memory_alone(step.start, step.end)
        if step.what is None
        else ground.memory(step.what, held(step.what))
        for step in layout
    )


def _dealt(ground: Ground, region: Region, price: float, deal_all: bool) -> Step[Region]:
    cost = ground.compute_ms(region) + ground.exchange_ms(region)
    most = ground.shares.index(max(ground.shares))
    cost += price * ground.memory(region, ground.evenly(region, most))
    if deal_all:
        cost += ALL_MS * _share(ground, region.start, region.end) * _whole(region)
    return Step(region.start, region.end, cost, region)


def _alone(ground: Ground, price: float, deal_all: bool, start: int, end: int) -> float:
    if not {start, end} <= ground.narrow:
        return math.inf
    cost = ground.alone_ms(start, end) + price * ground.memory_alone(start, end)
    return cost + ALL_MS * _share(ground, start, end) * deal_all


def _share(ground: Ground, start: int, end: int) -> float:
    """The share of a stretch in the time of all nodes."""
    node_ms = ground.profile(ground.devices[0]).node_ms
    return math.fsum(node_ms[start:end]) / max(math.fsum(node_ms), 1e-9)


def _whole(region: Region) -> float:
    """The share of a region's work that every device does."""
    return region.whole_macs / max(1, region.macs)
