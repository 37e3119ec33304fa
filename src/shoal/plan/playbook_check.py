"""What is wrong with a playbook beyond the types of its fields.

A playbook comes from a file or from another machine, so nothing of it is believed: every size is
bounded, every number is one that makes sense, every name is looked up, every stage must follow
from the one before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from shoal.codec import named, parity
from shoal.codec.slices import Join
from shoal.errors import PlanError, UsageError
from shoal.model import limits
from shoal.model.confidence import CRITERIA
from shoal.model.dtypes import NUMPY_TO_ONNX
from shoal.model.info import PartInfo
from shoal.model.spec import TensorSpec
from shoal.plan import size
from shoal.plan.cluster_check import MAX_DEVICES
from shoal.plan.plan import Exit, Forecast, Plan, Playbook, Reserve, Spread, Stage

MAX_PLANS = 4096
NEVER = 2.0
"""A threshold that no confidence reaches."""
MAX_STAGES = 256
MAX_PARTS = 1 << 16
MAX_BLOBS = 1 << 16
"""Of one part."""
MAX_TENSORS = 256
"""That enter or leave a stage; a frame holds no more."""
MAX_NAME = 200
MAX_SETS = 4096
MAX_TENSOR_NAME = 4096
MAX_BATCH = 1024
MAX_WHOLE = 1 << 63
"""Whole numbers on the wire are below it."""
MAX_WAIT_MS = 3_600_000.0
"""Longest wait that a stage may be told."""
MAX_DEPTH = 16
"""Of the settings of a policy."""


def validate(playbook: Playbook) -> None:
    """Raise PlanError unless every plan can be followed as it is written."""
    for what, name in (
        ("network", playbook.network),
        ("strategy", playbook.strategy),
        ("policy", playbook.policy.name),
    ):
        _check_name(f"the name of the {what}", name)
    _check_plain(playbook.policy.settings)
    _check_tensors("input", playbook.inputs)
    _check_tensors("output", playbook.outputs)
    if not 1 <= len(playbook.plans) <= MAX_PLANS:
        raise PlanError(
            f"the playbook holds {len(playbook.plans)} plans; 1 to {MAX_PLANS} are possible"
        )
    if len(playbook.parts) > MAX_PARTS:
        raise PlanError(f"the playbook lists {len(playbook.parts)} parts; {MAX_PARTS} are possible")
    for part, info in playbook.parts.items():
        _check_part(part, info)
    names = set()
    for plan in playbook.plans:
        _check_name("a plan's name", plan.name)
        if plan.name in names:
            raise PlanError(f"two plans are called {plan.name!r}; every plan needs its own name")
        names.add(plan.name)
        _check_plan(plan, playbook)
    if playbook.plans[0].reserve is not None:
        raise PlanError("the first plan is in reserve; put one first whose parts are in place")
    if len(playbook.devices) > MAX_DEVICES:
        raise PlanError(
            f"the playbook names {len(playbook.devices)} devices; {MAX_DEVICES} are possible"
        )


def _check_name(what: str, name: str, most: int = MAX_NAME) -> None:
    if not 1 <= len(name) <= most:
        raise PlanError(f"{what} has {len(name)} characters; use 1 to {most}")
    if not name.isprintable():  # it is shown on terminals
        raise PlanError(f"{what} holds characters that cannot be shown: {name[:60]!r}")


def _check_plain(value: object, depth: int = 0) -> None:
    """Settings of a policy are what JSON can say, so that they have an id and can be stored."""
    if isinstance(value, dict) and depth < MAX_DEPTH and all(isinstance(k, str) for k in value):
        inner = list(value.values())
    elif isinstance(value, list | tuple) and depth < MAX_DEPTH:
        inner = list(value)
    elif value is None or isinstance(value, str) or _is_number(value):
        return
    else:
        raise PlanError(
            "the settings of the policy hold something that is no text, number, list or table, or "
            f"more than {MAX_DEPTH} in each other"
        )
    for item in inner:
        _check_plain(item, depth + 1)


def _is_number(value: object) -> bool:
    """Whether it is a finite number which a message can hold."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and -MAX_WHOLE <= value < MAX_WHOLE


def _check_number(place: str, what: str, value: float, low: float, high: float) -> None:
    """``low`` and ``high`` are possible; NaN never is."""
    if not low <= value <= high:
        raise PlanError(f"{place}: {what} of {value} makes no sense; use {low:g} to {high:g}")


def _check_positive(place: str, what: str, value: float, high: float) -> None:
    if not 0 < value <= high:
        raise PlanError(f"{place}: {what} of {value} makes no sense; use more than 0, to {high:g}")


