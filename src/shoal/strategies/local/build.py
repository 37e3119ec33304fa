"""The whole network on the gateway."""

from __future__ import annotations

from shoal.plan.cluster import Cluster
from shoal.plan.network import Network
from shoal.plan.objective import Objective
from shoal.plan.plan import PolicySpec
from shoal.plan.profiles import Profiles
from shoal.strategies.base import Built, Strategy, built
from shoal.strategies.whole import fitting, whole_part, whole_plan

NAME = "local"


def build(network: Network, cluster: Cluster, profiles: Profiles, objective: Objective) -> Built:
    """One plan, which nothing but the end of the user's process can stop."""
    part, here = whole_part(network), cluster.gateway
    fitting([here], part, "raise 'gateway.memory' or use a strategy that cuts it")
    plan = whole_plan(f"only {here.name}", [here.name], part, network, cluster, profiles)
    return built(NAME, network, PolicySpec("preferred"), [plan], {part.hash: part})


strategy = Strategy(NAME, build, rank=0, distributes=False)
