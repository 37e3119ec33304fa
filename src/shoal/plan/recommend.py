"""Which strategy to use, and whether to distribute at all: a judgement on forecasts, with reasons.

Distributing costs parts, links and things that can fail; so a simpler way that is nearly as good
is preferred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from shoal.errors import PlanError
from shoal.plan.objective import Aim, Objective, cost
from shoal.plan.plan import Forecast, Playbook
from shoal.plan.playbook import plan_without
from shoal.plan.size import readable

WORTH = 0.05
"""A more involved strategy must be better than a simpler one by this share to be worth it."""


class Option(msgspec.Struct, frozen=True):
    """What a strategy offers: its first plan with the forecast, the limits that this breaks, and
    the devices whose loss nothing makes good. Or why it offers nothing (``refused``).
    ``distributes`` is False where the network stays in one piece on the user's own machine."""

    strategy: str
    distributes: bool = True
    plan: str = ""
    devices: tuple[str, ...] = ()
    forecast: Forecast | None = None
    broken: tuple[str, ...] = ()
    unprotected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refused: str = ""


class Recommendation(msgspec.Struct, frozen=True):
    """The options, best first, the strategy to use, and the reason; ``distribute`` is False when
    that is not to distribute."""

    options: tuple[Option, ...]
    strategy: str
    distribute: bool
    reason: str


def option(
    strategy: str,
    playbook: Playbook,
    gateway: str,
    objective: Objective,
    *,
    distributes: bool = True,
    notes: Sequence[str] = (),
) -> Option:
    """What a playbook offers."""
    plan = playbook.plans[0]
    return Option(
        strategy=strategy,
        distributes=distributes,
        plan=plan.name,
        devices=tuple(dict.fromkeys(name for stage in plan.stages for name in stage.parts)),
        forecast=plan.forecast,
        broken=tuple(objective.broken(plan.forecast)),
        unprotected=tuple(
            name
            for name in sorted(plan.devices - {gateway})
            if plan_without(playbook, name) is None
        ),
        notes=tuple(notes),
    )


def recommend(options: Sequence[Option], objective: Objective) -> Recommendation:
    """Judge the options, which come from the simplest strategy to the most involved; PlanError
    when none of them offers anything."""
    offers = {each.strategy: each.forecast for each in options if each.forecast is not None}
    if not offers:
        reasons = "; ".join(f"{each.strategy}: {each.refused}" for each in options)
        raise PlanError(f"no strategy can spread this network over this cluster ({reasons})")
    names = list(offers)
    ranked = [names[index] for index in objective.order(list(offers.values()))]
    chosen = _simplest_as_good(ranked[0], offers, objective)
    order = [chosen, *(name for name in ranked if name != chosen)]
    order += [each.strategy for each in options if each.forecast is None]
    ordered = sorted(options, key=lambda each: order.index(each.strategy))
    distribute = ordered[0].distributes
    return Recommendation(
        options=tuple(ordered),
        strategy=chosen,
        distribute=distribute,
        reason=_reason(
            f"use {chosen}" if distribute else "do not distribute", order, offers, objective
        ),
    )


def _simplest_as_good(best: str, offers: Mapping[str, Forecast], objective: Objective) -> str:
    """The simplest strategy that breaks no more limits and is nearly as good by every aim."""
    limits = len(objective.broken(offers[best]))
    for name, forecast in offers.items():
        nearly = all(
            cost(forecast, aim) <= cost(offers[best], aim) * (1 + WORTH) for aim in objective.aims
        )
        if nearly and len(objective.broken(forecast)) <= limits:
            return name
    return best


def _reason(
    what: str, order: Sequence[str], offers: Mapping[str, Forecast], objective: Objective
) -> str:
    """Why the first of ``order`` is taken, in words and numbers."""
    mine, *others = (offers[name] for name in order if name in offers)
    broken = objective.broken(mine)
    if broken:
        what = f"no strategy meets every limit; nearest to it, {what}"
    text = f"{what}: {_describe(mine, objective)}{_bound(mine)}"
    if others:
        text += (
            f"; next best is {order[1]} with {_describe(others[0], objective)}{_bound(others[0])}"
        )
        rival = objective.broken(others[0])
        if len(rival) > len(broken):
            text += f" ({'; '.join(rival)})"
    if broken:
        text += f" (broken: {'; '.join(broken)})"
    return text


def _bound(forecast: Forecast) -> str:
    return f", bounded by {forecast.slowest}" if forecast.slowest else ""


def _describe(forecast: Forecast, objective: Objective) -> str:
    words = {
        Aim.LATENCY: f"{forecast.latency_ms:.1f} ms",
        Aim.THROUGHPUT: f"{forecast.images_per_s:.1f} images/s",
        Aim.ACCURACY: f"accuracy {forecast.accuracy:.3f}",
        Aim.BYTES: f"{readable(forecast.bytes_per_image)} per image",
        Aim.MEMORY: f"{readable(max(forecast.memory.values(), default=0))} on one device",
        Aim.ENERGY: "energy unknown"
        if forecast.energy_j is None
        else f"{forecast.energy_j:.3g} J per image",
        Aim.SERVER_COST: f"{forecast.server_ms:.1f} ms of servers",
    }
    return " and ".join(words[aim] for aim in objective.aims)
