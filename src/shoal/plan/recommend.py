"""Which strategy to use, and whether to distribute at all: a judgement on forecasts, with reasons.

Distributing costs parts, links and things that can fail; so a simpler way that is nearly as good
is preferred, and the strategies are given here from the simplest to the most involved.
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
SIMPLEST = ("local", "remote", "replicas", "pipeline")
"""From simple to involved; strategies that are not named come after these."""


class Option(msgspec.Struct, frozen=True):
    """What a strategy offers: its first plan with the forecast, the limits that this breaks, and
    the devices whose loss nothing makes good. Or why it offers nothing (``refused``)."""

    strategy: str
    plan: str = ""
    devices: tuple[str, ...] = ()
    forecast: Forecast | None = None
    broken: tuple[str, ...] = ()
    unprotected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refused: str = ""


class Recommendation(msgspec.Struct, frozen=True):
    """The options, best first, the strategy to use, and the reason. ``distribute`` is False when
    the network is best left in one piece on the user's own machine."""

    options: tuple[Option, ...]
    strategy: str
    distribute: bool
    reason: str


def option(
    strategy: str,
    playbook: Playbook,
    gateway: str,
    objective: Objective,
    notes: Sequence[str] = (),
) -> Option:
    """What a playbook offers."""
    plan = playbook.plans[0]
    return Option(
        strategy=strategy,
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
    """Judge the options; PlanError when none of them offers anything."""
    offers: dict[str, Forecast] = {
        o.strategy: o.forecast for o in sorted(options, key=_rank) if o.forecast is not None
    }
    if not offers:
        reasons = "; ".join(f"{o.strategy}: {o.refused}" for o in options)
        raise PlanError(f"no strategy can spread this network over this cluster ({reasons})")
    names = list(offers)
    ranked = [names[index] for index in objective.order(list(offers.values()))]
    chosen = _simplest_as_good(ranked[0], offers, objective)
    order = [chosen, *(name for name in ranked if name != chosen)]
    order += [o.strategy for o in options if o.forecast is None]
    return Recommendation(
        options=tuple(sorted(options, key=lambda o: order.index(o.strategy))),
        strategy=chosen,
        distribute=chosen != "local",
        reason=_reason(chosen, ranked, offers, objective),
    )


def _rank(offer: Option) -> int:
    return SIMPLEST.index(offer.strategy) if offer.strategy in SIMPLEST else len(SIMPLEST)


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
    chosen: str, ranked: Sequence[str], offers: Mapping[str, Forecast], objective: Objective
) -> str:
    """Why, in words and numbers."""
    mine = offers[chosen]
    others = [name for name in ranked if name != chosen]
    what = "do not distribute" if chosen == "local" else f"use {chosen}"
    broken = objective.broken(mine)
    if broken:
        what = f"no strategy meets every limit; nearest to it, {what}"
    text = f"{what}: {_describe(mine, objective)}"
    if mine.slowest:
        text += f", bounded by {mine.slowest}"
    if others:
        rival = offers[others[0]]
        text += f"; next best is {others[0]} with {_describe(rival, objective)}"
        if rival.slowest:
            text += f", bounded by {rival.slowest}"
        if len(objective.broken(rival)) > len(broken):
            text += f" ({'; '.join(objective.broken(rival))})"
    if broken:
        text += f" (broken: {'; '.join(broken)})"
    return text


def _describe(forecast: Forecast, objective: Objective) -> str:
    """A forecast by the aims of the objective."""
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
