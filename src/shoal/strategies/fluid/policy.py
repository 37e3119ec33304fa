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
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from shoal.core.policy import Choice, View
from shoal.plan.plan import Plan, Playbook
from shoal.strategies.preferred import Quickest, finish_ms, following

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


class Fluid(Quickest):
    """See the module."""

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        """The plan for the mode that suits what there is to do."""
        settings = playbook.policy.settings
        floor = _number(settings, "floor", 0.0)
        mood = memory if isinstance(memory, Mood) else Mood()
        able = [plan for plan in playbook.plans if plan.forecast.accuracy >= floor]
        team = next(_ways((plan for plan in able if not _is_single(plan)), view, at), None)
        single = min(_ways(filter(_is_single, able), view, at), key=_end_ms(view), default=None)
        if team is None:
            ordered = sorted(playbook.plans, key=lambda plan: -plan.forecast.accuracy)
            way = single or next(_ways(ordered, view, at), None)
            return (way[1] if way else None), mood
        mood = next_mood(mood, team[0], view, settings)
        return (single if mood.apart and single is not None else team)[1], mood


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


def _is_single(plan: Plan) -> bool:
    return len(plan.stages[0].parts) == 1


def _ways(plans: Iterable[Plan], view: View, at: tuple[str, ...]) -> Iterator[tuple[Plan, Choice]]:
    """Those of the plans that can be followed now, and how."""
    for plan in plans:
        if all(view.usable(name) for name in plan.stages[0].parts):
            choice = following(plan, view, at)
            if choice is not None:
                yield plan, choice


def _end_ms(view: View) -> Callable[[tuple[Plan, Choice]], float]:
    """When a plan of one device is expected to end."""

    def end_ms(way: tuple[Plan, Choice]) -> float:
        (device,) = way[0].stages[0].parts
        return finish_ms(way[0], 0, device, view) + MESSAGES_MS * view.devices[device].outstanding

    return end_ms


def _number(settings: Mapping[str, Any], name: str, default: float) -> float:
    value = settings.get(name, default)
    return float(value) if isinstance(value, int | float) else default


policy = Fluid()
