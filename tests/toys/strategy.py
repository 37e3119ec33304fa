"""A strategy of a few lines, and the comparison of all without devices."""

from typing import Any

from shoal.plan.objective import Objective
from shoal.plan.plan import PolicySpec
from shoal.plan.recommend import Recommendation
from shoal.strategies.base import Built, built
from shoal.strategies.making import build, candidates, judge, prepare
from shoal.strategies.whole import whole_part, whole_plan


def whole(network: Any, cluster: Any, profiles: Any, objective: Any, **given: object) -> Built:
    """Builds a playbook with the whole network on every device, and notes what it was given."""
    part = whole_part(network)
    plan = whole_plan("toy", cluster.names, part, network, cluster, profiles)
    notes = [f"{name} is {value}" for name, value in given.items()]
    return built("toy", network, PolicySpec("preferred"), [plan], {part.hash: part}, notes)


def compare(network: Any, cluster: Any, profiles: Any, objective: Any = None) -> Recommendation:
    """What each strategy would do, and which one to take."""
    wish = Objective.of(objective)
    offered = prepare(candidates(None, {}), network, cluster, wish)
    return judge(build(offered, network, cluster, profiles, wish), cluster.gateway.name, wish)
