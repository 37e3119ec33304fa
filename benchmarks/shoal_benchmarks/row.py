"""A line of every bench: what was measured, how it spread, and whether a goal was met."""

from __future__ import annotations

import math
import operator

import msgspec

from shoal_benchmarks.measure import Samples

GOALS = {"<=": operator.le, ">=": operator.ge, "=": operator.eq}


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One measured value.

    ``spread`` is the 10th and 90th percentile of the samples (None for a count or a single
    measurement). ``goal`` is a comparison such as ``"<= 1.05"``, in ``unit``; ``met`` says
    whether ``value`` fulfils it. Both are None for a baseline or a figure without a goal.
    """

    name: str
    value: float
    unit: str
    spread: tuple[float, float] | None = None
    goal: str | None = None
    met: bool | None = None


def row(
    name: str,
    value: float | Samples,
    unit: str,
    goal: str | None = None,
    spread: tuple[float, float] | None = None,
) -> Row:
    """A row whose ``met`` follows from its value and goal. Samples give their median and spread."""
    if isinstance(value, Samples):
        return row(name, value.median, unit, goal, value.spread)
    met = None if goal is None else meets(value, goal)
    return Row(name, value, unit, spread, goal, met)


def meets(value: float, goal: str) -> bool:
    """Whether ``value`` fulfils ``goal``; a value that is not a number meets no goal."""
    sign, _, bound = goal.partition(" ")
    return not math.isnan(value) and bool(GOALS[sign](value, float(bound)))


def number(value: float) -> str:
    """A value for people: four significant digits, thousands marked, no exponent."""
    if float(value).is_integer() and abs(value) < 1e7:
        return f"{int(value):,}"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
