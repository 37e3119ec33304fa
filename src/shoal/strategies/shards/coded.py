"""Layers that are coded: each device holds a sum of blocks of their filters, and as many devices as
there are blocks have all of a layer, exactly. What is between is computed whole by all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from shoal.codec.parity import MOST_SLICES, rows_of
from shoal.errors import PlanError
from shoal.model.network import Network
from shoal.model.shards import Found, Region, coded_regions, coded_shard
from shoal.plan.cluster import Cluster
from shoal.plan.forecast import Duty
from shoal.plan.network import Feeds
from shoal.plan.plan import Join, Missing, Slice
from shoal.plan.profiles import Profiles
from shoal.plan.prove import prove_without
from shoal.strategies.shards.costs import RAW, Ground, Packing
from shoal.strategies.shards.failures import failure_sets
from shoal.strategies.shards.layout import Layout, lay_out
from shoal.strategies.shards.plans import Made, Shared, assemble

ROUNDS = 2
"""How often memory is looked at: what real shards need may make other layers pay."""


@dataclass(frozen=True)
class Code:
    """A plan with coded layers, how it was laid out, and what could be coded. ``off`` is the
    largest difference to the whole network with any set of devices lost, relative to its largest
    output."""

    ground: Ground
    layout: Layout
    made: Made
    found: Found
    off: float


def coded(
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    limits: Mapping[str, float],
    most: int,
    code_all: bool,
    images: Sequence[Feeds],
    packing: Packing = RAW,
) -> Code:
    """The plan that is exact with any ``most`` devices lost, proved without each set of them on the
    network's own cases and on ``images``. Layers are coded where that pays, or (``code_all``) where
    it can be done. Raises PlanError where nothing can be coded or has no room, ProofError where an
    answer is not exact enough. Slices are packed by ``packing``, which loses nothing."""
    devices = tuple(device.name for device in cluster.computing)
    if len(devices) > MOST_SLICES:
        raise PlanError(
            f"there are {len(devices)} devices, and layers are coded for {MOST_SLICES} at the "
            "most; use another fill or fewer devices"
        )
    blocks = len(devices) - most
    even = (1 / len(devices),) * len(devices)
    ground = Ground(network, cluster, profiles, devices, even, blocks=blocks, packing=packing)
    found = coded_regions(network, blocks)
    layout = lay_out(ground, found.regions, {}, code_all)
    made = assemble(ground, layout, partial(_shared, ground), images)
    for _ in range(ROUNDS if limits else 0):
        ground = _weighed(ground, layout, made)
        layout = lay_out(ground, found.regions, limits, code_all)
        made = assemble(ground, layout, partial(_shared, ground), images)
    sets = [tuple(devices[index] for index in lost) for lost in failure_sets(len(devices), most)]
    off = prove_without(made.plan, made.parts, network, [(), *sets], network.given(images))
    told = msgspec.structs.replace(
        made.plan.forecast, missing=tuple(Missing(names, 1.0) for names in sets)
    )
    plan = msgspec.structs.replace(made.plan, forecast=told)
    return Code(ground, layout, replace(made, plan=plan), found, off)


def _shared(ground: Ground, region: Region) -> Shared:
    """What devices do with a coded region."""
    rows = dict(zip(ground.devices, rows_of(len(ground.devices), ground.blocks), strict=True))
    parts = {name: coded_shard(ground.network, region, row) for name, row in rows.items()}
    stays = region.stays({})
    join = Join(
        op=str(region.op),
        tensor=region.tensor,
        slices={name: Slice(stays=stays, code=row) for name, row in rows.items()},
        axis=region.axis,
        least=ground.blocks,
        block=region.block(ground.blocks),
    )
    duties = {
        name: Duty(
            ground.shard_ms(region, name, ground.evenly(region, index)),
            ground.sent(region),
            parts[name].info.memory,
        )
        for index, name in enumerate(ground.devices)
    }
    return Shared(parts, join, duties)


def _weighed(ground: Ground, layout: Layout, made: Made) -> Ground:
    """With what real shards of these regions need beside the closed form."""
    found = dict(ground.beside)
    for step, stage in zip(layout, made.plan.stages, strict=True):
        if step.what is not None:
            bare = replace(ground, beside={step.what.key: 0.0})
            least = bare.memory(step.what, ground.evenly(step.what, 0))
            most = max(made.parts[name].info.memory for name in stage.parts.values())
            found[step.what.key] = most - least
    return replace(ground, beside=found)
