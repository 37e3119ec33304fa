"""Which devices may be lost together, what is gone then, and what of the accuracy is left. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.plan.statistics import lower_bound
from shoal.task.divergence import divergence

Floats: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = npt.NDArray[Any]
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


@dataclass(frozen=True)
class Sample:
    """Images for a network of one input, and their labels where they are known. ``right`` are the
    scores of the whole network."""

    images: Rows
    labels: tuple[int, ...] | None
    right: Rows

    def __len__(self) -> int:
        return len(self.images)

    def halves(self, most: int) -> tuple[Sample, Sample]:
        """Half of the images, or at ``most`` so many, and the others; each with its share of every
        class. Where an image lies does not say in which half it is: folders of classes are read in
        turn, so every second image may be of every second class."""
        order = np.random.default_rng(0).permutation(len(self))
        if self.labels is not None:
            order = order[np.argsort(np.asarray(self.labels)[order], kind="stable")]
        first = np.zeros(len(self), bool)
        first[order[:: max(2, -(-len(self) // most))]] = True
        return self._of(first), self._of(~first)

    def _of(self, chosen: npt.NDArray[np.bool_]) -> Sample:
        labels = None if self.labels is None else tuple(np.asarray(self.labels)[chosen].tolist())
        return Sample(self.images[chosen], labels, self.right[chosen])


def failure_sets(devices: int, most: int) -> tuple[Lost, ...]:
    """All sets of one to ``most`` devices that leave another, the small ones first."""
    sizes = range(1, min(most, devices - 1) + 1)
    return tuple(lost for size in sizes for lost in itertools.combinations(range(devices), size))


def compare(expected: Rows, found: Rows, labels: Sequence[int] | None = None) -> Kept:
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
