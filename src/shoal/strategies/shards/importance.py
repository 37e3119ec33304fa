"""How much each unit of a layer matters, without gradients.

What is lost with a unit is what it adds to the next layer, less what stands in for it: its
deviation from that over the user's images, times the weights that read it. So where missing units
are filled with their means a unit matters by its standard deviation, else by its root mean square.
Without images all units are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.model.shards import Point, Region, Width

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float64]
Adds: TypeAlias = Callable[[Mapping[str, Array]], Array]
"""What rows of values at the points of a region (by the name of their tensor) add to its tensor."""


def importance(
    region: Region, width: Width, missed: Mapping[str, Floats], adds: Adds | None
) -> Floats:
    """Of the units of a width, with a sum of 1. ``missed`` is by how much each entry of a point (by
    the name of its tensor) is off where it is missing. Without ``adds`` that is all."""
    rows = {p.tensor.name: alone(p, width, missed[p.tensor.name]) for p in region.points}
    found = _norm(list(rows.values()) if adds is None else [adds(rows)])
    total = float(found.sum())
    return found / total if total > 0 else np.full(width.units, 1.0 / max(1, width.units))


def alone(point: Point, width: Width, values: Floats) -> Floats:
    """For each unit of a width a row of the values at a point, 0 where others are."""
    rows = np.zeros((width.units, point.entries))
    for unit in range(width.units):
        places = list(point.of(width.name, (unit,)))
        rows[unit, places] = values[places]
    return rows


def _norm(arrays: Sequence[Array]) -> Floats:
    """The norm of each row of several arrays together."""
    squares = sum(
        np.square(array.reshape(len(array), -1), dtype=np.float64).sum(axis=1) for array in arrays
    )
    return np.sqrt(np.asarray(squares, np.float64))
