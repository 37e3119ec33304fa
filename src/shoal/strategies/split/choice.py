"""Which plan is the best one now: hard limits first, then aims, lexicographic with tolerance.

All plans are looked at: it is a handful of operations on columns of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shoal.strategies.split.table import Costs, Flags, Floats

COLUMNS = {
    "latency": "latency_ms",
    "throughput": "period_ms",
    "accuracy": "lost",
    "bytes": "bytes",
    "energy": "energy_j",
    "server-cost": "server_ms",
}
"""The column of the costs that stands for each aim or limit: all are made small."""

LIMITS = ("accuracy", "energy", "bytes", "throughput", "latency")
"""What may be limited, the most important first: the last is relaxed first."""

STEADY = ("accuracy", "bytes")
"""Columns that are the same for each request."""

GAIN = 0.05
"""By how much a plan must be better to be worth a change."""

_HAIR = 1e-9
"""Share by which a number may miss a limit that it was computed to meet."""


@dataclass(frozen=True)
class Wish:
    """Aims, most important first, how far a plan may be behind the best by one aim to be judged
    by the next, and upper limits on columns, most important first."""

    aims: tuple[str, ...]
    tolerance: float = 0.02
    limits: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Allowed:
    """The plans that may be chosen; the limits that had to be relaxed for there to be any, and the
    bounds that were put in their place."""

    plans: Flags
    relaxed: tuple[str, ...]
    bounds: tuple[tuple[str, float], ...]


def column(costs: Costs, name: str) -> Floats:
    """The column that stands for an aim or a limit."""
    found: Floats = getattr(costs, COLUMNS[name])
    return found


def allowed(costs: Costs, wish: Wish) -> Allowed:
    """The usable plans that meet the limits, if any are usable. Where a limit leaves none, it is
    relaxed to the nearest value (and ``tolerance``) that can be met together with the more
    important ones."""
    plans = costs.usable
    relaxed: list[str] = []
    bounds: list[tuple[str, float]] = []
    if wish.limits and not plans.any():
        return Allowed(plans, (), ())
    for name, limit in wish.limits:
        values = column(costs, name)
        within = plans & (values <= limit * (1 + _HAIR) + _HAIR)
        if not within.any():
            relaxed.append(name)
            limit = float(values[plans].min()) * (1 + wish.tolerance)
            within = plans & (values <= limit * (1 + _HAIR))
        bounds.append((name, limit))
        plans = within
    return Allowed(plans, tuple(relaxed), tuple(bounds))


def within(costs: Costs, found: Allowed, share: float) -> Flags:
    """The plans that meet the bounds with this share to spare (accuracy does not waver, so it
    needs none)."""
    plans = found.plans
    for name, bound in found.bounds:
        if name != "accuracy":
            plans = plans & (column(costs, name) <= bound * (1 - share))
    return plans


def keeps(costs: Costs, found: Allowed, row: int, share: float) -> bool:
    """Whether a usable plan meets the bounds; those that were relaxed, but for ``share``: they
    move with what is measured."""
    return all(
        column(costs, name)[row]
        <= bound * (1 + (share if name in found.relaxed else _HAIR)) + _HAIR
        for name, bound in found.bounds
    )


def best(costs: Costs, wish: Wish, plans: Flags) -> int:
    """The index of the best of ``plans``, of which there must be one."""
    left: npt.NDArray[np.intp] = np.flatnonzero(plans)
    for aim in wish.aims:
        if left.size == 1:
            return int(left[0])
        values = column(costs, aim)[left]
        left = left[values <= values.min() * (1 + wish.tolerance)]
    first = column(costs, wish.aims[0] if wish.aims else "latency")[left]
    return int(left[first.argmin()])


def gains(costs: Costs, wish: Wish, rival: int, current: int, share: float) -> bool:
    """Whether ``rival`` is better than ``current`` by more than ``share``: by the first aim by
    which they differ so much."""
    for aim in wish.aims:
        values = column(costs, aim)
        mine, other = float(values[current]), float(values[rival])
        if mine > other * (1 + share):
            return True
        if other > mine * (1 + share):
            return False
    return False


def front(costs: Costs, names: tuple[str, ...], plans: Flags) -> list[int]:
    """The Pareto front: of ``plans``, those that no other is as good as in all columns and better
    than in one. In the order of the first column."""
    indices = np.flatnonzero(plans)
    values = np.stack([column(costs, name)[indices] for name in names], axis=1)
    kept = []
    for row in range(len(indices)):
        no_worse = (values <= values[row]).all(axis=1)
        better = (values < values[row]).any(axis=1)
        same_before = (values[:row] == values[row]).all(axis=1).any()
        if not (no_worse & better).any() and not same_before:
            kept.append(row)
    kept.sort(key=lambda row: tuple(values[row]))
    return [int(indices[row]) for row in kept]
