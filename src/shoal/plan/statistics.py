"""What may be promised after so many images: bounds of a share."""

from __future__ import annotations

import math
from statistics import NormalDist


def lower_bound(good: float, count: int, confidence: float = 0.95) -> float:
    """The share of which one may be sure when ``good`` of ``count`` images were good: the lower
    end of the one-sided interval of Wilson (JASA 22, 1927, p. 209).

    ``good`` may be a sum of scores from 0 to 1, and the bound is one of their mean: no variable
    from 0 to 1 varies more than one that is 0 or 1 with the same mean ``m`` (by ``x * x <= x`` its
    variance is ``m * (1 - m)`` at most), and that of 0 and 1 is what the interval reckons with.

    It is approximate: near 1 the share is below it for up to 7 of 100 samples with ``confidence``
    0.95. With 0.5 it is the share itself. 0 where there are no images.
    """
    if count <= 0:
        return 0.0
    z = quantile(confidence)
    share = min(1.0, max(0.0, good / count))  # a sum of scores is off by its rounding
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
