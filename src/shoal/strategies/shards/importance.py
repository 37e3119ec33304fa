"""How much each unit of a layer matters, without gradients. Pure.

A unit adds its activation times the weights that read it to what comes next. So it matters by the
product of both: the mean of its activation over the user's images, and the norm of those weights.
Without images it is the norm of its own weights alone (L1, as for the pruning of filters: Li et
al., ICLR 2017).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float64]


def strength(activations: Array, axis: int, units: int) -> Floats:
    """The mean of each unit's absolute activation. The channels along ``axis`` are those of the
    units one after the other, as many of each."""
    found: Floats = np.abs(_by_unit(activations, axis, units)).mean(axis=1)
    return found


def means(activations: Array, axis: int) -> npt.NDArray[np.float32]:
    """The mean of each channel along ``axis``."""
    channels = np.moveaxis(activations, axis, 0)
    found: npt.NDArray[np.float32] = (
        channels.reshape(len(channels), -1).mean(axis=1, dtype=np.float64).astype(np.float32)
    )
    return found


def norms(weights: Array, axis: int, units: int) -> Floats:
    """The norm (L1) of the weights of each unit, which lie along ``axis`` as its channels do."""
    found: Floats = np.abs(_by_unit(weights, axis, units)).sum(axis=1)
    return found


def importance(own: Floats, active: Floats | None = None, read: Floats | None = None) -> Floats:
    """Of the units of a layer, with a sum of 1: by their activations and by who reads them, or by
    their ``own`` norms where nothing is known of these."""
    found = own if active is None else active * (1.0 if read is None else read)
    total = float(found.sum())
    return found / total if total > 0 else np.full(len(found), 1.0 / max(1, len(found)))


def _by_unit(array: Array, axis: int, units: int) -> Floats:
    return np.moveaxis(array, axis, 0).reshape(units, -1).astype(np.float64)
