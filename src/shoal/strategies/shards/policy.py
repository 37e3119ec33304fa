"""The policy ``shards``: together with those that are there, as accurately as can be.

Of the plans that can be followed by the devices that are usable, that with which most of the
accuracy is kept, of equal ones the first. The whole network on one device comes last: it is exact,
and takes as long as the devices together were to save.
"""

from __future__ import annotations

from typing import Any

from shoal.core.policy import Choice, View
from shoal.plan.plan import Plan, Playbook, Spread
from shoal.strategies.preferred import Quickest, following


class Shards(Quickest):
    """See the module. It remembers nothing."""

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        """The plan that keeps most, with those of its devices that are usable."""
        best: tuple[tuple[bool, float], Choice] | None = None
        for plan in playbook.plans:
            choice = following(plan, view, at)
            if choice is None:
                continue
            worth = (_together(plan), _kept(plan, _absent(plan, view)))
            if best is None or worth > best[0]:
                best = worth, choice
        return (best[1] if best else None), memory


def _absent(plan: Plan, view: View) -> list[str]:
    """Whose slices will be missing: who cannot be given work, or could not load its shards."""
    joins = [stage.join for stage in plan.stages if stage.join is not None]
    all_of_them = plan.devices.union(*(join.slices for join in joins))
    there = {name for name in plan.devices if view.usable(name)}
    return sorted(all_of_them - there)


def _together(plan: Plan) -> bool:
    """Whether devices share the work."""
    return any(stage.spread is Spread.ALL for stage in plan.stages)


def _kept(plan: Plan, absent: list[str]) -> float:
    """What is kept for sure; of one of several who may run a stage nothing is missing."""
    if not _together(plan):
        return plan.forecast.accuracy
    found = plan.forecast.accuracy_without(absent)
    return 0.0 if found is None else found


policy = Shards()
