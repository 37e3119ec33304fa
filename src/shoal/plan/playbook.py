"""Playbooks as documents: made, checked, written to files and read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from shoal.codec.named import kinds
from shoal.errors import PlanError
from shoal.model.preprocessing import Preprocessing
from shoal.model.spec import TensorSpec
from shoal.model.store import write_file
from shoal.plan.identity import playbook_id as playbook_id
from shoal.plan.plan import PartInfo, Plan, Playbook, PolicySpec, Spread, Stage
from shoal.plan.playbook_check import validate as validate

MAX_BYTES = 16 << 20
"""Largest playbook file that is read."""


def make_playbook(
    *,
    network: str,
    strategy: str,
    policy: PolicySpec,
    plans: Sequence[Plan],
    parts: Mapping[str, PartInfo],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    stacks: bool = False,
    preprocessing: Preprocessing | None = None,
) -> Playbook:
    """A checked playbook with its id; only the parts that some plan uses are kept. ``stacks`` is
    that of the network; what a codec does to several images counts as well."""
    used = {part for plan in plans for stage in plan.stages for part in stage.parts.values()}
    playbook = Playbook(
        id="",
        network=network,
        strategy=strategy,
        policy=policy,
        plans=tuple(plans),
        parts={name: info for name, info in parts.items() if name in used},
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        preprocessing=preprocessing,
        stacks=stacks
        and all(_keeps_apart(stage, parts) for plan in plans for stage in plan.stages),
    )
    validate(playbook)
    return msgspec.structs.replace(playbook, id=playbook_id(playbook))


_ANYWHERE = frozenset({"raw", "lossless", "png"})
"""Codecs to which it does not matter where in a tensor images lie. To others each row along the
first axis is an image."""


def _keeps_apart(stage: Stage, parts: Mapping[str, PartInfo]) -> bool:
    """Whether the codec of a stage treats images one by one: one that rounds by image does so
    where they lie along the first axis."""
    return kinds(stage.codec) <= _ANYWHERE or all(
        parts[part].stacks is True for part in stage.parts.values()
    )


def plan_without(playbook: Playbook, device: str) -> Plan | None:
    """The first plan that can be followed when ``device`` is gone; None if there is none."""
    return next((plan for plan in playbook.in_place if runs_without(plan, {device})), None)


def runs_without(plan: Plan, devices: Collection[str]) -> bool:
    """Whether a plan can be followed when these devices are gone."""
    return all(_runs_without(stage, devices) for stage in plan.stages)


def _runs_without(stage: Stage, devices: Collection[str]) -> bool:
    rest = stage.parts.keys() - set(devices)
    if stage.spread is Spread.ONE or len(rest) == len(stage.parts):
        return bool(rest)
    return stage.join is not None and stage.join.enough(rest)


def save(playbook: Playbook, path: str | Path) -> None:
    """Write a playbook as JSON, whole or not at all; StoreError when it cannot be written."""
    write_file(path, msgspec.json.format(msgspec.json.encode(playbook), indent=1))


def load(path: str | Path) -> Playbook:
    """Read and check a playbook; PlanError says what is wrong with it."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PlanError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(data) > MAX_BYTES:
        raise PlanError(f"{path}: larger than {MAX_BYTES} bytes; it is not a playbook of Shoal")
    try:
        playbook = msgspec.json.decode(data, type=Playbook)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(
            f"{path}: is not a playbook ({error}); make one with 'shoal plan --out'"
        ) from None
    try:
        validate(playbook)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None
    if playbook.id != playbook_id(playbook):
        there = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        whole = there.keys() >= set(Playbook.__struct_fields__)
        how = "changed by hand or damaged" if whole else "made by an older version of Shoal"
        raise PlanError(
            f"{path}: the content does not match the id {playbook.id!r}; it was {how}: make it "
            "again with 'shoal plan'"
        )
    return playbook
