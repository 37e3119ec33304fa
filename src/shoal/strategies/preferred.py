"""The policy ``preferred``: the first plan, in the order of the playbook, that can be followed.

Its plans stand in order of preference, so the first that can be followed is the best that
there is now, unless one of its devices has become slow: then the plan with the shortest time on
its slowest device is followed, if the devices there have kept up with their forecasts at least
``LAG`` times as well. A stage that all run together is run by those that are usable, if these are
enough for its join. One request in ``TRY`` goes the preferred way all the same, to see whether
the device is itself again. A request that was stopped half way goes on in the first plan that has
a stage with just the tensors at hand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from shoal.core.messages import Route
from shoal.core.policy import Choice, View
from shoal.plan.plan import Plan, Playbook, Spread, Stage

LAG = 2.0
"""How much further behind its forecast the preferred plan must be than another."""
GAIN = 1.25
"""How much sooner the other must be done with an image on its slowest device."""
TRY = 20


class _Way(NamedTuple):
    """A plan that can be followed now; ``lag`` is how much longer its slowest device needs than
    was forecast, ``busy_ms`` how long it needs."""

    choice: Choice
    lag: float
    busy_ms: float


class Quickest:
    """What policies have in common that leave it to each hop who is the next."""

    def forward(
        self, playbook: Playbook, plan: Plan, stage: int, view: View, memory: Any
    ) -> tuple[str | None, Any]:
        """The usable holder that is expected to finish ``stage`` first."""
        return least_busy(plan, stage, usable_holders(plan.stages[stage], view), view), memory


class Preferred(Quickest):
    """See the module. What is remembered is how many requests have gone another way."""

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        """The first plan that can be followed from the tensors ``at``, with its whole route, or
        another when that has become slow."""
        ways = _ways(playbook, view, at)
        first = next(ways, None)
        if first is None:
            return None, memory
        if first.lag < LAG:
            return first.choice, 0
        other = min(ways, key=lambda way: way.busy_ms, default=None)
        if other is None or first.lag < LAG * other.lag or first.busy_ms < GAIN * other.busy_ms:
            return first.choice, 0
        count = (memory if isinstance(memory, int) else 0) + 1
        return (first if count % TRY == 0 else other).choice, count


def _ways(playbook: Playbook, view: View, at: tuple[str, ...]) -> Iterator[_Way]:
    for plan in playbook.plans:
        choice = following(plan, view, at)
        if choice is not None:
            yield _Way(choice, *pace(plan, choice.route, view))


def following(plan: Plan, view: View, at: Iterable[str]) -> Choice | None:
    """``plan`` from the tensors ``at``, with its whole route; None where it cannot be followed."""
    start = stage_from(plan, at)
    route = None if start is None else whole_route(plan, start, view)
    return None if start is None or route is None else Choice(plan.name, route, start)


def pace(plan: Plan, route: Route, view: View) -> tuple[float, float]:
    """How long the slowest device of a route computes for an image, over its forecast (at least
    1), and in ms. Where nothing is forecast nothing can lag."""
    stated: dict[str, float] = {}
    for stage, names in enumerate(route):
        for name in names:
            stated[name] = stated.get(name, 0.0) + plan.run_ms(stage, name)
    most = max(stated.values(), default=0.0)
    busy_ms = max((ms * view.devices[name].slowdown for name, ms in stated.items()), default=0.0)
    return max(1.0, busy_ms / most) if most > 0 else 1.0, busy_ms


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
            if not _enough(stage, holders):
                return None
            route.append(holders)
        else:
            holder = least_busy(plan, index, holders, view)
            if holder is None:
                return None
            route.append((holder,))
    return tuple(route)


def _enough(stage: Stage, holders: Collection[str]) -> bool:
    """Whether just these of its holders can run a stage of all."""
    if stage.join is None:
        return len(holders) == len(stage.parts)
    return stage.join.enough(holders)


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
    given_ms = facts.work_ms or facts.outstanding * run_ms
    return (view.images * run_ms + given_ms) * facts.slowdown


policy = Preferred()
