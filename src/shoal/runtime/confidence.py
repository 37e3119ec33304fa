"""Whether a request may leave at an exit."""

from __future__ import annotations

from shoal.codec.codecs import Array
from shoal.model.confidence import confidences
from shoal.plan.plan import Exit


def confidence(logits: Array, exit: Exit) -> float:
    """The least confidence of the rows of ``logits`` (batch, classes), in [0, 1]."""
    return float(confidences(logits, exit.criterion, exit.temperature).min())
