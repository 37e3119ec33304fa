"""Detectors: the boxes that are found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from shoal.errors import DataError
from shoal.model.spec import TensorSpec
from shoal.task.agreement import NOTHING, Agreement, Judge, Outputs, Task
from shoal.task.boxes import Boxes, matched, suppressed
from shoal.task.decoders import Decoder, decoder_of

LEAST_SCORE = 0.25
"""Boxes with a lower score do not count."""
MOST_IOU = 0.45
"""Of raw boxes of one label, those that overlap another by more are suppressed."""
SAME_IOU = 0.5
"""Boxes of one label that overlap by so much are the same."""
SLACK = 1e-3
"""What scores may be above 1, and corners out of order, by rounding."""


@dataclass(frozen=True)
class Detector(Task):
    """Boxes with scores and labels, read by a ``decoder`` (:mod:`shoal.task.decoders`) of a
    ``layout``.

    Boxes of the same label that overlap by half or more (IoU) are paired, the most alike first. The
    score is ``2 * pairs / (boxes of the whole network + boxes found)``: F1, precision and recall in
    one, as what is missing and what is too much both count. An image without a box in either
    answer says nothing. ``apart`` is 1 minus the overlap of all pairs, weighed by how far the
    scores are above the least one that counts: a box that comes and goes there weighs nothing.
    """

    layout: str
    decoder: Decoder = field(compare=False)
    name: ClassVar[str] = "detector"

    @classmethod
    def of(cls, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Detector:
        """The detector with these outputs; PlanError where it is not clear how boxes are read."""
        return cls(*decoder_of(inputs, outputs))

    @property
    def measured(self) -> str:
        return f"boxes (F1 at IoU {SAME_IOU:g})"

    @property
    def key(self) -> str:
        return f"detector {self.layout} {LEAST_SCORE} {MOST_IOU} {SAME_IOU}"

    def boxes(self, outputs: Outputs) -> Boxes:
        """The boxes of an image that count. DataError where they cannot be what was taken for
        boxes."""
        return self._counted(self._checked(self.decoder(outputs)))

    def _judge(self, whole: Outputs) -> Judge:
        expected = self.boxes(whole)

        def agreement(found: Outputs) -> Agreement:
            return compared(expected, self._counted(_possible(self.decoder(found))))

        return Judge(len(expected.scores) > 0, agreement)

    def _counted(self, boxes: Boxes) -> Boxes:
        kept = boxes.of(boxes.scores >= LEAST_SCORE)
        return suppressed(kept, MOST_IOU) if self.layout.startswith("centre") else kept

    def _checked(self, boxes: Boxes) -> Boxes:
        """The boxes of the whole network, which must be some."""
        if len({len(each) for each in boxes}) > 1:
            counts = ", ".join(str(len(each)) for each in boxes)
            raise DataError(
                f"task: there are {counts} boxes, scores and labels in one answer: these outputs "
                "are not what they were taken for; give --agreement FILE:FUNCTION"
            )
        why = ""
        scores, kept = boxes.scores, boxes.of(boxes.scores >= LEAST_SCORE)
        if scores.size and not (scores.min() >= -1 - SLACK and scores.max() <= 1 + SLACK):
            why = f"scores go from {scores.min():.4g} to {scores.max():.4g}, not from 0 to 1"
        elif len(_possible(kept).scores) < len(kept.scores):
            why = "corners are out of order"
        elif (kept.labels != np.rint(kept.labels)).any() or (kept.labels < 0).any():
            why = "labels are no whole numbers"
        if why:
            raise DataError(
                f"task: read as {self.layout}, {why}: the outputs are not what they were taken "
                "for; give --agreement FILE:FUNCTION"
            )
        return boxes


def _possible(boxes: Boxes) -> Boxes:
    """Without what is no box: a plan that rounds much may give anything."""
    if len({len(each) for each in boxes}) > 1:
        none = np.zeros(0)
        return Boxes(none.reshape(0, 4), none, none)
    boxes = boxes.of(np.isfinite(boxes.corners).all(axis=1) & np.isfinite(boxes.scores))
    corners = boxes.corners
    size = np.abs(corners).max(axis=1, initial=0.0)
    return boxes.of((corners[:, 2:] - corners[:, :2] >= -SLACK * size[:, None]).all(axis=1))


def compared(expected: Boxes, found: Boxes) -> Agreement:
    """How alike two answers in boxes are."""
    total = len(expected.scores) + len(found.scores)
    if not total:
        return NOTHING
    pairs = matched(expected, found)
    score = 2 * int((pairs.iou >= SAME_IOU).sum()) / total
    one, other = expected.scores - LEAST_SCORE, found.scores - LEAST_SCORE
    weight = float(one.sum() + other.sum())
    shared = float(((one[pairs.one] + other[pairs.other]) * pairs.iou).sum())
    return Agreement(score, 1 - shared / weight if weight > 0 else 1 - score)
