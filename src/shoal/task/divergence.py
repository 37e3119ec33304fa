"""How far rows of scores are apart, as probabilities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def probabilities(scores: Floats) -> npt.NDArray[np.float64]:
    """Rows of ``scores`` as probabilities: kept where they are some already, else their softmax."""
    return scores.astype(np.float64) if _told(scores) else _softmax(scores)


def _told(scores: Floats) -> bool:
    wide = scores.astype(np.float64)
    return bool((wide >= 0).all() and np.allclose(wide.sum(axis=-1), 1.0, atol=1e-3))


def _shares(scores: Floats) -> npt.NDArray[np.float64]:
    """What was rounded of probabilities, as some again."""
    wide = np.maximum(0.0, scores.astype(np.float64))
    return np.asarray(wide / np.maximum(1e-12, wide.sum(axis=-1, keepdims=True)), np.float64)


def _softmax(scores: Floats) -> npt.NDArray[np.float64]:
    wide = scores.astype(np.float64)
    wide = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(wide / wide.sum(axis=-1, keepdims=True), np.float64)


def divergence(expected: Floats, found: Floats) -> npt.NDArray[np.float64]:
    """The Jensen-Shannon divergence of each row in bits, 0 (equal) to 1 (Lin, IEEE Transactions
    on Information Theory 37, 1991)."""
    p = probabilities(expected)
    q = _shares(found) if _told(expected) else _softmax(found)
    middle = (p + q) / 2

    def against_middle(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        ratio = np.ones_like(share)
        np.divide(share, middle, out=ratio, where=share > 0)
        return np.asarray((share * np.log2(ratio)).sum(axis=-1), np.float64)

    return np.maximum(0.0, (against_middle(p) + against_middle(q)) / 2)
