"""What can go wrong, by name and time: data only. :mod:`shoal_lab.player` makes it happen.

Each fault says when (``at_s`` seconds after the faults begin) and where (a host, or a link as the
pair of its ends). Those with ``for_s`` pass after so many seconds; without it they stay (a freeze
needs one).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from typing import ClassVar, TypeAlias

import msgspec

MAX_AT_S = 7 * 24 * 3600.0


class _Fault(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True
):
    at_s: float


class _HostFault(_Fault, frozen=True, kw_only=True):
    host: str


class _LinkFault(_Fault, frozen=True, kw_only=True):
    link: tuple[str, str]
    for_s: float | None = None


class Kill(_HostFault, frozen=True, tag="kill"):
    """Every process of the host ends at once (SIGKILL) and none comes back."""


class Restart(_HostFault, frozen=True, tag="restart"):
    """Every process of the host ends at once; ``for_s`` seconds later they are started again."""

    for_s: float = 0.0


class Freeze(_HostFault, frozen=True, tag="freeze"):
    """The host stops for ``for_s`` seconds, connections stay open (cgroup freezer)."""

    for_s: float


class Slow(_HostFault, frozen=True, tag="slow"):
    """The host gets ``factor`` of its CPU share."""

    factor: float
    for_s: float | None = None


class DiskFull(_HostFault, frozen=True, tag="disk-full"):
    """The host's disk has no byte left."""

    for_s: float | None = None


class ClockJump(_HostFault, frozen=True, tag="clock-jump"):
    """The wall clock of the host's processes jumps by ``by_s`` seconds (back if negative)."""

    by_s: float


class Cut(_LinkFault, frozen=True, tag="cut"):
    """Nothing passes the link, in either direction, and nobody is told."""


class Narrow(_LinkFault, frozen=True, tag="narrow", kw_only=True):
    """The link has ``mbit`` in each direction."""

    mbit: float


class Lossy(_LinkFault, frozen=True, tag="lossy", kw_only=True):
    """The link loses the share ``loss`` of all packets, in each direction."""

    loss: float


HostFault: TypeAlias = Kill | Restart | Freeze | Slow | DiskFull | ClockJump
LinkFault: TypeAlias = Cut | Narrow | Lossy
Fault: TypeAlias = HostFault | LinkFault

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
        name
        for name in sorted(set(kinds))
        if (names if issubclass(KINDS[name], _HostFault) else pairs)
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