def _check_part(part: str, info: PartInfo) -> None:
    _check_name("the name of a part", part)
    place = f"the part {part[:12]}"
    if min(info.size, info.memory, info.activations, *info.blobs.values()) < 0:
        raise PlanError(f"{place} has a negative size; build the playbook again")
    if len(info.blobs) > MAX_BLOBS or not all(len(blob) <= MAX_NAME for blob in info.blobs):
        raise PlanError(f"{place} names more than {MAX_BLOBS} blobs, or one that is no hash")
    largest = max(info.blobs.values(), default=0)
    if (
        info.size > limits.GRAPH_BYTES
        or largest > limits.TENSOR_BYTES
        or sum(info.blobs.values()) > limits.TOTAL_WEIGHT_BYTES
        or max(info.memory, info.activations) > size.MAX
    ):
        raise PlanError(f"{place} is larger than any part may be; cut the network smaller")
    if info.memory < sum(info.blobs.values()):
        raise PlanError(
            f"{place} is said to need {info.memory} bytes of memory, but its weights alone have "
            f"{sum(info.blobs.values())}; build the playbook again"
        )


def _check_tensors(what: str, specs: Sequence[TensorSpec]) -> None:
    if not 1 <= len(specs) <= MAX_TENSORS:
        raise PlanError(f"the network has {len(specs)} {what}s; 1 to {MAX_TENSORS} are possible")
    if len({spec.name for spec in specs}) != len(specs):
        raise PlanError(f"two {what}s of the network have one name; build the playbook again")
    for spec in specs:
        _check_tensor(f"the {what}", spec)


def _check_tensor(place: str, spec: TensorSpec) -> None:
    _check_name(f"{place}: the name of a tensor", spec.name, MAX_TENSOR_NAME)
    if spec.dtype not in NUMPY_TO_ONNX:
        raise PlanError(f"{place}: {spec.name!r} has the dtype {spec.dtype[:32]!r}, which is none")
    sides = [1 if side is None else side for side in spec.shape]
    if len(sides) > limits.RANK or any(side < 0 for side in sides):
        raise PlanError(f"{place}: {spec.name!r} has an impossible shape")
    if math.prod(sides) * np.dtype(spec.dtype).itemsize > limits.ACTIVATION_BYTES:
        raise PlanError(
            f"{place}: {spec.name!r} takes more than {limits.ACTIVATION_BYTES} bytes for one image"
        )


def _check_plan(plan: Plan, playbook: Playbook) -> None:
    place = f"plan {plan.name!r}"
    if not 1 <= len(plan.stages) <= MAX_STAGES:
        raise PlanError(f"{place} has {len(plan.stages)} stages; 1 to {MAX_STAGES} are possible")
    if plan.tolerance is not None:
        _check_number(place, "a tolerance", plan.tolerance, 0.0, 1.0)
    _check_codec(place, plan.codec)
    if plan.reserve is not None:
        _check_reserve(place, plan.reserve, plan, playbook)
    _check_forecast(place, plan.forecast, len(plan.stages))
    at_hand = {spec.name for spec in playbook.inputs}
    for k, stage in enumerate(plan.stages):
        place = f"plan {plan.name!r}, stage {k}"
        _check_ends(place, stage)
        absent = sorted(set(stage.inputs) - at_hand)
        if absent:
            raise PlanError(
                f"{place}: takes {', '.join(absent)}, which nothing before it gives "
                f"(there are: {', '.join(sorted(at_hand))})"
            )
        _check_codec(place, stage.codec)
        _check_number(place, "a batch", stage.batch, 1, MAX_BATCH)
        _check_number(place, "a wait for a batch", stage.batch_wait_ms, 0.0, MAX_WAIT_MS)
        if stage.exit is not None:
            _check_exit(place, stage.exit, playbook)
        _check_holders(place, stage, playbook)
        if stage.join is not None and stage.join.at_home:
            _check_takers(place, stage, plan.stages[k + 1 : k + 2])
        at_hand = set(stage.outputs)
    lacking = sorted({spec.name for spec in playbook.outputs} - at_hand)
    if lacking:
        raise PlanError(
            f"plan {plan.name!r}: its last stage does not give the network's "
            f"output {', '.join(lacking)}"
        )


def _check_reserve(place: str, reserve: Reserve, plan: Plan, playbook: Playbook) -> None:
    _check_number(place, "a time in reserve, in s,", reserve.after_s, 0.0, MAX_WAIT_MS / 1e3)
    others = playbook.devices - plan.devices
    if not reserve.without or not others.issuperset(reserve.without):
        raise PlanError(
            f"{place}: is in reserve for the loss of {', '.join(reserve.without)[:MAX_NAME]!r}; "
            "name devices of other plans that it does not need itself"
        )


def _check_takers(place: str, stage: Stage, after: Sequence[Stage]) -> None:
    """Only holders can join slices of which some stays with each; after the last stage the gateway
    is sent all of each."""
    if after and not after[0].parts.keys() <= stage.parts.keys():
        raise PlanError(
            f"{place}: some of each slice stays with its holder, so only these holders can run the "
            "next stage"
        )


