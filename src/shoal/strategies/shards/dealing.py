"""Who holds which units of a layer. Pure.

The most important units are *common*: every device holds them. The others are dealt in the order
of importance, so that each device has its share of every stretch of that order: whoever is lost,
about as much is lost as with anybody else. How many each gets follows from its share.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from shoal.model.shards import Units


@dataclass(frozen=True)
class Dealing:
    """The units of a layer: ``dealt`` has those of each device, ``common`` those of all devices,
    ``adopted`` (where there is such) those that each device has got in the place of another; each
    in ascending order."""

    dealt: tuple[tuple[int, ...], ...]
    common: tuple[int, ...] = ()
    adopted: tuple[tuple[int, ...], ...] = ()

    @property
    def units(self) -> int:
        """How many there are."""
        return len(self.common) + len(set().union(*self.dealt, *self.adopted))

    def missing(self, lost: Collection[int]) -> tuple[int, ...]:
        """The units that nobody holds while these devices (by number) are lost."""
        held = [{*self.dealt[device], *self._adopted(device)} for device in range(len(self.dealt))]
        left = [each for device, each in enumerate(held) if device not in lost]
        if not left:
            return tuple(range(self.units))
        return tuple(sorted(set().union(*held).difference(*left)))

    def _adopted(self, device: int) -> tuple[int, ...]:
        return self.adopted[device] if self.adopted else ()

    def held(self, device: int) -> Units:
        """What a device holds."""
        return Units(self.dealt[device], self.common, self._adopted(device))

    def without(self, lost: Collection[int]) -> Dealing:
        """What the others hold, in their order, when these devices are gone."""
        rest = [device for device in range(len(self.dealt)) if device not in lost]
        adopted = tuple(self._adopted(device) for device in rest) if self.adopted else ()
        return Dealing(tuple(self.dealt[device] for device in rest), self.common, adopted)


def deal(importance: Sequence[float], shares: Sequence[float], common: int = 0) -> Dealing:
    """The ``common`` most important units for all, the others one by one for the device that lags
    most behind its share, with ``shares`` of any sum (0: none).

    At no place in the order of importance has a device got a whole unit more or less than its share
    of those before (R. Tijdeman, The chairman assignment problem, Discrete Mathematics 32, 1980).
    With equal shares that is one unit of each class of as many units as devices, forth and back.
    """
    ranked = by_importance(importance)
    common = max(0, min(common, len(ranked)))
    rest = ranked[common:]
    held: list[list[int]] = [[] for _ in shares]
    wanted = counts(len(rest), shares)
    for dealt, unit in enumerate(rest, 1):
        held[_next(wanted, held, dealt)].append(unit)
    return Dealing(tuple(tuple(sorted(units)) for units in held), tuple(sorted(ranked[:common])))


def _next(wanted: Sequence[int], held: Sequence[Sequence[int]], dealt: int) -> int:
    """The device that gets the unit which makes it ``dealt`` units: of those that lag by enough,
    the first that would be behind by too much."""
    if len(wanted) == 1:
        return 0
    total = sum(wanted)
    slack = Fraction(1, 2 * len(wanted) - 2)
    forth = (dealt - 1) // len(wanted) % 2 == 0
    order = range(len(wanted)) if forth else reversed(range(len(wanted)))
    lags = [
        (Fraction(wanted[d] * dealt - len(held[d]) * total, total), d) for d in order if wanted[d]
    ]
    due = [((1 - slack - lag) * total / wanted[d], k, d) for k, (lag, d) in enumerate(lags)
           if lag >= slack]  # fmt: skip
    return min(due)[2]


def adopt(
    dealing: Dealing, lost: int, importance: Sequence[float], shares: Sequence[float]
) -> Dealing:
    """What the others hold once those units that only the device ``lost`` held are dealt to them by
    their ``shares``, as all were before."""
    gone = dealing.missing((lost,))
    given = deal([importance[unit] for unit in gone], shares)
    adopted = tuple(tuple(gone[place] for place in places) for places in given.dealt)
    return replace(dealing.without((lost,)), adopted=adopted)


def deal_in_classes(importance: Sequence[float], devices: int, common: int, size: int) -> Dealing:
    """The ``common`` most important units for all; the others in classes of ``size``, of each of
    which every device gets one, forth and back. A class with fewer units than devices begins anew
    with its best, so its units are held by several (RobustDiCE, figure 1)."""
    ranked = by_importance(importance)
    held: list[list[int]] = [[] for _ in range(devices)]
    for number, start in enumerate(range(common, len(ranked), size)):
        members = ranked[start : start + size]
        order = list(range(devices)) if number % 2 == 0 else list(reversed(range(devices)))
        for place in range(max(devices, len(members))):
            held[order[place % devices]].append(members[place % len(members)])
    return Dealing(tuple(tuple(sorted(units)) for units in held), tuple(sorted(ranked[:common])))


def deal_in_turn(units: int, shares: Sequence[float]) -> Dealing:
    """The units as they stand, a stretch for each device: what is done without importance."""
    ends = list(itertools.accumulate(counts(units, shares), initial=0))
    return Dealing(tuple(tuple(range(a, b)) for a, b in itertools.pairwise(ends)))


def by_importance(importance: Sequence[float]) -> list[int]:
    """The units, the most important first, of equal ones the first."""
    return sorted(range(len(importance)), key=lambda unit: (-importance[unit], unit))


def counts(total: int, shares: Sequence[float]) -> tuple[int, ...]:
    """``total`` things by shares of any sum: each share rounded down, and one more for those with
    the largest remainders."""
    exact = [Fraction(share) for share in shares]
    whole = sum(exact)
    quotas = [total * each / whole for each in exact]
    found = [math.floor(quota) for quota in quotas]
    behind = sorted(range(len(shares)), key=lambda device: found[device] - quotas[device])
    for device in behind[: total - sum(found)]:
        found[device] += 1
    return tuple(found)
