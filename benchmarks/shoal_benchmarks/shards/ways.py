"""Ways to deal a network's units, and what stands in for those that are missing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shoal.strategies.shards.dealing import Dealing, deal, deal_in_turn
from shoal.strategies.shards.deck import Deck
from shoal.strategies.shards.failures import Kept, Lost, Sample
from shoal.strategies.shards.replicate import Common, uniform
from shoal.strategies.shards.trials import Dealings

ZERO, MEAN, REBUILT = "zeros", "means", "rebuilt"


class Way(NamedTuple):
    """A share ``rho`` of each layer is common, the others are dealt by importance, or (``in_turn``)
    as they stand. ``fill`` is what stands in for what is missing."""

    name: str
    rho: float
    fill: str
    in_turn: bool = False


CONTIGUOUS = Way("contiguous", 0.0, ZERO, in_turn=True)
BALANCED = Way("balanced", 0.0, ZERO)
FULL = Way("all common", 1.0, ZERO)
MEANS = tuple(Way(f"rho {rho:g}, means", rho, MEAN) for rho in (0.0, 0.25, 0.5))
REBUILDS = tuple(Way(f"rho {rho:g}, rebuilt", rho, REBUILT) for rho in (0.0, 0.25, 0.5))
REPLICATED = tuple(Way(f"contiguous, rho {rho:g}", rho, ZERO, in_turn=True) for rho in (0.25, 0.5))
"""What costs the same memory as ``MEANS`` without importance."""
FEW = (CONTIGUOUS, BALANCED, *MEANS, *REBUILDS)
MANY = (*FEW, *REPLICATED, FULL)


def dealings(
    deck: Deck,
    way: Way,
    devices: int,
    common: Common | None = None,
    values: Sequence[npt.NDArray[np.float64]] | None = None,
) -> Dealings:
    """Who of equal devices holds what; with so many units ``common``, and units that matter so
    much (``values``), where that is given."""
    counts = uniform(deck.layers, way.rho) if common is None else common
    shares = (1.0,) * devices
    return {
        width.name: stretches(width.units, devices, count)
        if way.in_turn
        else deal(values.tolist(), shares, count)
        for (_, width), values, count in zip(
            deck.widths, values or deck.importance, counts, strict=True
        )
    }


def stretches(units: int, devices: int, common: int) -> Dealing:
    """The first units are common, the others dealt as they stand."""
    rest = deal_in_turn(units - common, (1.0,) * devices).dealt
    moved = tuple(tuple(unit + common for unit in each) for each in rest)
    return Dealing(moved, tuple(range(common)))


def kept(deck: Deck, sample: Sample, held: Dealings, lost: Lost, fill: str) -> Kept:
    """What is kept while these devices are lost. ``deck`` is one that rebuilds."""
    if fill == REBUILT:
        return deck.kept(sample, held, lost)
    return deck.trials.kept(sample, held, lost, deck.means if fill == MEAN else None)
