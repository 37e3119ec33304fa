"""Proof that parts give what the whole network gives, on made-up inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from shoal.errors import ProofError

Array: TypeAlias = np.ndarray[Any, Any]

TOLERANCE = 1e-4
"""Difference that is always allowed, relative to the largest finite value of the output. The
engine fuses differently at a cut, so results are not bit-identical: up to 2e-6 was measured."""

ROUGH_TOLERANCE = 2e-2
"""The same for 16-bit floats and quantised networks, where one rounding step is that large."""

MOST_TOLERANCE = 5e-2
"""No network is allowed more."""


def tolerance(rounding: float, *, rough: bool = False) -> float:
    """The difference to allow for a network whose outputs change by ``rounding`` when the engine
    fuses nothing: some networks amplify each rounding, and a cut rounds elsewhere again."""
    least = ROUGH_TOLERANCE if rough else TOLERANCE
    return min(max(least, 8 * rounding), MOST_TOLERANCE)


def difference(expected: Array, found: Array) -> float:
    """Largest difference, relative to the largest finite value expected; ``inf`` where shape,
    dtype, or the places of NaN and infinity differ."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return float("inf")
    largest, wrong = 0.0, 0.0
    flat, other = expected.reshape(-1), found.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        a, b = flat[start : start + _BLOCK], other[start : start + _BLOCK]
        finite = np.isfinite(a)
        if not np.isfinite(b[finite]).all() or not np.array_equal(
            a[~finite], b[~finite], equal_nan=a.dtype.kind == "f"
        ):
            return float("inf")
        wide_a, wide_b = a[finite].astype(np.float64), b[finite].astype(np.float64)
        largest = max(largest, float(np.abs(wide_a).max(initial=0.0)))
        wrong = max(wrong, float(np.abs(wide_a - wide_b).max(initial=0.0)))
    least = float(np.finfo(np.float32).tiny) if expected.dtype.kind == "f" else 1.0
    return wrong / max(largest, least)


_BLOCK = 1 << 20
"""Elements compared at once: outputs may be large, and are compared in 64 bits."""


def check(
    expected: Mapping[str, Array],
    found: Mapping[str, Array],
    tolerance: float,
    what: str,
    advice: str = "Please report this network.",
) -> None:
    """Raise :class:`ProofError` if an output of ``what`` is missing or differs by more than
    ``tolerance``; ``advice`` tells what to do then."""
    for name, array in expected.items():
        if name not in found:
            raise ProofError(f"{what}: output {name!r} is missing. {advice}")
        error = difference(array, found[name])
        if not error <= tolerance:
            raise ProofError(
                f"{what}: output {name!r} differs by {error:.2g} of its largest value, "
                f"{tolerance:.2g} is allowed. {advice}"
            )


def worst(expected: Mapping[str, Array], found: Mapping[str, Array], names: Iterable[str]) -> float:
    """The largest difference among the outputs ``names``."""
    return max((difference(expected[name], found[name]) for name in names), default=0.0)
