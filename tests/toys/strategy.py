"""A strategy that puts the whole network on every device, and notes what it was given."""

from typing import Any

from shoal.plan.plan import PolicySpec
from shoal.strategies.base import Built, built
from shoal.strategies.whole import whole_part, whole_plan


def whole(network: Any, cluster: Any, profiles: Any, objective: Any, **given: object) -> Built:
    """Its build function."""
    part = whole_part(network)
    plan = whole_plan("toy", cluster.names, part, network, cluster, profiles)
    notes = [f"{name} is {value}" for name, value in given.items()]
    return built("toy", network, PolicySpec("preferred"), [plan], {part.hash: part}, notes)
