"""Which devices may be lost together, what is gone then, and what of the accuracy is left. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.plan.statistics import lower_bound
from shoal.task import Judge, Outputs, Task

Floats: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = npt.NDArray[Any]
Lost: TypeAlias = tuple[int, ...]
"""Devices, by number."""


@dataclass(frozen=True)
class Kept:
    """``good`` is the sum of how alike ``count`` images were answered: those in which something is
    found and, where that is known, that the whole network answers right. ``apart`` is how far the
    answers are from its own in the mean, from 0 to 1 (:class:`shoal.task.Agreement`)."""

    good: float
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
    """Images for a network of one input, and their labels where they are known. ``judges`` judge by
    the whole network's answers; ``measured`` says what is measured, in words."""

    images: Rows
    labels: tuple[int, ...] | None
    judges: tuple[Judge, ...]
    measured: str = ""

    @classmethod
    def of(
        cls, images: Rows, labels: tuple[int, ...] | None, task: Task, outputs: Outputs
    ) -> Sample:
        """Images with the whole network's outputs for them, in rows."""
        judges = tuple(task.judge(each) for each in one_by_one(outputs, len(images)))
        return cls(images, labels, judges, task.measured)

    @property
    def whole(self) -> Kept:
        """What the whole network keeps of itself: how many images count."""
        count = sum(
            judge.says and (label is None or judge.top1 == label)
            for judge, label in zip(self.judges, self._told, strict=True)
        )
        return Kept(count, count)

    @property
    def _told(self) -> Sequence[int | None]:
        return (None,) * len(self) if self.labels is None else self.labels

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
        judges = tuple(self.judges[place] for place in np.flatnonzero(chosen))
        return Sample(self.images[chosen], labels, judges, self.measured)

    def compare(self, found: Iterable[Outputs]) -> Kept:
        """What is kept of the whole network's answers in these, one for each image."""
        scores, apart = [], []
        for judge, label, outputs in zip(self.judges, self._told, found, strict=True):
            score, off = judge.agreement(outputs)
            if score is not None:
                apart.append(off)
                if label is None or judge.top1 == label:
                    scores.append(score)
        return Kept(math.fsum(scores), len(scores), float(np.mean(apart)) if apart else 0.0)


def one_by_one(outputs: Outputs, count: int) -> Iterator[Outputs]:
    """The outputs of ``count`` images that were run together, by image."""
    if count == 1:
        yield outputs
        return
    for index in range(count):
        yield {name: array[index : index + 1] for name, array in outputs.items()}


def failure_sets(devices: int, most: int) -> tuple[Lost, ...]:
    """All sets of one to ``most`` devices that leave another, the small ones first."""
    sizes = range(1, min(most, devices - 1) + 1)
    return tuple(lost for size in sizes for lost in itertools.combinations(range(devices), size))


def worst_at(sizes: Sequence[int], kept: Sequence[Kept]) -> dict[int, tuple[float, float]]:
    """The mean and the least share that is kept, by how many devices are lost (``sizes``)."""
    by_size: dict[int, list[float]] = {}
    for size, each in zip(sizes, kept, strict=True):
        by_size.setdefault(size, []).append(each.share)
    return {size: (float(np.mean(found)), min(found)) for size, found in by_size.items()}
