"""When two outputs are the same, and when that they are tells anything. Pure: arrays in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shoal.model.dtypes import Array

TOLERANCE = 1e-4
"""Difference that is always allowed, relative to the largest finite value of the output. The
engine fuses differently at a cut, so results are not bit-identical: up to 2e-6 was measured."""

HALF_TOLERANCE = 4e-3
"""The same for 16-bit floats where it was measured what their rounding does."""

ROUGH_TOLERANCE = 2e-2
"""The same for quantised networks, where one rounding step is that large, and for 16-bit floats
where it was not measured."""

MOST_TOLERANCE = 5e-2
"""No network is allowed more."""

AMPLIFIED = 8
"""How much more than the engine's own rounding may change an output a cut may: it rounds
elsewhere again."""

HALF_AMPLIFIED = 4
"""The same for 16-bit floats, each of which is rounded in that measurement, as at every cut."""

APART = 2.0
"""Outputs for two inputs tell if they are further apart than so many times what a proof allows:
then no answer passes for both of them."""

CLEAR = 0.1
"""Share of an output that must not hang by a near tie, or it tells nothing."""

LABELS_APART = 5e-3
"""Share of labels that counts as much as the difference that is allowed of magnitudes."""


def tolerance(rounding: float, least: float = TOLERANCE, times: float = AMPLIFIED) -> float:
    """The difference to allow for a network whose outputs change by ``rounding`` when the engine
    fuses nothing: so many ``times`` that, as some networks amplify each rounding, and a cut rounds
    elsewhere again. It is never less than ``least``."""
    return min(max(least, times * rounding), MOST_TOLERANCE)


def largest(array: Array) -> float:
    """The largest finite magnitude in an array; 0 if there is none."""
    return max((float(np.abs(block[np.isfinite(block)]).max(initial=0)) for (block,) in
                _blocks(array)), default=0.0)  # fmt: skip


def difference(
    expected: Array, found: Array, scale: float | None = None, unclear: Array | None = None
) -> float:
    """Largest difference, relative to ``scale`` (None: the largest finite value expected);
    ``inf`` where shape, dtype, or the places of NaN and infinity differ. Elements that are
    ``unclear`` may be anything."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return float("inf")
    wrong = 0.0
    for a, b in _blocks(*_clear(unclear, expected, found)):
        finite = np.isfinite(a)
        if not np.isfinite(b[finite]).all() or not np.array_equal(
            a[~finite], b[~finite], equal_nan=True
        ):
            return float("inf")
        wrong = max(wrong, float(np.abs(a[finite] - b[finite]).max(initial=0.0)))
    least = float(np.finfo(np.float32).tiny) if expected.dtype.kind == "f" else 1.0
    return wrong / max(largest(expected) if scale is None else scale, least)


def disagreement(expected: Array, found: Array, unclear: Array | None = None) -> float:
    """The share of labels that are others, among those that are not ``unclear``; ``inf`` where
    shape or dtype differ. Labels are no magnitudes: 3 is as far from 4 as from 20."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return float("inf")
    first, second = _clear(unclear, expected, found)
    return float(np.count_nonzero(first != second)) / max(first.size, 1)


def spread(first: Array, second: Array, unclear: Array | None = None) -> float:
    """The largest difference of two outputs in places where both are finite."""
    if first.shape != second.shape:
        return float("inf")
    most = 0.0
    for a, b in _blocks(*_clear(unclear, first, second)):
        both = np.isfinite(a) & np.isfinite(b)
        most = max(most, float(np.abs(a[both] - b[both]).max(initial=0.0)))
    return most


def telling(
    first: Array,
    second: Array,
    allowed: float,
    *,
    label: bool = False,
    unclear: Array | None = None,
) -> tuple[float, str]:
    """How much the outputs for two inputs tell, and what is wrong with them if they do not.

    That is how far they are apart over ``allowed``, the difference that a proof lets pass (in
    units of the output); for labels, over ``LABELS_APART``. From :data:`APART` on they tell.
    """
    if first.size == second.size == 0:
        return 0.0, "is empty"
    if unclear is not None and unclear.mean() > 1 - CLEAR:
        return 0.0, "hangs by near ties"
    if any(array.dtype.kind == "f" and np.isnan(array).any() for array in (first, second)):
        return 0.0, "is not a number (NaN)"
    if any(array.size and not np.isfinite(array).any() for array in (first, second)):
        return 0.0, "is infinite"
    if label:
        ratio = disagreement(first, second, unclear) / LABELS_APART
    else:
        ratio = spread(first, second, unclear) / max(allowed, float(np.finfo(np.float32).tiny))
    if ratio == 0:
        return 0.0, "is the same for all of them"
    return ratio, "" if ratio >= APART else "differs by little more than rounding between them"


def _clear(unclear: Array | None, *arrays: Array) -> tuple[Array, ...]:
    return arrays if unclear is None else tuple(array[~unclear] for array in arrays)


def _blocks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """The arrays, flat, in 64 bits, a block at a time: outputs may be large."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, _BLOCK):
        yield tuple(each[start : start + _BLOCK].astype(np.float64) for each in flat)


_BLOCK = 1 << 17
