"""The whole network on every device that can hold it."""

from __future__ import annotations

from shoal.plan.cluster import Cluster
from shoal.plan.network import Network, tensor_bytes
from shoal.plan.objective import Objective
from shoal.plan.plan import PolicySpec
from shoal.plan.profiles import Profiles
from shoal.strategies.base import Built, Strategy, built
from shoal.strategies.whole import fitting, whole_part, whole_plan

NAME = "replicas"


def build(network: Network, cluster: Cluster, profiles: Profiles, objective: Objective) -> Built:
    """One plan of one stage with many holders; it holds as long as one of them is alive."""
    part = whole_part(network)
    advice = "use a strategy that cuts it or raise a memory limit"
    able, notes = fitting(cluster.computing, part, advice)
    names = [device.name for device in able]
    plan = whole_plan(NAME, names, part, network, cluster, profiles)
    if len(names) == 1:
        notes.append(f"nothing stands in for {names[0]} when it is gone")
    hop_ms = _hop_ms(names, network, cluster.gateway.name, profiles)
    policy = PolicySpec("replicas", {"hop_ms": hop_ms})
    return built(NAME, network, policy, [plan], {part.hash: part}, notes)


def _hop_ms(
    names: list[str], network: Network, gateway: str, profiles: Profiles
) -> dict[str, float]:
    there, back = tensor_bytes(network.inputs), tensor_bytes(network.outputs)
    return {
        name: profiles.transfer_ms(gateway, name, there) + profiles.transfer_ms(name, gateway, back)
        for name in names
        if name != gateway
    }


strategy = Strategy(NAME, build, rank=2)
