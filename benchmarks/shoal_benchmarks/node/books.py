"""Playbooks by hand: what a node does with a plan, whatever the network is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from shoal.codec.slices import Join, Slice
from shoal.model.info import PartInfo
from shoal.model.spec import TensorSpec
from shoal.plan.plan import Forecast, Plan, Playbook, PolicySpec, Spread, Stage
from shoal.plan.playbook import make_playbook

RUN_MS = 10.0
"""Forecast of each stage."""
CHANNELS = 8
"""Of the tensor that a device gives to a stage that is run together."""


def book(*plans: Plan, policy: str = "preferred") -> Playbook:
    """A playbook of these plans."""
    parts = {part for plan in plans for stage in plan.stages for part in stage.parts.values()}
    first, last = plans[0].stages[0], plans[0].stages[-1]
    return make_playbook(
        network="line",
        strategy="bench",
        policy=PolicySpec(policy),
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
