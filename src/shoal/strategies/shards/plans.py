"""From who holds what to a plan: parts, joins, forecast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np

from shoal.model.shards import Op, Region, Units, shard
from shoal.plan.forecast import Duty, StageDuty, forecast
from shoal.plan.network import Feeds, Part, tensor_bytes
from shoal.plan.plan import Join, Plan, Slice, Spread, Stage
from shoal.strategies.shards.costs import Ground, Held
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.layout import Layout
from shoal.strategies.shards.packing import WEIGHED, packed, weighed
from shoal.strategies.shards.trials import Dealings

LEAST_WAIT_MS = 100.0
"""Shortest time that a slice is waited for: a device may be late for many reasons."""
FLOAT_BYTES = 4
PATIENCE = 2.0
"""A slice is waited for as long as this many forecasts of the whole request."""


@dataclass(frozen=True)
class Made:
    """A plan, its parts by hash, what each of its stages asks of the devices, and the bytes that
    would cross links for an image if nothing were packed."""

    plan: Plan
    parts: Mapping[str, Part]
    duties: tuple[StageDuty, ...] = ()
    unpacked: float = 0.0

    @property
    def held(self) -> list[tuple[str, Part]]:
        """Each part with a device that holds it."""
        return [(n, self.parts[h]) for stage in self.plan.stages for n, h in stage.parts.items()]


class Shared(NamedTuple):
    """What devices do with a region together: the part of each, how their slices are joined, and
    what it asks of each."""

    parts: Mapping[str, Part]
    join: Join
    duties: Mapping[str, Duty]


def make_plan(ground: Ground, layout: Layout, deck: Deck, dealings: Dealings, least: int) -> Made:
    """The plan in which the devices of ``ground`` run the steps of ``layout``, of which ``least``
    must be there. What it keeps without whom is not said yet."""
    name = ground.network.inputs[0].name
    images = [] if deck.images is None else [{name: row[None]} for row in deck.images[:WEIGHED]]
    return assemble(
        ground, layout, lambda region: _dealt(ground, region, deck, dealings, least), images
    )


def assemble(
    ground: Ground,
    layout: Layout,
    shared: Callable[[Region], Shared],
    images: Sequence[Feeds] = (),
) -> Made:
    """The plan in which the devices of ``ground`` run the steps of ``layout``, what is dealt as
    ``shared`` says. What is packed weighs what it does of ``images``, or of a probe."""
    network, devices = ground.network, ground.devices
    stretches = network.split([step.start for step in layout if step.start], prove=False)
    parts: dict[str, Part] = {}
    stages: list[Stage] = []
    duties: list[StageDuty] = []
    for step, stretch in zip(layout, stretches, strict=True):
        made: Mapping[str, Part]
        if step.what is None:
            made, last = dict.fromkeys(devices, stretch), step.end == len(network.nodes)
            stage = Stage(_hashes(made), stretch.inputs, stretch.outputs)
            duties.append(StageDuty(_alone(ground, step.start, step.end, stretch)))
        else:
            made, join, each = shared(step.what)
            ends = (step.what.source.name,), (step.what.tensor.name,)
            stage, last = Stage(_hashes(made), *ends, Spread.ALL, join), ground.answers(step.what)
            duties.append(StageDuty(each, Spread.ALL))
        sizes = [int(duty.out_bytes) // FLOAT_BYTES for duty in duties[-1].duties.values()]
        stages.append(packed(stage, sizes, ground.packing.codec, last))
        parts |= {part.hash: part for part in made.values()}
    plan = _planned(ground, stages, duties)
    unpacked = plan.forecast.bytes_per_image
    if any(stage.codec != "raw" for stage in stages):
        duties = list(weighed(ground, plan, parts, duties, images or [network.probe(0)]))
        plan = _planned(ground, stages, duties)
    return Made(plan, parts, tuple(duties), unpacked)


def _planned(ground: Ground, stages: Sequence[Stage], duties: Sequence[StageDuty]) -> Plan:
    """The plan of these stages, which ask this of the devices."""
    network = ground.network
    expected = forecast(duties, ground.cluster, ground.profiles, tensor_bytes(network.inputs))
    wait_ms = max(LEAST_WAIT_MS, PATIENCE * expected.latency_ms)
    return Plan(
        name=f"shards on {'+'.join(ground.devices)}"[:200],
        stages=tuple(_waiting(stage, wait_ms) for stage in stages),
        forecast=expected,
        tolerance=network.tolerance,
    )


def _dealt(ground: Ground, region: Region, deck: Deck, dealings: Dealings, least: int) -> Shared:
    devices = ground.devices
    own = [owned(region, dealings, index) for index in range(len(devices))]
    shards = [shard(ground.network, region, each) for each in own]
    made = dict(zip(devices, shards, strict=True))
    slices = dict(zip(devices, _slices(region, own, deck, dealings, least), strict=True))
    join = _join(region, slices, deck, least)
    return Shared(made, join, _together(ground, region, made, own))


def owned(region: Region, dealings: Dealings, index: int) -> dict[str, Units]:
    """What a device (by number) holds of a region, by width."""
    return {width.name: dealings[width.name].held(index) for width in region.widths}


def shares(region: Region, own: Mapping[str, Units]) -> Held:
    """The same as shares of the widths."""
    return {width.name: len(own[width.name]) / width.units for width in region.widths}


def _slices(
    region: Region, own: Sequence[Mapping[str, Units]], deck: Deck, dealings: Dealings, least: int
) -> list[Slice]:
    """Where the slice of each device goes, what of it stays, and what stands in for it, if it may
    be missing."""
    stand_ins: list[tuple[float, ...]] = [()] * len(own)
    if region.key in deck.adds and deck.means is not None and least < len(own):
        stand_ins = _stand_ins(region, len(own), deck, dealings)
    return [
        Slice(region.channels(mine), region.stays(mine), stand_in)
        for mine, stand_in in zip(own, stand_ins, strict=True)
    ]


def _stand_ins(
    region: Region, count: int, deck: Deck, dealings: Dealings
) -> list[tuple[float, ...]]:
    """For each device the mean over space of what the means of its units add to a sum."""
    means = deck.means or {}
    rows = {}
    for point in region.points:
        values = np.zeros((count, point.entries), np.float32)
        for width in region.widths:
            for index, units in enumerate(dealings[width.name].dealt):
                places = list(point.of(width.name, units))
                values[index, places] = means[point.tensor.name][places]
        rows[point.tensor.name] = values
    added = np.moveaxis(deck.adds[region.key].of(rows), region.axis, 1)
    flat = added.reshape(count, added.shape[1], -1).mean(axis=2, dtype=np.float64)
    return [tuple(map(float, row.astype(np.float32))) for row in flat]


def _join(region: Region, slices: dict[str, Slice], deck: Deck, least: int) -> Join:
    fill: tuple[float, ...] = (0.0,)
    if region.op is Op.CHANNELS and deck.means is not None and least < len(slices):
        fill = tuple(map(float, deck.means[region.tensor.name]))
    return Join(str(region.op), region.tensor, slices, region.axis, fill, least=least)


def _waiting(stage: Stage, wait_ms: float) -> Stage:
    if stage.join is None:
        return stage
    join = msgspec.structs.replace(stage.join, deadline_ms=wait_ms)
    return msgspec.structs.replace(stage, join=join)


def _hashes(parts: Mapping[str, Part]) -> dict[str, str]:
    return {name: part.hash for name, part in parts.items()}


def _alone(ground: Ground, start: int, end: int, stretch: Part) -> dict[str, Duty]:
    """What a stretch asks of each who may run it."""
    size, memory = ground.crossing(end), stretch.info.memory
    return {
        name: Duty(ground.profile(name).range_ms(start, end), size, memory)
        for name in ground.devices
    }


def _together(
    ground: Ground,
    region: Region,
    made: Mapping[str, Part],
    own: Sequence[Mapping[str, Units]],
) -> dict[str, Duty]:
    """What a region asks of each device."""
    itemsize = np.dtype(region.tensor.dtype).itemsize
    return {
        name: Duty(
            ground.shard_ms(region, name, shares(region, mine)),
            region.sent(mine, ground.answers(region)) * itemsize,
            made[name].info.memory,
        )
        for name, mine in zip(ground.devices, own, strict=True)
    }
