"""Which regions of a network are dealt, by its multiplications alone: the same on each machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx.numpy_helper import to_array

from shoal.model.network import Network
from shoal.model.part import Part
from shoal.model.shards import Op, Region, regions, shard
from shoal.model.shards.operators import looks
from shoal.plan.cluster import Cluster
from shoal.plan.profiles import Profiles
from shoal.strategies.shards.costs import Ground
from shoal.strategies.shards.layout import Layout, lay_out
from shoal.strategies.shards.plans import owned
from shoal.strategies.shards.trials import Dealings
from shoal_train.failout.counted import Counted

RHO = 0.25
ALL, INNER = "all layers", "inner layers"
"""What is dealt: all that can be, or only what lies between two layers of which the second sums
over it, and is no narrower than what goes in and comes out: so the ends of blocks are whole."""


def ground_for(network: Network, devices: int, links: str = "") -> Ground:
    """Equal devices, with these ``links`` (a line of a cluster file) or the usual ones."""
    names = tuple(f"device-{number + 1}" for number in range(devices))
    listed = ", ".join(f"{{name: {name}}}" for name in names)
    cluster = Cluster.from_yaml(f"devices: [{listed}]\n{links}")
    profiles = Profiles.scaled(cluster, Counted.of(network))
    return Ground(network, cluster, profiles, names, (1 / devices,) * devices, RHO)


def layout_of(ground: Ground, deal: str) -> Layout:
    """What is dealt of the network. PlanError where that is nothing."""
    offered = regions(ground.network).regions
    if deal == INNER:
        offered = tuple(region for region in offered if is_inner(region))
    return lay_out(ground, offered, {}, True)


def is_inner(region: Region) -> bool:
    """Whether only what is wide inside of a region is dealt."""
    ends = (spec.shape[1] or 0 for spec in (region.source, region.tensor))
    widths = (width.units for width in region.widths)
    return region.op is Op.SUM and not region.whole_macs and min(widths) >= max(ends)


def dealt(layout: Layout) -> tuple[Region, ...]:
    """The regions of a layout."""
    return tuple(step.what for step in layout if step.what is not None)


def dealt_share(network: Network, layout: Layout) -> float:
    """The share of all multiplications that is divided among the devices."""
    total = sum(look.macs for look in looks(network))
    return sum(region.macs - region.whole_macs for region in dealt(layout)) / max(1, total)


@dataclass(frozen=True)
class Weights:
    """Bytes of weights: of the whole network, and by step of the layout."""

    network: int
    steps: Mapping[int, int]

    @classmethod
    def of(cls, network: Network, layout: Layout) -> Weights:
        """Those of a network."""
        (whole,) = network.split((), prove=False)
        parts = network.split([step.start for step in layout if step.start], prove=False)
        steps = {step.start: weight_bytes(part) for step, part in zip(layout, parts, strict=True)}
        return cls(weight_bytes(whole), steps)

    def dealt(self, layout: Layout) -> float:
        """Of the units that are dealt."""
        widths = (width for region in dealt(layout) for width in region.widths)
        return math.fsum(width.bytes * width.units for width in widths)

    def held(self, network: Network, layout: Layout, dealings: Dealings, index: int) -> float:
        """What a device holds of these units, in its real shards: without what all compute whole
        there, whatever is dealt."""
        whole = sum(self.steps[step.start] for step in layout if step.what is not None)
        shards = (shard(network, each, owned(each, dealings, index)) for each in dealt(layout))
        return sum(weight_bytes(part) for part in shards) - (whole - self.dealt(layout))


def weight_bytes(part: Part) -> int:
    """Bytes of the weights of a part: those that are blobs, and the small ones in its graph."""
    kept = onnx.load_model_from_string(part.graph).graph.initializer
    small = (np.asarray(to_array(each)) for each in kept if not each.external_data)
    return part.weight_bytes + sum(each.nbytes for each in small if each.dtype.kind == "f")
