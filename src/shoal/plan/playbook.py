"""Playbooks as documents: their id, their checks, their file.

A playbook comes from a file or from another machine, so nothing of it is believed: every size is
bounded, every name is looked up, every stage must follow from the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import xxhash

from shoal.errors import PlanError
from shoal.model.spec import TensorSpec
from shoal.model.store import write_file
from shoal.plan.plan import PartInfo, Plan, Playbook, PolicySpec, Spread, Stage

MAX_BYTES = 16 << 20
"""Largest playbook file that is read."""
MAX_PLANS = 4096
MAX_STAGES = 256
MAX_NAME = 200


def make_playbook(
    *,
    network: str,
    strategy: str,
    policy: PolicySpec,
    plans: Sequence[Plan],
    parts: Mapping[str, PartInfo],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> Playbook:
    """A checked playbook with its id; only the parts that some plan uses are kept."""
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
    )
    playbook = msgspec.structs.replace(playbook, id=playbook_id(playbook))
    validate(playbook)
    return playbook


def playbook_id(playbook: Playbook) -> str:
    """The name of a playbook's content: 32 hex digits, the same whatever its ``id`` field says."""
    blank = msgspec.structs.replace(playbook, id="")
    # Through JSON and back, so that 10 and 10.0 are the same number here and in a file.
    plain = msgspec.json.decode(msgspec.json.encode(blank), type=Playbook)
    data = msgspec.json.encode(plain, order="deterministic")
    return xxhash.xxh3_128_hexdigest(data)


def plan_without(playbook: Playbook, device: str) -> Plan | None:
    """The first plan that can be followed when ``device`` is gone; None if there is none."""
    for plan in playbook.plans:
        if all(
            device not in stage.parts or (stage.spread is Spread.ONE and len(stage.parts) > 1)
            for stage in plan.stages
        ):
            return plan
    return None


def memory_of(playbook: Playbook, device: str) -> int:
    """Bytes that all the parts of ``device`` need together, those of spares included."""
    return sum(playbook.parts[part].memory for part in playbook.parts_of(device))


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
        raise PlanError(
            f"{path}: the content does not match the id {playbook.id!r}; it was changed by hand "
            "or damaged: make it again with 'shoal plan'"
        )
    return playbook


def validate(playbook: Playbook) -> None:
    """Raise PlanError unless every plan can be followed as it is written."""
    if not 1 <= len(playbook.plans) <= MAX_PLANS:
        raise PlanError(
            f"the playbook holds {len(playbook.plans)} plans; 1 to {MAX_PLANS} are possible"
        )
    for part, info in playbook.parts.items():
        if min(info.size, info.memory, *info.blobs.values()) < 0:
            raise PlanError(f"the part {part[:12]} has a negative size; build the playbook again")
    names = set()
    for plan in playbook.plans:
        if not 1 <= len(plan.name) <= MAX_NAME:
            raise PlanError(f"a plan's name has {len(plan.name)} characters; use 1 to {MAX_NAME}")
        if plan.name in names:
            raise PlanError(f"two plans are called {plan.name!r}; every plan needs its own name")
        names.add(plan.name)
        _check_plan(plan, playbook)


def _check_plan(plan: Plan, playbook: Playbook) -> None:
    if not 1 <= len(plan.stages) <= MAX_STAGES:
        raise PlanError(
            f"plan {plan.name!r} has {len(plan.stages)} stages; 1 to {MAX_STAGES} are possible"
        )
    at_hand = {spec.name for spec in playbook.inputs}
    for k, stage in enumerate(plan.stages):
        place = f"plan {plan.name!r}, stage {k}"
        if not stage.inputs or not stage.outputs:
            raise PlanError(f"{place}: names no inputs or no outputs; a stage needs both")
        absent = sorted(set(stage.inputs) - at_hand)
        if absent:
            raise PlanError(
                f"{place}: takes {', '.join(absent)}, which nothing before it gives "
                f"(there are: {', '.join(sorted(at_hand))})"
            )
        _check_holders(place, stage, playbook)
        at_hand = set(stage.outputs)
    lacking = sorted({spec.name for spec in playbook.outputs} - at_hand)
    if lacking:
        raise PlanError(
            f"plan {plan.name!r}: its last stage does not give the network's "
            f"output {', '.join(lacking)}"
        )


def _check_holders(place: str, stage: Stage, playbook: Playbook) -> None:
    if not stage.parts:
        raise PlanError(f"{place}: no device runs it; name at least one")
    unknown = sorted(set(stage.parts.values()) - playbook.parts.keys())
    if unknown:
        raise PlanError(f"{place}: runs the part {unknown[0]}, which the playbook does not list")
    if stage.batch < 1:
        raise PlanError(f"{place}: a batch of {stage.batch} is impossible; write 1 or more")
    if stage.spread is Spread.ONE:
        if len(set(stage.parts.values())) > 1:
            raise PlanError(
                f"{place}: is run by one of its holders, but they hold different parts; "
                "give them one part or write a plan for each"
            )
        if stage.join is not None:
            raise PlanError(f"{place}: is run by one holder, so there is nothing to join")
        return
    join = stage.join
    if join is None:
        raise PlanError(f"{place}: is run by all of its holders, but nothing says how to join them")
    if join.op not in ("channels", "sum"):
        raise PlanError(f"{place}: there is no join {join.op!r}; use 'channels' or 'sum'")
    if join.slices.keys() != stage.parts.keys():
        raise PlanError(f"{place}: the join's slices are not those of the stage's holders")
    if join.tensor.name not in stage.outputs:
        raise PlanError(f"{place}: the joined tensor {join.tensor.name!r} is not among its outputs")
    if not 1 <= join.least <= len(join.slices):
        raise PlanError(
            f"{place}: at least {join.least} of {len(join.slices)} slices makes no sense"
        )
    if join.op == "channels":
        _check_channels(place, stage)


def _check_channels(place: str, stage: Stage) -> None:
    join = stage.join
    if join is None:
        return
    rank = len(join.tensor.shape)
    count = join.tensor.shape[join.axis] if 0 <= join.axis < rank else None
    if count is None:
        raise PlanError(f"{place}: axis {join.axis} of {join.tensor.name!r} has no fixed size")
    for name, part in join.slices.items():
        if len(set(part.channels)) != len(part.channels):
            raise PlanError(f"{place}: the slice of {name!r} names a channel twice")
        if any(not 0 <= channel < count for channel in part.channels):
            raise PlanError(f"{place}: the slice of {name!r} names a channel beyond {count - 1}")
    if len(join.fill) not in (1, count):
        raise PlanError(f"{place}: {len(join.fill)} fill values; write one, or one per channel")
