"""A trained fluid network as one file that devices can run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from shoal.errors import UnsupportedModelError
from shoal.model.bundle import SubJoin, SubStage, Variant, write_bundle
from shoal.model.bundle import SubNetwork as Packed
from shoal.model.spec import TensorSpec
from shoal_train.fluid.fit import logits
from shoal_train.fluid.groups import PRIVATE_UP_TO, SubNetwork, subsets
from shoal_train.fluid.model import FluidModel
from shoal_train.fluid.parts import INPUT, OUTPUT, export_alone, export_dense
from shoal_train.metrics import top1


@dataclass(frozen=True)
class Measured:
    """The share of right answers on ``images`` test images."""

    images: int
    alone: dict[str, float]
    """By sub-network. Run by several devices layer by layer it answers the same."""
    apart: dict[str, float] = field(default_factory=dict)
    """The same groups, where each device runs its own alone and the logits are added."""


def device_sets(model: FluidModel) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """For every set of two devices or more, the groups of each; small sets first."""
    owners = model.division.owners
    return tuple(
        tuple(owners[device] for device in devices)
        for devices in subsets(tuple(range(len(owners))))
        if len(devices) > 1
    )


def measure(model: FluidModel, images: Tensor, labels: Tensor) -> Measured:
    """Accuracy on byte images: of every sub-network, and of all that devices give apart."""
    alone: dict[str, float] = {}
    kept: dict[tuple[int, ...], Tensor] = {}
    for sub in model.sub_networks:
        given = logits(model, images, sub)
        alone[sub.name] = top1(given, labels)
        if sub.groups in model.division.owners:
            kept[sub.groups] = given
    apart = {
        model.of(_groups(owners)).name: top1(
            torch.stack([kept[own] for own in owners]).sum(0), labels
        )
        for owners in device_sets(model)
    }
    return Measured(len(labels), alone, apart)


def write(
    model: FluidModel, path: Path, name: str, measured: Measured, about: str = ""
) -> tuple[str, ...]:
    """Write the bundle of ``model``; returns what could not be in it, as sentences.

    It holds every sub-network in one piece (``alone``), and for every set of devices the ways to
    run their groups together: layer by layer (``dense``) and apart (``logits``). Of more than four
    devices, those in one piece and layer by layer are only there for each device by itself, for
    all devices, and for all but one: there would be thousands of parts otherwise.
    """
    few = len(model.sub_networks) <= PRIVATE_UP_TO
    count = len(model.division.owners)
    graphs: dict[str, bytes] = {}
    packed: list[Packed] = []
    lacking: dict[str, None] = {}
    spec = TensorSpec(OUTPUT, "float32", (None, *model.logits.shape))
    for sub in model.sub_networks:
        if few or len(sub.groups) in (1, count - 1, count):
            key = f"alone {sub.name}"
            graphs[key] = export_alone(model, sub)
            packed.append(_packed(sub, Variant.ALONE, (sub.groups,), measured, [key], spec))
    for owners in device_sets(model):
        sub = model.of(_groups(owners))
        keys = [f"alone {model.of(own).name}" for own in owners]
        packed.append(_packed(sub, Variant.LOGITS, owners, measured, keys, spec))
        if few or len(owners) in (count - 1, count):
            try:
                packed.append(_dense(model, sub, owners, measured, graphs))
            except UnsupportedModelError as error:
                lacking[f"no layer-by-layer way: {error}"] = None
    write_bundle(
        path,
        name=name,
        groups=model.division.widths,
        subnets=packed,
        graphs=graphs,
        about=about,
    )
    return tuple(lacking)


def _packed(
    sub: SubNetwork,
    variant: Variant,
    owners: tuple[tuple[int, ...], ...],
    measured: Measured,
    keys: Sequence[str],
    logits_spec: TensorSpec,
) -> Packed:
    """A sub-network of one stage whose owners run the graphs ``keys``."""
    together = variant is Variant.LOGITS
    accuracy = measured.apart if together else measured.alone
    stage = SubStage(
        {str(place): key for place, key in enumerate(keys)},
        (INPUT,),
        (OUTPUT,),
        SubJoin("sum", logits_spec) if together else None,
    )
    return Packed(
        sub.name, sub.groups, variant, owners, accuracy[sub.name], measured.images, (stage,)
    )


def _dense(
    model: FluidModel,
    sub: SubNetwork,
    owners: tuple[tuple[int, ...], ...],
    measured: Measured,
    graphs: dict[str, bytes],
) -> Packed:
    """A sub-network that its owners run layer by layer; its graphs are added to ``graphs``."""
    stages = []
    for number, stage in enumerate(export_dense(model, sub, owners)):
        keys = {str(place): f"{sub.name} {number} {own}" for place, own in enumerate(owners)}
        graphs.update(zip(keys.values(), stage.models, strict=True))
        stages.append(SubStage(keys, (stage.input,), (stage.output,), stage.join))
    return Packed(
        sub.name,
        sub.groups,
        Variant.DENSE,
        owners,
        measured.alone[sub.name],
        measured.images,
        tuple(stages),
    )


def _groups(owners: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sorted(group for own in owners for group in own))
