"""What may be promised after so many images: bounds of a share, and how far answers are apart."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def lower_bound(good: int, count: int, confidence: float = 0.95) -> float:
    """The share of which one may be sure when ``good`` of ``count`` images were good: the lower
    end of the one-sided interval of Wilson (JASA 22, 1927, p. 209).

    With ``confidence`` 0.5 it is the share itself. 0 where there are no images.
    """
    if count <= 0:
        return 0.0
    z = quantile(confidence)
    share = good / count
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, (middle - spread) / (1 + z * z / count))


def share_needed(accuracy: float, count: int, confidence: float = 0.95) -> float:
    """The share of ``count`` images that must be good to promise ``accuracy``: the inverse of
    :func:`lower_bound`. inf where they are too few, even if all are good."""
    if accuracy > lower_bound(count, count, confidence):
        return math.inf
    spread = math.sqrt(accuracy * (1 - accuracy) / max(1, count))
    return min(1.0, accuracy + quantile(confidence) * spread)


def images_needed(accuracy: float, confidence: float = 0.95) -> float:
    """How many images, all of them good, it takes to promise ``accuracy`` (inf for 1.0)."""
    if accuracy >= 1.0:
        return math.inf
    z = quantile(confidence)
    # With all good the bound is count / (count + z^2).
    return math.ceil(accuracy * z * z / (1 - accuracy) - 1e-9)


def quantile(confidence: float) -> float:
    """The standard normal value that is not exceeded with this probability."""
    return NormalDist().inv_cdf(confidence)


def probabilities(scores: Floats) -> npt.NDArray[np.float64]:
    """Rows of ``scores`` as probabilities: kept where they are some already, else their softmax."""
    wide = scores.astype(np.float64)
    if (wide >= 0).all() and np.allclose(wide.sum(axis=-1), 1.0, atol=1e-3):
        return wide
    wide = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(wide / wide.sum(axis=-1, keepdims=True), np.float64)


def divergence(expected: Floats, found: Floats) -> npt.NDArray[np.float64]:
    """The Jensen-Shannon divergence of each row in bits, 0 (equal) to 1 (Lin, IEEE Transactions
    on Information Theory 37, 1991)."""
    p, q = probabilities(expected), probabilities(found)
    middle = (p + q) / 2

    def against_middle(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        ratio = np.ones_like(share)
        np.divide(share, middle, out=ratio, where=share > 0)
        return np.asarray((share * np.log2(ratio)).sum(axis=-1), np.float64)

    return np.maximum(0.0, (against_middle(p) + against_middle(q)) / 2)
