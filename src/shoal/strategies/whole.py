"""Plans that run the whole network in one place: all of ``local``, ``remote`` and ``replicas``,
and the last resort of every other strategy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from shoal.errors import PlanError
from shoal.plan.batching import best_batch
from shoal.plan.cluster import Cluster, Device
from shoal.plan.forecast import Duty, StageDuty, forecast
from shoal.plan.network import Network, Part, tensor_bytes
from shoal.plan.plan import Plan, Stage
from shoal.plan.profiles import Profiles
from shoal.plan.size import readable
from shoal.strategies.ledger import Ledger


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
    return Plan(name=name, stages=(stage,), forecast=expected, tolerance=network.tolerance)


def last_resort(
    network: Network, cluster: Cluster, profiles: Profiles, ledger: Ledger
) -> list[Plan]:
    """The whole network on any of the devices that have room for it besides."""
    whole = whole_part(network)
    names = [
        device.name
        for device in cluster.computing
        if fits(device, whole) and ledger.put([(device.name, whole)])
    ]
    if not names:
        return []
    plan = whole_plan("whole", names, whole, network, cluster, profiles)
    return [msgspec.structs.replace(plan, spare=True)]


def fits(device: Device, part: Part) -> bool:
    """Whether the memory limit of a device holds ``part``."""
    return not device.memory or part.info.memory <= device.memory


def fitting(devices: Sequence[Device], part: Part, advice: str) -> tuple[list[Device], list[str]]:
    """The devices whose memory limit holds ``part``, and a sentence on each that cannot. PlanError
    with these and ``advice`` where there is none."""
    able = [device for device in devices if fits(device, part)]
    notes = [
        f"{device.name} is left out: the whole network needs {readable(part.info.memory)}, its "
        f"limit is {readable(device.memory)}"
        for device in devices
        if not fits(device, part)
    ]
    if not able:
        reasons = "; ".join(notes) or "the cluster names no device that may compute"
        raise PlanError(f"no device can hold the whole network ({reasons}); {advice}")
    return able, notes
