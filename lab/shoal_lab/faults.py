"""Faults at random. What there are is :mod:`shoal.sim.faults`, whose names are these here too;
:mod:`shoal_lab.player` makes them happen."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from typing import ClassVar

import msgspec

from shoal.sim.faults import ClockJump as ClockJump
from shoal.sim.faults import Cut as Cut
from shoal.sim.faults import DiskFull as DiskFull
from shoal.sim.faults import Fault as Fault
from shoal.sim.faults import Freeze as Freeze
from shoal.sim.faults import Kill as Kill
from shoal.sim.faults import LinkFault as LinkFault
from shoal.sim.faults import Lossy as Lossy
from shoal.sim.faults import Narrow as Narrow
from shoal.sim.faults import OnHost
from shoal.sim.faults import Restart as Restart
from shoal.sim.faults import Slow as Slow

KINDS: dict[str, type[Fault]] = {
    "kill": Kill,
    "freeze": Freeze,
    "cut": Cut,
    "slow": Slow,
    "narrow": Narrow,
    "lossy": Lossy,
    "restart": Restart,
    "disk-full": DiskFull,
    "clock-jump": ClockJump,
}


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How a random schedule spaces its faults, in seconds. Faults never overlap: the next comes
    when the one before has passed and the cluster had ``calm_s`` to recover."""

    FIRST_S: ClassVar[float] = 2.0
    lasts_s: tuple[float, float] = (1.0, 5.0)
    calm_s: tuple[float, float] = (2.0, 6.0)


def random_faults(
    hosts: Collection[str],
    links: Collection[tuple[str, str]],
    seconds: float,
    seed: int,
    kinds: Iterable[str] = KINDS,
    pace: Pace | None = None,
) -> tuple[Fault, ...]:
    """Faults for ``seconds`` seconds; the same for the same arguments.

    They fall on ``hosts`` and ``links`` only: leave out who must stay alive (the gateway). A
    killed host comes back: each ``kill`` is followed by a ``restart``. Every kind comes once, in
    random order, before any comes again. KeyError for an unknown kind. Kinds that have no place to
    fall on are left out.
    """
    pace = pace or Pace()
    draw = random.Random(seed)
    names = sorted(hosts)
    pairs = sorted(links)
    usable = [
        name for name in sorted(set(kinds)) if (names if issubclass(KINDS[name], OnHost) else pairs)
    ]
    made: list[Fault] = []
    at_s = Pace.FIRST_S
    bag: list[str] = []
    while usable:
        lasts_s = draw.uniform(*pace.lasts_s)
        if at_s + lasts_s > seconds:
            break
        bag = bag or draw.sample(usable, len(usable))
        made += _draw(draw, bag.pop(), names, pairs, round(at_s, 3), round(lasts_s, 3))
        at_s += lasts_s + draw.uniform(*pace.calm_s)
    return tuple(made)


def _draw(
    draw: random.Random,
    kind: str,
    hosts: list[str],
    links: list[tuple[str, str]],
    at_s: float,
    for_s: float,
) -> list[Fault]:
    host = draw.choice(hosts) if hosts else ""
    link = draw.choice(links) if links else ("", "")
    match kind:
        case "kill":
            return [Kill(at_s=at_s, host=host), Restart(at_s=round(at_s + for_s, 3), host=host)]
        case "restart":
            return [Restart(at_s=at_s, host=host, for_s=for_s)]
        case "freeze":
            return [Freeze(at_s=at_s, host=host, for_s=for_s)]
        case "slow":
            factor = round(draw.uniform(0.2, 0.6), 2)
            return [Slow(at_s=at_s, host=host, factor=factor, for_s=for_s)]
        case "disk-full":
            return [DiskFull(at_s=at_s, host=host, for_s=for_s)]
        case "clock-jump":
            by_s = float(draw.choice((-3600, -5, 5, 3600)))
            return [ClockJump(at_s=at_s, host=host, by_s=by_s)]
        case "cut":
            return [Cut(at_s=at_s, link=link, for_s=for_s)]
        case "narrow":
            return [Narrow(at_s=at_s, link=link, mbit=round(draw.uniform(1, 4), 1), for_s=for_s)]
        case _:
            return [
                Lossy(at_s=at_s, link=link, loss=round(draw.uniform(0.01, 0.1), 3), for_s=for_s)
            ]
