"""Where a request goes next: along a route that is fixed, or as the hop before decides."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from shoal.core.messages import Route
from shoal.core.policy import Hold, Policy, View, check_takers, deciding
from shoal.plan.plan import Plan, Playbook, Spread

LEAST_HOLD_S = 0.001
"""For so long at least is held what a policy wants to wait with: or a node would only ask again."""


class LinkName(NamedTuple):
    """The way from one device to another."""

    giver: str
    taker: str


class Hop(NamedTuple):
    """Who gets a stage, the route as it is then, and whether this hop decided some of it."""

    targets: tuple[str, ...]
    route: Route
    decided: bool


def devices_at(route: Route, stage: int) -> tuple[str, ...]:
    """Who runs a stage; nobody yet where that is free."""
    return route[stage] if 0 <= stage < len(route) else ()


def next_hop(
    policy: Policy,
    playbook: Playbook,
    plan: Plan,
    stage: int,
    route: Route,
    view: View,
    reachable: Callable[[str], bool],
    memory: Any,
) -> tuple[Hop | Hold | None, Any]:
    """Who runs ``stage``, or until when to wait with that; None when too few of those who could are
    reachable. With it, what the policy remembers. PolicyError when the policy raises.

    The holders of an ALL stage all give to the same taker, so whoever passes a request on to one
    decides for them as well, up to the first stage after it that is run by one device.
    """
    steps = [devices_at(route, index) for index in range(len(plan.stages))]
    decided = False
    for index in range(stage, len(plan.stages)):
        here = plan.stages[index]
        if not steps[index]:
            decided = True
            if here.spread is Spread.ALL:
                steps[index] = tuple(name for name in here.parts if view.usable(name))
            else:
                with deciding(playbook):
                    chosen, memory = policy.forward(playbook, plan, index, view, memory)
                    if isinstance(chosen, Hold):
                        least = view.now + LEAST_HOLD_S  # also where it is no number
                        return chosen if chosen.until > least else Hold(least), memory
                    steps[index] = () if chosen is None else (chosen,)
                    check_takers(plan, index, steps[index])
            if not steps[index]:
                return None, memory
        if here.spread is Spread.ONE:
            break
    targets = tuple(name for name in steps[stage] if reachable(name))
    if not enough(plan, stage, targets):
        return None, memory
    if plan.stages[stage].spread is Spread.ONE:
        targets = targets[:1]
    return Hop(targets, tuple(steps) if decided else route, decided), memory


def left_out(plan: Plan, stage: int, hop: Hop) -> set[str]:
    """Those who were to run a stage together with who gets it now. Where one device gives it,
    nobody else gives it to them."""
    if plan.stages[stage].spread is Spread.ONE:
        return set()
    return set(devices_at(hop.route, stage)).difference(hop.targets)


def links(route: Route, start: int, first: str) -> set[LinkName]:
    """The links that a request takes which is at ``first`` and goes through the stages of a route
    from ``start`` on, as far as they are decided."""
    found: set[LinkName] = set()
    givers: tuple[str, ...] = (first,)
    for stage in range(start, len(route)):
        takers = devices_at(route, stage)
        found |= {LinkName(a, b) for a in givers for b in takers if a != b}
        givers = takers
    return found


def visited(route: Route, start: int, stage: int) -> set[str]:
    """Those who run a stage from ``start`` on before ``stage``."""
    return {name for index in range(start, stage) for name in devices_at(route, index)}


def enough(plan: Plan, stage: int, names: Collection[str]) -> bool:
    """Whether a stage may be run by just these of its holders."""
    join = plan.stages[stage].join
    return join.enough(names) if join is not None else bool(names)
