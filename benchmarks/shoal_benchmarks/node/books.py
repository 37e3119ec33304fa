"""Playbooks by hand: what a node does with a plan, whatever the network is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from shoal.codec.slices import Join, Slice
from shoal.model.info import PartInfo
from shoal.model.spec import TensorSpec
from shoal.plan.plan import Exit, Forecast, Plan, Playbook, PolicySpec, Spread, Stage
from shoal.plan.playbook import make_playbook
from shoal.strategies.relay.settings import Settings

RUN_MS = 10.0
"""Forecast of each stage."""
SIZE, LEAST_GAP_S = 10_000.0, 1e-4
"""Bytes that enter a task of ``relay``; and it lets inputs begin no closer together."""
CHANNELS = 8
"""Of the tensor that a device gives to a stage that is run together."""


THRESHOLD = 0.5
"""Of each exit."""


def book(
    *plans: Plan, policy: str = "preferred", settings: Mapping[str, Any] | None = None
) -> Playbook:
    """A playbook of these plans."""
    parts = {part for plan in plans for stage in plan.stages for part in stage.parts.values()}
    first, last = plans[0].stages[0], plans[0].stages[-1]
    return make_playbook(
        network="line",
        strategy="bench",
        policy=PolicySpec(policy, {**(settings or {})}),
        plans=plans,
        parts={part: PartInfo(size=1000, memory=1 << 20, stacks=True) for part in parts},
        inputs=[_tensor(name) for name in first.inputs],
        outputs=[_tensor(name) for name in last.outputs],
    )


def line(devices: Sequence[str]) -> Plan:
    """One stage for each device, one after the other."""
    return spread([[device] for device in devices])


def spread(holders: Sequence[Sequence[str]]) -> Plan:
    """One stage for each of ``holders``, of whom any can run it."""
    stages = []
    for place, names in enumerate(holders):
        parts = dict.fromkeys(names, _part(f"stretch {place}"))
        stages.append(Stage(parts, (f"t{place}",), (f"t{place + 1}",)))
    return _plan("line", stages)


def leaving(devices: Sequence[str], tasks: int) -> Playbook:
    """So many tasks by ``relay``, of which any of the devices may run each, with an exit after each
    but the last."""
    plan = spread([devices] * tasks)
    *stages, last = plan.stages
    (answer,) = last.outputs
    left = [replace(each, exit=Exit(each.outputs[0], answer, THRESHOLD)) for each in stages]
    plan = replace(plan, stages=(*left, last))
    settings = Settings(sizes=(SIZE,) * tasks, least_gap_s=LEAST_GAP_S)
    return book(plan, policy="relay", settings=to_builtins(settings))


def gathered(devices: Sequence[str], count: int) -> Plan:
    """``count`` stages that all devices run together: each gives its channels to each."""
    stages = []
    for place in range(count):
        slices = {
            device: Slice(tuple(range(CHANNELS * k, CHANNELS * (k + 1))))
            for k, device in enumerate(devices)
        }
        name = f"t{place + 1}"
        shape = (None, CHANNELS * len(devices), 28, 28)
        join = Join("channels", TensorSpec(name, "float32", shape), slices)
        parts = {device: _part(f"shard {k} of stage {place}") for k, device in enumerate(devices)}
        stages.append(Stage(parts, (f"t{place}",), (name,), Spread.ALL, join))
    return _plan("gathered", stages)


def _plan(name: str, stages: Sequence[Stage]) -> Plan:
    times = (RUN_MS,) * len(stages)
    return Plan(name, tuple(stages), Forecast(sum(times), 1e3 / RUN_MS, stage_ms=times))


def _part(what: str) -> str:
    """A hash as parts have it."""
    return hashlib.sha256(what.encode()).hexdigest()


def _tensor(name: str) -> TensorSpec:
    return TensorSpec(name, "float32", (None, CHANNELS))
