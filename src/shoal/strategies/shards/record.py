"""What a playbook of ``shards`` tells of itself: plain data among the settings of its policy."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from shoal.model.shards import Found, Region, Why
from shoal.plan.forecast import StageDuty
from shoal.plan.plan import Playbook, Stage
from shoal.strategies.promised import Promised
from shoal.strategies.shards.coded import Code
from shoal.strategies.shards.costs import Ground
from shoal.strategies.shards.failures import worst_at
from shoal.strategies.shards.layout import Layout
from shoal.strategies.shards.plans import owned
from shoal.strategies.shards.promise import Promise
from shoal.strategies.shards.repair import Repair
from shoal.strategies.shards.settle import Settled
from shoal.strategies.shards.trials import Dealings

CURVE = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of each layer for which is told what would be kept if they were common."""


class Layer(msgspec.Struct, frozen=True):
    """A width of a region: how many units there are, all hold, and each device holds besides."""

    name: str
    units: int
    common: int
    dealt: tuple[int, ...]
    unit_bytes: float


class Step(msgspec.Struct, frozen=True):
    """A stage: nodes ``start`` to ``end``, joined by ``op`` (empty: one device runs it). Of a coded
    layer it is told what each device holds as if it were dealt. By device, the ``bytes`` of its
    part, the ``macs`` that it computes for one image, and the bytes that it ``sends`` to each of
    its ``takers``: the other devices, or the gateway alone; ``packed`` with ``codec`` they are as
    many as some of the images make them. ``whole`` is the share of its
    multiplications that every device does, whatever is dealt."""

    start: int
    end: int
    op: str
    tensor: str
    layers: tuple[Layer, ...]
    bytes: tuple[int, ...]
    macs: tuple[float, ...]
    sends: tuple[float, ...]
    takers: int = 0
    whole: float = 0.0
    codec: str = "raw"
    packed: tuple[float, ...] = ()


class Point(msgspec.Struct, frozen=True):
    """What is kept where a share ``rho`` of each layer is common and so many devices are lost."""

    rho: float
    lost: int
    mean: float
    worst: float


class Loss(msgspec.Struct, frozen=True):
    """What is kept without these devices, on the images (``share``) and for sure; and the same once
    what is missing is rebuilt, which it is when it is known who is lost."""

    devices: tuple[str, ...]
    share: float
    promised: float
    rebuilt_share: float | None = None
    rebuilt_promised: float | None = None


class Brought(msgspec.Struct, frozen=True):
    """What is brought to the others once the device ``lost`` is lost for good, if it ``fits``, in
    the place of what they hold (``instead``) or beside it: by device, bytes of ``weights`` and of
    ``graphs``."""

    lost: str
    fits: bool
    instead: bool
    weights: dict[str, int]
    graphs: dict[str, int]


class Record(msgspec.Struct, frozen=True):
    """All of it. ``whys`` tell what is dealt nowhere; what is promised ``stands`` on what was
    measured on images (None: nothing was). With nobody lost ``share`` is kept on the images and
    ``promised`` for sure: where packing loses something not all."""

    devices: tuple[str, ...]
    steps: tuple[Step, ...]
    losses: tuple[Loss, ...]
    curve: tuple[Point, ...]
    whys: tuple[str, ...]
    stands: Promised | None = None
    repairs: tuple[Brought, ...] = ()
    share: float = 1.0
    promised: float = 1.0

    def plain(self) -> dict[str, Any]:
        """As settings of a policy, the same here and read from a file."""
        made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return made


def read_record(playbook: Playbook) -> Record:
    """The record of a playbook."""
    return msgspec.convert(playbook.policy.settings, Record)


