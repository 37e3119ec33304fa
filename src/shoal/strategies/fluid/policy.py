"""The policy ``fluid``: together while there is time, each for itself while there is much to do.

A plan of several devices (high accuracy) takes them all for one request; a plan of one device
(high throughput) leaves the others free for the next request. How much there is to do is told in
seconds of work: how long the waiting requests would take in high accuracy, and what its busiest
device was given. Above ``high_s`` requests go to single devices; back when it was below ``low_s``
for ``calm_s``. Where that proved too early, since it was soon too much again, the calm must last
twice as long the next time.

Plans whose accuracy is below ``floor`` (a share of that of the whole network) are followed only
when nothing at or above it can be: then the most accurate that there is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from shoal.core.messages import Route
from shoal.core.policy import Choice, View
from shoal.plan.plan import Plan, Playbook
from shoal.strategies.preferred import (
    finish_ms,
    least_busy,
    stage_from,
    usable_holders,
    whole_route,
)

HIGH_S, LOW_S, CALM_S = 0.1, 0.02, 1.0
MESSAGES_MS = 0.5
"""What a request costs a device beside its run: to take it and to answer."""
SOON = 4
"""So many times the calm time must pass together, or it was too early to go together."""
MOST_PATIENCE = 32.0


class Mood(NamedTuple):
    """What is remembered: whether each answers for itself; since when (in seconds) all answer
    together or, apart, it is calm; and how many times ``calm_s`` the calm must last."""

    apart: bool = False
    since: float = -math.inf
    patience: float = 1.0


class Way(NamedTuple):
    """A plan that can be followed now."""

    plan: Plan
    start: int
    route: Route

    @property
    def choice(self) -> Choice:
        return Choice(self.plan.name, self.route, self.start)


class Fluid:
    """See the module."""

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        """The plan for the mode that suits what there is to do."""
        settings = playbook.policy.settings
        floor = _number(settings, "floor", 0.0)
        mood = memory if isinstance(memory, Mood) else Mood()
        together = _together(playbook, view, at, floor)
        single = _single(playbook, view, at, floor)
        if together is None:
            way = single or _most_accurate(playbook, view, at)
            return (way.choice if way else None), mood
        mood = next_mood(mood, together.plan, view, settings)
        way = single if mood.apart and single is not None else together
        return way.choice, mood

    def forward(
        self, playbook: Playbook, plan: Plan, stage: int, view: View, memory: Any
    ) -> tuple[str | None, Any]:
        """The usable holder that is expected to finish ``stage`` first."""
        return least_busy(plan, stage, usable_holders(plan.stages[stage], view), view), memory


def next_mood(mood: Mood, plan: Plan, view: View, settings: Mapping[str, Any]) -> Mood:
    """The mode for a request that begins now, where ``plan`` would be its plan together."""
    backlog_s, now = backlog(plan, view), view.now
    calm_s = _number(settings, "calm_s", CALM_S)
    if not mood.apart:
        if backlog_s <= _number(settings, "high_s", HIGH_S):
            return mood
        early = now - mood.since < SOON * calm_s
        return Mood(True, now, min(MOST_PATIENCE, 2 * mood.patience) if early else 1.0)
    if backlog_s >= _number(settings, "low_s", LOW_S):
        return mood._replace(since=now)
    if now - mood.since < calm_s * mood.patience:
        return mood
    return Mood(False, now, mood.patience)


def backlog(plan: Plan, view: View) -> float:
    """Seconds that it would take to answer by ``plan`` what waits (taken for as many images each as
    the request that begins now, which is among them and does not count) and what was begun, its
    devices as slow as they have shown to be."""
    facts = [view.devices[name] for name in plan.stages[0].parts]
    rate = plan.forecast.images_per_s / max(1.0, *(fact.slowdown for fact in facts))
    given_s = max(fact.work_ms * fact.slowdown for fact in facts) / 1e3
    return view.images * max(0, view.waiting - 1) / max(rate, 1e-9) + given_s


def _together(playbook: Playbook, view: View, at: tuple[str, ...], floor: float) -> Way | None:
    """The first plan of several devices at or above the floor."""
    for plan in playbook.plans:
        if len(plan.stages[0].parts) > 1 and plan.forecast.accuracy >= floor:
            way = _way(plan, view, at)
            if way is not None:
                return way
    return None


def _single(playbook: Playbook, view: View, at: tuple[str, ...], floor: float) -> Way | None:
    """The plan of one device, at or above the floor, that is expected to end first."""
    best: tuple[float, Way] | None = None
    for plan in playbook.plans:
        if len(plan.stages[0].parts) == 1 and plan.forecast.accuracy >= floor:
            way = _way(plan, view, at)
            if way is not None:
                (device,) = plan.stages[0].parts
                end = finish_ms(plan, 0, device, view)
                end += MESSAGES_MS * view.devices[device].outstanding
                if best is None or end < best[0]:
                    best = (end, way)
    return best[1] if best else None


def _most_accurate(playbook: Playbook, view: View, at: tuple[str, ...]) -> Way | None:
    """The most accurate plan that can be followed, whatever its accuracy."""
    for plan in sorted(playbook.plans, key=lambda plan: -plan.forecast.accuracy):
        way = _way(plan, view, at)
        if way is not None:
            return way
    return None


def _way(plan: Plan, view: View, at: tuple[str, ...]) -> Way | None:
    if not all(view.usable(name) for name in plan.stages[0].parts):
        return None
    start = stage_from(plan, at)
    route = None if start is None else whole_route(plan, start, view)
    return None if start is None or route is None else Way(plan, start, route)


def _number(settings: Mapping[str, Any], name: str, default: float) -> float:
    value = settings.get(name, default)
    return float(value) if isinstance(value, int | float) else default


policy = Fluid()
