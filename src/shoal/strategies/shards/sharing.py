"""Which share of the units each device gets, and which regions are dealt by these shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from shoal.model.network import Network
from shoal.model.shards import Op, Region, shard
from shoal.plan.cluster import Cluster
from shoal.plan.profiles import Profiles
from shoal.strategies.shards.costs import RAW, Ground, Held, Packing, shares_of
from shoal.strategies.shards.deck import deal_width
from shoal.strategies.shards.layout import Layout, lay_out, memory
from shoal.strategies.shards.plans import owned, shares
from shoal.strategies.shards.reliability import counted_on
from shoal.strategies.shards.settle import Wish

GUESSED_RHO = 0.25
"""How much is common, as long as that is not known."""
ROUNDS = 2
"""How often memory is looked at: other shares may make other regions pay."""


def laid_out(
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    devices: tuple[str, ...],
    offered: Sequence[Region],
    wish: Wish,
    packing: Packing = RAW,
) -> tuple[Ground, Layout]:
    """The regions that are dealt. Devices get shares by the speeds that can be counted on, as far
    as they have memory beside what each must hold. PlanError where nothing can be dealt, or has no
    room."""
    rho = GUESSED_RHO if wish.options.rho is None else wish.options.rho
    rho = rho if wish.most else 0.0
    ground = Ground(network, cluster, profiles, devices, (), rho, packing=packing)
    speeds = counted_on(ground)
    ground = replace(ground, shares=tuple(shares_of(speeds, [math.inf] * len(devices), 1.0)))
    deal_all = wish.options.deal != "pays"
    if wish.options.deal == "inner":
        offered = [region for region in offered if region.op is Op.SUM]
    layout = lay_out(ground, offered, {}, deal_all)
    if not wish.limits:
        return ground, layout
    for _ in range(ROUNDS):
        ground = _with_room(_weighed(ground, layout), layout, wish, speeds)
        layout = lay_out(ground, offered, wish.limits, deal_all, wish.remedy)
    return _with_room(_weighed(ground, layout), layout, wish, speeds), layout


def _weighed(ground: Ground, layout: Layout) -> Ground:
    """With what real shards of these regions need beside the closed form."""
    found, common = dict(ground.beside), math.ceil(ground.rho)
    for region in (step.what for step in layout if step.what is not None):
        dealings = {
            width.name: deal_width(region, [1.0] * width.units, ground.shares, common)
            for width in region.widths
        }
        bare = replace(ground, beside={region.key: 0.0})
        for index in range(len(ground.devices)):
            own = owned(region, dealings, index)
            made = shard(ground.network, region, own)
            more = made.info.memory - bare.memory(region, shares(region, own))
            found[region.key] = max(more, found.get(region.key, more))
    return replace(ground, beside=found)


def _with_room(ground: Ground, layout: Layout, wish: Wish, speeds: Sequence[float]) -> Ground:
    """With shares for which there is room."""

    def all_hold(share: float) -> float:
        def held(region: Region) -> Held:
            return dict.fromkeys((width.name for width in region.widths), share)

        return memory(ground, layout, held)

    least, most = all_hold(ground.rho), all_hold(1.0)
    rooms = [wish.limits.get(name, math.inf) - least for name in ground.devices]
    return replace(ground, shares=tuple(shares_of(speeds, rooms, most - least)))
