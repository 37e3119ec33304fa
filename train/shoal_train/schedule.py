"""When to learn how fast, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence


def warm_up_then_cosine(done: float, warm_up: float = 0.15) -> float:
    """The factor on the learning rate once the share ``done`` of all steps is behind us.

    Rises in a line during the share ``warm_up``, then falls along half a cosine to zero
    (I. Loshchilov and F. Hutter, "SGDR", 2017, with one cycle).
    """
    if done < warm_up:
        return done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def best_epoch(scores: Sequence[float]) -> int:
    """The number (from 1) of the first epoch with the highest score."""
    return max(range(len(scores)), key=lambda number: scores[number]) + 1


def has_stalled(scores: Sequence[float], patience: int) -> bool:
    """Whether the last ``patience`` epochs brought no score above those before them."""
    return bool(scores) and len(scores) - best_epoch(scores) >= patience
