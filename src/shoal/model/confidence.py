"""How sure a classifier is of its answers: the measure behind an early exit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shoal.errors import PlanError
from shoal.model.dtypes import Array

AGREEMENT = "agreement"
CRITERIA = ("softmax", "margin", "entropy", AGREEMENT)


def confidences(logits: Array, criterion: str, temperature: float) -> npt.NDArray[np.float64]:
    """The confidence of each row of ``logits`` (batch, classes), in [0, 1]; 0 where a row is not
    finite.

    Softmax of ``logits / temperature`` (Guo et al. 2017, On Calibration of Modern Neural
    Networks), then its largest value, the difference of its two largest, or one minus its
    normalised entropy. ``agreement`` is what the network says itself: e to the largest of ``logits
    / temperature``, which mean the same classes whatever is added to all of them (1 where that is
    more). PlanError for an unknown criterion.
    """
    scaled = logits.reshape(logits.shape[0], -1).astype(np.float64) / temperature
    finite = np.isfinite(scaled).all(axis=1)
    scaled[~finite] = 0.0
    shares = softmax(scaled)
    match criterion:
        case "softmax":
            sure = shares.max(axis=1)
        case "margin":
            top = np.sort(shares, axis=1)
            sure = top[:, -1] - (top[:, -2] if top.shape[1] > 1 else 0.0)
        case "entropy":
            entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1)
            sure = 1.0 - entropy / max(np.log(shares.shape[1]), 1e-300)
        case "agreement":
            sure = np.exp(np.minimum(scaled.max(axis=1), 0.0))
        case _:
            raise PlanError(f"no exit criterion is called {criterion!r}")
    return np.where(finite, np.clip(sure, 0.0, 1.0), 0.0)


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The shares that rows of finite ``logits`` (batch, classes) give each class."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float64)