def _check_ends(place: str, stage: Stage) -> None:
    if not stage.inputs or not stage.outputs:
        raise PlanError(f"{place}: names no inputs or no outputs; a stage needs both")
    for names in (stage.inputs, stage.outputs):
        if len(names) > MAX_TENSORS or len(set(names)) != len(names):
            raise PlanError(f"{place}: names more than {MAX_TENSORS} tensors, or one twice")
        for name in names:
            _check_name(f"{place}: the name of a tensor", name, MAX_TENSOR_NAME)


def _check_codec(place: str, codec: str) -> None:
    _check_name(f"{place}: the name of its codec", codec, named.MAX_LENGTH)
    try:
        named.check(codec)
    except (UsageError, ValueError) as error:
        raise PlanError(f"{place}: {error}") from None


def _check_forecast(place: str, forecast: Forecast, stages: int) -> None:
    place = f"the forecast of {place}"
    times: list[float] = [*forecast.stage_ms]
    for holders in forecast.holder_ms:
        times.extend(holders.values())
    numbers = [
        forecast.latency_ms,
        forecast.images_per_s,
        forecast.bytes_per_image,
        forecast.server_ms,
        *forecast.memory.values(),
        *([] if forecast.energy_j is None else [forecast.energy_j]),
        *times,
    ]
    if not all(_is_number(number) and number >= 0 for number in numbers):
        raise PlanError(f"{place} holds a number that is negative or none; build it again")
    _check_number(place, "an accuracy", forecast.accuracy, 0.0, 1.0)
    if len(forecast.missing) > MAX_SETS:
        raise PlanError(
            f"{place}: {len(forecast.missing)} sets of missing devices; name {MAX_SETS}"
        )
    for missing in forecast.missing:
        _check_number(place, "an accuracy", missing.accuracy, 0.0, 1.0)
    if max(len(forecast.stage_ms), len(forecast.holder_ms)) > stages:
        raise PlanError(f"{place} tells of more stages than the {stages} that there are")
    if forecast.slowest:
        _check_name(f"{place}: what is slowest", forecast.slowest)


def _check_exit(place: str, leave: Exit, playbook: Playbook) -> None:
    place = f"{place}, exit"
    _check_name(f"{place}: the name of its tensor", leave.tensor, MAX_TENSOR_NAME)
    if leave.output not in {spec.name for spec in playbook.outputs}:
        raise PlanError(f"{place}: {leave.output[:60]!r} is no output of the network")
    if leave.criterion not in CRITERIA:
        raise PlanError(
            f"{place}: there is no criterion {leave.criterion[:60]!r}; use {', '.join(CRITERIA)}"
        )
    _check_number(place, "a threshold", leave.threshold, 0.0, NEVER)
    _check_positive(place, "a temperature", leave.temperature, 1e6)


def _check_holders(place: str, stage: Stage, playbook: Playbook) -> None:
    if not stage.parts:
        raise PlanError(f"{place}: no device runs it; name at least one")
    for device in stage.parts:
        _check_name(f"{place}: the name of a device", device)
    unknown = sorted(set(stage.parts.values()) - playbook.parts.keys())
    if unknown:
        raise PlanError(
            f"{place}: runs the part {unknown[0][:64]}, which the playbook does not list"
        )
    if stage.spread is Spread.ONE:
        if len(set(stage.parts.values())) > 1:
            raise PlanError(
                f"{place}: is run by one of its holders, but they hold different parts; "
                "give them one part or write a plan for each"
            )
        if stage.join is not None:
            raise PlanError(f"{place}: is run by one holder, so there is nothing to join")
        return
    if stage.join is None:
        raise PlanError(f"{place}: is run by all of its holders, but nothing says how to join them")
    _check_join(place, stage.join, stage)


