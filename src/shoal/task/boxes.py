"""Boxes: overlap, suppression, and which of two answers belong together. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST = 3_000
"""Boxes, those with the highest scores, among which is suppressed."""


class Boxes(NamedTuple):
    """Boxes of one image: ``corners`` (n, 4) are two opposite ones of each, the lower first;
    ``scores`` (n,), ``labels`` (n,)."""

    corners: Floats
    scores: Floats
    labels: Floats

    def of(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Boxes:
        """Those that are chosen."""
        return Boxes(self.corners[chosen], self.scores[chosen], self.labels[chosen])


def overlap(one: Floats, other: Floats) -> Floats:
    """Intersection over union of each box of ``one`` (n, 4) and each of ``other`` (m, 4): (n, m).
    Boxes without an area have none."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.prod(np.maximum(0.0, high - low), axis=-1)
    union = _area(one)[:, None] + _area(other)[None, :] - both
    found: Floats = np.zeros_like(both)
    np.divide(both, union, out=found, where=union > 0)
    return found


def _area(corners: Floats) -> Floats:
    return np.asarray(np.prod(np.maximum(0.0, corners[:, 2:] - corners[:, :2]), axis=-1))


def suppressed(boxes: Boxes, most_iou: float) -> Boxes:
    """What is left where of boxes of one label that overlap by more than ``most_iou`` the one with
    the highest score stays (greedy non-maximum suppression)."""
    boxes = boxes.of(np.argsort(-boxes.scores, kind="stable")[:MOST])
    there = np.ones(len(boxes.scores), bool)
    for index in range(len(there)):
        if there[index]:
            rest = slice(index + 1, None)
            over = overlap(boxes.corners[index : index + 1], boxes.corners[rest])[0]
            there[rest] &= (over <= most_iou) | (boxes.labels[rest] != boxes.labels[index])
    return boxes.of(there)


class Pairs(NamedTuple):
    """Boxes of two answers that belong together, by their places, and how much they overlap."""

    one: npt.NDArray[np.intp]
    other: npt.NDArray[np.intp]
    iou: Floats


def matched(one: Boxes, other: Boxes) -> Pairs:
    """Boxes of the same label that overlap, each in one pair at most: those that overlap most
    first. So it does not matter which answer is which."""
    iou = overlap(one.corners, other.corners)
    iou[one.labels[:, None] != other.labels[None, :]] = 0.0
    rows, columns = np.nonzero(iou)
    values = iou[rows, columns]
    # Of equal overlaps those whose scores are highest together.
    sums = one.scores[rows] + other.scores[columns]
    free, left = np.ones(len(one.scores), bool), np.ones(len(other.scores), bool)
    kept = []
    for place in np.lexsort((-sums, -values)):
        if free[rows[place]] and left[columns[place]]:
            free[rows[place]] = left[columns[place]] = False
            kept.append(place)
    taken = np.array(kept, np.intp)
    return Pairs(rows[taken], columns[taken], values[taken])
