"""Which strategy to use, and whether to distribute at all: a judgement on forecasts, with reasons.

Distributing costs parts, links and things that can fail; so a simpler way that is nearly as good
is preferred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from shoal.errors import PlanError
from shoal.plan.objective import Aim, Objective, cost
from shoal.plan.plan import Forecast, Playbook
from shoal.plan.size import readable

Offers: TypeAlias = Mapping[str, Forecast]
Broken: TypeAlias = Mapping[str, Sequence[str]]
"""The limits that each strategy breaks, in words."""

WORTH = 0.05
"""A more involved strategy must be better than a simpler one by this share to be worth it."""


class Losses(NamedTuple):
    """The sets of devices without which too little of the accuracy is kept, or nothing answers
    (``unprotected``), the small ones first, none that contains another one; and what is ``kept`` at
    least without others."""

    unprotected: tuple[tuple[str, ...], ...]
    kept: float


class Option(msgspec.Struct, frozen=True):
    """What a strategy offers: its first plan with the forecast, the limits that this breaks, and
    the devices whose loss together nothing makes good, ``judged`` at the most (one, where the
    objective names no more); without others it keeps ``kept`` of the accuracy. Or why it offers
    nothing (``refused``). ``distributes`` is False where the network stays in one piece on the
    user's own machine."""

    strategy: str
    distributes: bool = True
    plan: str = ""
    devices: tuple[str, ...] = ()
    forecast: Forecast | None = None
    broken: tuple[str, ...] = ()
    unprotected: tuple[tuple[str, ...], ...] = ()
    kept: float = 1.0
    judged: int = 1
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
    objective: Objective,
    lost: Losses,
    *,
    distributes: bool = True,
    notes: Sequence[str] = (),
) -> Option:
    """What a playbook offers, of which ``lost`` is known."""
    plan = playbook.plans[0]
    return Option(
        strategy=strategy,
        distributes=distributes,
        plan=plan.name,
        devices=tuple(dict.fromkeys(name for stage in plan.stages for name in stage.parts)),
        forecast=plan.forecast,
        broken=tuple(objective.broken(plan.forecast, lost.unprotected)),
        unprotected=lost.unprotected,
        kept=lost.kept,
        judged=judged(objective),
        notes=tuple(notes),
    )


def judged(objective: Objective) -> int:
    """By the loss of how many devices together options are judged."""
    return max(1, objective.survive or 0)


def recommend(options: Sequence[Option], objective: Objective) -> Recommendation:
    """Judge the options, which come from the simplest strategy to the most involved; PlanError
    when none of them offers anything."""
    offers = {each.strategy: each.forecast for each in options if each.forecast is not None}
    if not offers:
        reasons = "; ".join(f"{each.strategy}: {each.refused}" for each in options)
        raise PlanError(f"no strategy can spread this network over this cluster ({reasons})")
    broken = {
        each.strategy: objective.broken(each.forecast, each.unprotected)
        for each in options
        if each.forecast is not None
    }
    names = list(offers)
    by_limits = objective.order(list(offers.values()), [len(broken[name]) for name in names])
    ranked = [names[index] for index in by_limits]
    chosen = _simplest_as_good(ranked[0], offers, broken, objective)
    order = [chosen, *(name for name in ranked if name != chosen)]
    order += [each.strategy for each in options if each.forecast is None]
    ordered = sorted(options, key=lambda each: order.index(each.strategy))
    return Recommendation(
        options=tuple(ordered),
        strategy=chosen,
        distribute=ordered[0].distributes,
        reason=_reason(ordered, offers, broken, objective),
    )


def _simplest_as_good(best: str, offers: Offers, broken: Broken, objective: Objective) -> str:
    """The simplest strategy that breaks no more limits and is nearly as good by every aim."""
    for name, forecast in offers.items():
        nearly = all(
            cost(forecast, aim) <= cost(offers[best], aim) * (1 + WORTH) for aim in objective.aims
        )
        if nearly and len(broken[name]) <= len(broken[best]):
            return name
    return best


def _reason(ordered: Sequence[Option], offers: Offers, broken: Broken, objective: Objective) -> str:
    """Why the first is taken, in words and numbers."""
    mine, *others = (each.strategy for each in ordered if each.forecast is not None)
    what = f"use {mine}" if ordered[0].distributes else "do not distribute"
    if broken[mine]:
        what = f"no strategy meets every limit; nearest to it, {what}"
    text = f"{what}: {_describe(offers[mine], objective)}{_bound(offers[mine])}"
    text += _lasting(ordered[0], objective)
    if others:
        rival, forecast = others[0], offers[others[0]]
        text += f"; next best is {rival} with {_describe(forecast, objective)}{_bound(forecast)}"
        if len(broken[rival]) > len(broken[mine]):
            text += f" ({'; '.join(broken[rival])})"
    if broken[mine]:
        text += f" (broken: {'; '.join(broken[mine])})"
    return text


def _lasting(chosen: Option, objective: Objective) -> str:
    """What it keeps without the devices that may be lost, where that was asked."""
    if not objective.survive or chosen.unprotected:
        return ""
    lost = "any device" if objective.survive == 1 else f"any {objective.survive} devices"
    kept = "all" if chosen.kept == 1 else f"{chosen.kept:.3f}"
    return f", keeping {kept} of the accuracy with {lost} lost"


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