def _check_join(place: str, join: Join, stage: Stage) -> None:
    if join.op not in ("channels", "sum", "coded"):
        raise PlanError(
            f"{place}: there is no join {join.op[:60]!r}; use 'channels', 'sum' or 'coded'"
        )
    if join.slices.keys() != stage.parts.keys():
        raise PlanError(f"{place}: the join's slices are not those of the stage's holders")
    if join.tensor.name not in stage.outputs:
        raise PlanError(f"{place}: the joined tensor {join.tensor.name!r} is not among its outputs")
    _check_tensor(place, join.tensor)
    if not 1 <= join.least <= len(join.slices):
        raise PlanError(
            f"{place}: at least {join.least} of {len(join.slices)} slices makes no sense"
        )
    if not 0 <= join.axis < limits.RANK:
        raise PlanError(f"{place}: {join.tensor.name!r} has no axis {join.axis}")
    _check_positive(place, "a deadline of the join in ms", join.deadline_ms, MAX_WAIT_MS)
    for each in join.suffice[:MAX_SETS]:
        if not each or not join.slices.keys() >= set(each):
            raise PlanError(f"{place}: a set of holders that suffices is not of its holders")
    if len(join.suffice) > MAX_SETS:
        raise PlanError(f"{place}: {len(join.suffice)} sets suffice; name at most {MAX_SETS}")
    if join.away:
        _check_name(f"{place}: the input that says who is away", join.away, MAX_TENSOR_NAME)
    if join.op == "sum" and any(part.channels for part in join.slices.values()):
        raise PlanError(f"{place}: names channels of a sum, of which each slice has all")
    if join.op == "coded":
        _check_code(place, join)
        if not named.exact(codec := named.codec_of(stage.codec, join.tensor.name)):
            raise PlanError(
                f"{place}: {codec[:60]!r} loses something of coded slices, and what is worked out "
                "of several of them would be off by many times that; pack them with lossless or raw"
            )
    elif join.block or any(part.code for part in join.slices.values()):
        raise PlanError(f"{place}: has coefficients of a code, and is joined by {join.op!r}")
    _check_home(place, join)
    if not all(map(math.isfinite, join.fill)):
        raise PlanError(f"{place}: fills with what is no number; use numbers")
    if join.op == "channels":
        _check_channels(place, join)


def _check_home(place: str, join: Join) -> None:
    """What of slices stays with their holders, and what stands in for missing ones."""
    size = join.tensor.shape[join.axis] if join.axis < len(join.tensor.shape) else None
    common = set[tuple[int, ...]]()
    for name, part in join.slices.items():
        most = len(part.channels) if join.op == "channels" else size or 0
        if not 0 <= part.stays <= most:
            raise PlanError(f"{place}: {part.stays} of the slice of {name!r} cannot stay with it")
        common.add(part.channels[len(part.channels) - part.stays :])
        if part.stand_in and (join.op != "sum" or len(part.stand_in) != size):
            raise PlanError(
                f"{place}: what stands in for {name!r} is not one number per channel of a sum"
            )
        if not _holds(join.tensor.dtype, part.stand_in) or not all(
            map(math.isfinite, part.stand_in)
        ):
            raise PlanError(f"{place}: what stands in for {name!r} is no number; use numbers")
    if len({part.stays for part in join.slices.values()}) > 1 or (
        join.op == "channels" and len(common) > 1
    ):
        raise PlanError(
            f"{place}: what stays with the holders of {join.tensor.name!r} must be the same for all"
        )
    if join.op == "sum" and any(part.stays not in (0, size) for part in join.slices.values()):
        raise PlanError(f"{place}: of a sum all channels stay a second time, or none")


def _check_code(place: str, join: Join) -> None:
    """Any ``least`` slices must give all."""
    rows = tuple(part.code for part in join.slices.values())
    if len(rows) > parity.MOST_SLICES or any(len(row) != join.least for row in rows):
        raise PlanError(
            f"{place}: a code has at most {parity.MOST_SLICES} slices, each with one coefficient "
            f"for each of the {join.least} that it takes"
        )
    if not all(abs(rate) <= parity.WORST_CONDITION for row in rows for rate in row):
        raise PlanError(f"{place}: a coefficient of a code is too large, or none")
    if not parity.condition(rows) <= parity.WORST_CONDITION:
        raise PlanError(
            f"{place}: some {join.least} slices do not give all exactly; build the playbook again"
        )
    size = join.tensor.shape[join.axis] if join.axis < len(join.tensor.shape) else None
    stays = max(part.stays for part in join.slices.values())
    if size is None or not 0 < join.block <= size - stays <= join.block * join.least:
        raise PlanError(
            f"{place}: {join.least} blocks of {join.block} are not what is sent of the axis "
            f"{join.axis} of {join.tensor.name!r}"
        )
    if np.dtype(join.tensor.dtype).kind != "f":
        raise PlanError(f"{place}: a code of {join.tensor.dtype} is not exact; use floats")
    if join.suffice or any(join.fill) or any(part.channels for part in join.slices.values()):
        raise PlanError(
            f"{place}: of a code any {join.least} slices suffice, each has something of all "
            "channels, and nothing is filled"
        )


def _check_channels(place: str, join: Join) -> None:
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
    if not _holds(join.tensor.dtype, join.fill):
        raise PlanError(f"{place}: fills with values that {join.tensor.dtype} does not have")


def _holds(dtype: str, values: Iterable[float]) -> bool:
    """Whether a tensor of this type can hold these values."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        most = float(np.finfo(kind).max)
        return all(abs(value) <= most for value in values)
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return all(low <= value <= high for value in values)
