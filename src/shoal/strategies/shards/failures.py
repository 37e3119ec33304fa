"""Which devices may be lost together, what is gone then, and what of the accuracy is left. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.strategies.shards.dealing import Dealing
from shoal.strategies.statistics import divergence, lower_bound

Floats: TypeAlias = npt.NDArray[np.float32]
Lost: TypeAlias = tuple[int, ...]
"""Devices, by number."""


@dataclass(frozen=True)
class Kept:
    """Of ``count`` images that the whole network answers, or answers right where that is known,
    ``good`` were answered alike. ``apart`` is how far the answers are from its own, in bits (the
    mean divergence)."""

    good: int
    count: int
    apart: float = 0.0

    @property
    def share(self) -> float:
        """The share of the accuracy that is kept on these images; 1 where none counts."""
        return self.good / self.count if self.count else 1.0

    def bound(self, confidence: float) -> float:
        """The share that is kept with this confidence."""
        return lower_bound(self.good, self.count, confidence)


def failure_sets(devices: int, most: int) -> tuple[Lost, ...]:
    """All sets of one to ``most`` devices that leave another, the small ones first."""
    sizes = range(1, min(most, devices - 1) + 1)
    return tuple(lost for size in sizes for lost in itertools.combinations(range(devices), size))


def present(dealing: Dealing, lost: Collection[int]) -> Floats:
    """For each unit 1 where somebody has it while these devices are lost, else 0."""
    kept = np.ones(dealing.units, np.float32)
    kept[list(dealing.missing(lost))] = 0
    return kept


def stand_in(kept: Floats, means: Floats | None) -> Floats:
    """What is in the place of each unit: its mean where it is missing, or nothing."""
    return (1 - kept) * means if means is not None else np.zeros_like(kept)


def compare(
    expected: npt.NDArray[Any], found: npt.NDArray[Any], labels: Sequence[int] | None = None
) -> Kept:
    """What is kept of the whole network's answers (rows of scores)."""
    expected, found = expected.reshape(len(expected), -1), found.reshape(len(found), -1)
    top1 = expected.argmax(axis=1)
    counted = np.ones(len(top1), bool) if labels is None else top1 == np.asarray(labels)
    good = (found.argmax(axis=1) == top1) & counted
    apart = float(divergence(expected, found).mean()) if len(expected) else 0.0
    return Kept(int(good.sum()), int(counted.sum()), apart)


def worst_at(sizes: Sequence[int], kept: Sequence[Kept]) -> dict[int, tuple[float, float]]:
    """The mean and the least share that is kept, by how many devices are lost (``sizes``)."""
    by_size: dict[int, list[float]] = {}
    for size, each in zip(sizes, kept, strict=True):
        by_size.setdefault(size, []).append(each.share)
    return {size: (float(np.mean(found)), min(found)) for size, found in by_size.items()}