def record(
    ground: Ground,
    layout: Layout,
    settled: Settled,
    promise: Promise | None,
    found: Found,
    repairs: Sequence[Repair] = (),
) -> Record:
    """The record of what was settled."""
    plan = settled.made.plan
    steps = []
    for step, stage, duty in zip(layout, plan.stages, settled.made.duties, strict=True):
        sizes = [settled.made.parts[stage.parts[name]].info for name in ground.devices]
        weights = tuple(sum(info.blobs.values()) for info in sizes)
        if step.what is None:
            name = stage.outputs[0]
            made = Step(step.start, step.end, "", name, (), weights, (), ())
        else:
            answers = ground.answers(step.what)
            made = _dealt(step.what, settled.dealings, weights, answers)
        steps.append(_packed(made, stage, duty))
    losses = []
    mended = {each.missing.devices: each for each in settled.mended}
    for each, kept in zip(settled.missing, settled.kept, strict=True):
        first = each.devices, 1.0 if kept is None else kept.share, each.accuracy
        later = mended.get(each.devices)
        more = () if later is None else (later.kept.share, later.missing.accuracy)
        losses.append(Loss(*first, *more))
    return Record(
        devices=ground.devices,
        steps=tuple(steps),
        losses=tuple(losses),
        curve=() if promise is None else tuple(_curve(promise)),
        whys=because(found.whys),
        stands=None if promise is None else promise.stands,
        share=1.0 if settled.whole is None else settled.whole.share,
        promised=plan.forecast.accuracy,
        repairs=tuple(
            Brought(
                each.lost,
                each.made is not None,
                each.instead,
                dict(each.weights),
                dict(each.graphs),
            )
            for each in repairs
        ),
    )


def coded_record(code: Code) -> Record:
    """The record of coded layers."""
    ground, plan = code.ground, code.made.plan
    steps = []
    for step, stage, duty in zip(code.layout, plan.stages, code.made.duties, strict=True):
        infos = [code.made.parts[stage.parts[name]].info for name in ground.devices]
        weights = tuple(sum(info.blobs.values()) for info in infos)
        region, count = step.what, len(ground.devices)
        if region is None:
            made = Step(step.start, step.end, "", stage.outputs[0], (), weights, (), ())
            steps.append(_packed(made, stage, duty))
            continue
        (width,) = region.widths
        units = math.ceil(width.units / ground.blocks)
        made = Step(
            step.start,
            step.end,
            str(region.op),
            width.name,
            (Layer(width.name, width.units, 0, (units,) * count, width.bytes),),
            weights,
            (region.whole_macs + units * width.macs,) * count,
            (float(ground.sent(region)),) * count,
            1 if ground.answers(region) else count - 1,
            region.whole_macs / max(1, region.macs),
        )
        steps.append(_packed(made, stage, duty))
    return Record(
        devices=ground.devices,
        steps=tuple(steps),
        losses=tuple(Loss(each.devices, 1.0, 1.0) for each in plan.forecast.missing),
        curve=(),
        whys=because(code.found.whys),
    )


def because(whys: Sequence[Why]) -> tuple[str, ...]:
    """Which nodes are dealt nowhere and why: a line for all of a kind with one reason, whatever the
    nodes behind them are called."""
    kinds: dict[tuple[str, str], list[Why]] = {}
    for why in whys:
        kinds.setdefault((why.op, re.sub(r" '[^']*'", "", why.words)), []).append(why)
    lines = []
    for (op, words), (first, *more) in kinds.items():
        nodes = ", ".join(str(why.node) for why in (first, *more))
        lines.append(
            f"{op} (nodes {nodes}): {words}" if more else f"{op} (node {nodes}): {first.words}"
        )
    return tuple(lines)


def _packed(step: Step, stage: Stage, duty: StageDuty) -> Step:
    """With what its slices weigh where they are packed."""
    if stage.codec == "raw":
        return step
    sizes = tuple(each.out_bytes for each in duty.duties.values())
    return msgspec.structs.replace(step, codec=stage.codec, packed=sizes)


def _dealt(region: Region, dealings: Dealings, weights: Sequence[int], answers: bool) -> Step:
    own = [owned(region, dealings, index) for index in range(len(weights))]
    itemsize = np.dtype(region.tensor.dtype).itemsize
    layers = []
    for width in region.widths:
        dealing = dealings[width.name]
        dealt = tuple(len(units) for units in dealing.dealt)
        layers.append(Layer(width.name, width.units, len(dealing.common), dealt, width.bytes))
    return Step(
        region.start,
        region.end,
        str(region.op),
        region.tensor.name,
        tuple(layers),
        tuple(weights),
        tuple(float(region.macs_of(each)) for each in own),
        tuple(float(region.sent(each, answers) * itemsize) for each in own),
        takers=1 if answers else len(weights) - 1,
        whole=region.whole_macs / max(1, region.macs),
    )


def _curve(promise: Promise) -> list[Point]:
    sizes = [len(lost) for lost in promise.sets]
    return [
        Point(rho, size, mean, worst)
        for rho, kept in promise.curve(CURVE)
        for size, (mean, worst) in worst_at(sizes, kept).items()
    ]
