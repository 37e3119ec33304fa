"""The policy ``relay``: each node decides who runs the next task, and the gateway how much begins.

After a task that did not leave at its exit, a node goes on with the next one itself, gives it to a
neighbour, or holds it, by the rules of :mod:`shoal.strategies.relay.rules`. The gateway, which runs
nothing, gives each input to whoever would begin with it first. With accuracy fixed it lets inputs
begin as fast as the nodes take them; with the rate fixed it raises and lowers the thresholds of all
exits together.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from shoal.core.messages import Values
from shoal.core.policy import Choice, DeviceView, Hold, Limit, LinkView, View
from shoal.plan.plan import Plan, Playbook, Stage
from shoal.strategies.preferred import following, stage_from, usable_holders
from shoal.strategies.relay.rules import (
    Queues,
    Rules,
    followed,
    keeps,
    offloads,
    reaches,
    slower_or_quicker,
    surer_or_looser,
)
from shoal.strategies.relay.settings import Settings, settings_of

LEAST_TASK_S = 1e-4
"""What a task takes of which nothing is known."""


class Pace(NamedTuple):
    """What is remembered of how inputs begin: the time between two, when it was changed last, and
    from when on another may begin (seconds)."""

    gap_s: float
    at: float
    not_before: float


class Sure(NamedTuple):
    """What is remembered of the thresholds: by what they are multiplied, since when, and how many
    had been turned away then."""

    factor: float
    at: float
    refused: int


class Relay:
    """See the module."""

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        """The first plan that can be followed: of one with exits each hop decides who is next."""
        for plan in playbook.plans:
            if not any(stage.exit for stage in plan.stages):
                choice = following(plan, view, at)
                if choice is not None:
                    return choice, memory
                continue
            start = stage_from(plan, at)
            if start is None:
                continue
            if all(usable_holders(stage, view) for stage in plan.stages[start:]):
                values, memory = _values(plan, settings_of(playbook), view, memory)
                return Choice(plan.name, (), start, values=values), memory
        return None, memory

    def forward(
        self, playbook: Playbook, plan: Plan, stage: int, view: View, memory: Any
    ) -> tuple[str | Hold | None, Any]:
        """Who runs a task next, or nobody yet."""
        settings = settings_of(playbook)
        rules, size = settings.rules, dict(enumerate(settings.sizes)).get(stage, 0.0)
        holders = usable_holders(plan.stages[stage], view)
        near = settings.neighbours.get(view.here, holders)
        mine = _queues(view.devices.get(view.here, DeviceView(usable=False)))
        keeper = view.here if view.here in holders else None
        if keeper is not None and keeps(mine, rules):
            return keeper, memory
        way_s = {
            name: _way_s(view, name, size, settings.bytes_per_s)
            for name in holders
            if name != view.here and name in near
        }
        others = [name for name, s in way_s.items() if keeper is None or reaches(mine, s)]
        if not others:
            return keeper, memory
        theirs = {name: _queues(view.devices[name]) for name in others}
        best = min(others, key=lambda name: way_s[name] + theirs[name].work_s)
        if keeper is None:
            return best, memory
        memory, drawn = _drawn(view, rules, memory)
        held = mine._replace(held=max(1.0, mine.held))  # this one is among them
        if offloads(held, theirs[best], way_s[best], drawn):
            return best, memory
        return Hold(view.now + rules.draw_s), memory

    def admit(
        self, playbook: Playbook, view: View, under_way: int, memory: Any
    ) -> tuple[Limit, Any]:
        """As many as keep all nodes busy; with accuracy fixed, one after the other. Where nothing
        may begin, nobody's turn is used up."""
        settings = settings_of(playbook)
        rules, nodes = settings.rules, _nodes(playbook, view)
        limit = max(1, round(rules.window * nodes))
        if settings.fixed != "accuracy":
            return Limit(limit), None
        pace = (
            memory if isinstance(memory, Pace) else Pace(settings.least_gap_s, view.now, view.now)
        )
        if view.now >= pace.at + rules.period_s:
            gap_s = slower_or_quicker(pace.gap_s, under_way / max(1, nodes), rules)
            pace = Pace(max(settings.least_gap_s, gap_s), view.now, pace.not_before)
        if view.now < pace.not_before or under_way >= limit:
            return Limit(limit, pace.not_before), pace
        begins = max(pace.not_before, view.now - pace.gap_s) + pace.gap_s
        return Limit(limit), pace._replace(not_before=begins)


def _values(plan: Plan, settings: Settings, view: View, memory: Any) -> tuple[Values, Any]:
    """The thresholds of a request, where they follow the rate."""
    if settings.fixed != "rate":
        return Values(), memory
    sure = memory if isinstance(memory, Sure) else Sure(1.0, view.now, view.refused)
    if view.now >= sure.at + settings.rules.period_s:
        # Where requests are turned away the queue is as long as it may be.
        queue = math.inf if view.refused > sure.refused else _queue(plan, view)
        factor = surer_or_looser(sure.factor, queue, settings.rules)
        sure = Sure(_within(factor, plan.stages, settings.loosest), view.now, view.refused)
    exits = ((k, stage.exit) for k, stage in enumerate(plan.stages))
    thresholds = tuple(
        (k, followed(leave.threshold, sure.factor, settings.loosest))
        for k, leave in exits
        if leave is not None
    )
    return Values(thresholds), sure


def _within(factor: float, stages: tuple[Stage, ...], loosest: float) -> float:
    """A factor no further than to where all thresholds are at their bound; 1 always is possible,
    which is what was planned."""
    planned = [stage.exit.threshold for stage in stages if stage.exit and stage.exit.threshold > 0]
    if not planned:
        return 1.0
    return min(max(1.0, 1.0 / min(planned)), max(min(1.0, loosest / max(planned)), factor))


def _queue(plan: Plan, view: View) -> float:
    """Tasks that wait, or are run or held, on the mean node, and inputs that wait for them."""
    names = {name for name in plan.devices if view.usable(name)}
    loads = [view.devices[name].load for name in names]
    tasks = sum(load.waiting + load.running + load.held for load in loads) + view.waiting
    return tasks / max(1, len(names))


def _nodes(playbook: Playbook, view: View) -> int:
    names = playbook.plans[0].devices if playbook.plans else frozenset()
    return sum(view.usable(name) for name in names)


def _queues(seen: DeviceView) -> Queues:
    """Of a device, what it was given and has not said of yet included."""
    held = seen.load.held
    task_s = max(
        LEAST_TASK_S, seen.load.run_ms / 1e3, seen.work_ms / max(1, seen.outstanding) / 1e3
    )
    return Queues(max(0, seen.outstanding - held), held, task_s * seen.slowdown)


def _way_s(view: View, name: str, size: float, stated: float) -> float:
    """How long so many bytes travel to a device: as measured, or as was ``stated`` (bytes in a
    second) where too little was sent to tell: a short burst passes any line that is throttled."""
    link = view.links.get(name, LinkView())
    measured = 0.0 if link.at_least else link.bytes_per_s
    return size / (measured or max(stated, 1.0)) + link.rtt_ms / 2e3


def _drawn(view: View, rules: Rules, memory: Any) -> tuple[Any, float]:
    """The number that was drawn in this period, which is remembered."""
    period = int(view.now / rules.draw_s)
    if isinstance(memory, tuple) and memory[0] == period:
        return memory, memory[1]
    return (period, view.drawn), view.drawn


policy = Relay()
