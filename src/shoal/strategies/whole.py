"""Plans that run the whole network in one place: all of ``local``, ``remote`` and ``replicas``,
and the last resort of every other strategy."""

from __future__ import annotations

from collections.abc import Iterable

from shoal.errors import PlanError
from shoal.plan.batching import best_batch
from shoal.plan.cluster import Cluster, Device
from shoal.plan.forecast import Duty, StageDuty, forecast
from shoal.plan.network import Network, Part, tensor_bytes
from shoal.plan.plan import Plan, Stage
from shoal.plan.profiles import Profiles
from shoal.plan.size import readable


def whole_part(network: Network) -> Part:
    """The network as one part."""
    (part,) = network.split((), prove=False)
    return part


def whole_plan(
    name: str,
    devices: Iterable[str],
    part: Part,
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    *,
    spare: bool = False,
) -> Plan:
    """A plan of one stage: the whole network on any one of ``devices``."""
    names = list(devices)
    info = part.info
    batch = best_batch(names, info.memory, info.stacks is True, cluster, profiles)
    stage = Stage(
        parts=dict.fromkeys(names, part.hash),
        inputs=tuple(spec.name for spec in network.inputs),
        outputs=tuple(spec.name for spec in network.outputs),
        batch=batch,
    )
    duties = {}
    for device in stage.parts:
        found = profiles.device(device)
        run_ms = found.network.range_ms(0, len(found.network.node_ms))
        ratio = found.batch_ratio.get(batch, 1.0)
        duties[device] = Duty(run_ms, tensor_bytes(network.outputs), info.memory, ratio)
    expected = forecast([StageDuty(duties)], cluster, profiles, tensor_bytes(network.inputs))
    return Plan(
        name=name, stages=(stage,), forecast=expected, spare=spare, tolerance=network.tolerance
    )


def fitting(devices: Iterable[Device], part: Part) -> tuple[list[Device], list[str]]:
    """The devices whose memory limit holds ``part``, and a sentence on each that cannot."""
    able, notes = [], []
    for device in devices:
        if not device.memory or part.info.memory <= device.memory:
            able.append(device)
        else:
            notes.append(
                f"{device.name} is left out: the whole network needs "
                f"{readable(part.info.memory)}, its limit is {readable(device.memory)}"
            )
    return able, notes


def refuse_unless_any(able: list[Device], notes: list[str], advice: str) -> None:
    """PlanError with the reasons when no device can hold the network."""
    if not able:
        reasons = "; ".join(notes) or "the cluster names no device that may compute"
        raise PlanError(f"no device can hold the whole network ({reasons}); {advice}")
