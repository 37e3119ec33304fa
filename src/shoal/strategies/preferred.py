"""The policy ``preferred``: the first plan, in the order of the playbook, that can be followed.

Its plans stand in order of preference, so the first whose devices are all usable is the best that
there is now. A request that was stopped half way goes on in the first plan that has a stage
with just the tensors at hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shoal.core.messages import Route
from shoal.core.policy import Choice, View
from shoal.plan.plan import Plan, Playbook, Spread, Stage


class Preferred:
    """See the module."""

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        """The first plan that can be followed from the tensors ``at``, with its whole route."""
        for plan in playbook.plans:
            start = stage_from(plan, at)
            if start is None:
                continue
            route = whole_route(plan, start, view)
            if route is not None:
                return Choice(plan.name, route, start), memory
        return None, memory

    def forward(self, playbook: Playbook, plan: Plan, stage: int, view: View) -> str | None:
        """The usable holder that is expected to finish ``stage`` first."""
        return least_busy(plan, stage, usable_holders(plan.stages[stage], view), view)


def stage_from(plan: Plan, at: Iterable[str]) -> int | None:
    """The stage of ``plan`` whose inputs are the tensors ``at``; None if there is none."""
    wanted = frozenset(at)
    for index, stage in enumerate(plan.stages):
        if frozenset(stage.inputs) == wanted:
            return index
    return None


def whole_route(plan: Plan, start: int, view: View) -> Route | None:
    """Who runs each stage from ``start`` on (nobody those before); None if one cannot be run."""
    route: list[tuple[str, ...]] = [()] * start
    for index in range(start, len(plan.stages)):
        stage = plan.stages[index]
        holders = usable_holders(stage, view)
        if stage.spread is Spread.ALL:
            if len(holders) < len(stage.parts):
                return None
            route.append(holders)
        else:
            holder = least_busy(plan, index, holders, view)
            if holder is None:
                return None
            route.append((holder,))
    return tuple(route)


def usable_holders(stage: Stage, view: View) -> tuple[str, ...]:
    """The holders of ``stage`` that can be given work now."""
    return tuple(device for device in stage.parts if view.usable(device))


def least_busy(plan: Plan, stage: int, holders: Iterable[str], view: View) -> str | None:
    """Of ``holders``, the one expected to finish ``stage`` first; None when there is none."""
    return min(holders, key=lambda d: finish_ms(plan, stage, d, view), default=None)


def finish_ms(plan: Plan, stage: int, device: str, view: View) -> float:
    """When ``device`` would be done with ``stage`` if it were given to it now, from now:
    the work that it was given and has not answered, and this, as slow as it has shown to be.
    Work of unknown length counts as long as this."""
    facts, run_ms = view.devices[device], plan.run_ms(stage, device)
    return (run_ms + (facts.work_ms or facts.outstanding * run_ms)) * facts.slowdown


policy = Preferred()
