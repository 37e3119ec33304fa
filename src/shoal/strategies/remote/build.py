"""The whole network on one device; the others stand by."""

from __future__ import annotations

import msgspec

from shoal.plan.cluster import Cluster
from shoal.plan.network import Network
from shoal.plan.objective import Objective
from shoal.plan.plan import PolicySpec
from shoal.plan.profiles import Profiles
from shoal.strategies.base import Built, Strategy, built
from shoal.strategies.whole import fits, fitting, whole_part, whole_plan

NAME = "remote"


def build(network: Network, cluster: Cluster, profiles: Profiles, objective: Objective) -> Built:
    """A plan for each device that can hold the network, best first; all but the first are spares.
    The gateway is the last resort where it may compute."""
    part = whole_part(network)
    advice = "use a strategy that cuts it or raise a memory limit"
    able, notes = fitting(cluster.devices, part, advice)
    plans = [whole_plan(f"only {d.name}", [d.name], part, network, cluster, profiles) for d in able]
    plans = [plans[index] for index in objective.order([plan.forecast for plan in plans])]
    if cluster.gateway.compute and fits(cluster.gateway, part):
        name = cluster.gateway.name
        plans.append(whole_plan(f"only {name}", [name], part, network, cluster, profiles))
    plans[1:] = [msgspec.structs.replace(plan, spare=True) for plan in plans[1:]]
    if len(plans) == 1:
        notes.append(f"nothing stands in for {able[0].name} when it is gone")
    return built(NAME, network, PolicySpec("preferred"), plans, {part.hash: part}, notes)


strategy = Strategy(NAME, build, rank=1)
