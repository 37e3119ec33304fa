"""Boxes from what detectors give: which layout it is, told from shapes and names, and how it is
read. What cannot be told for sure is refused.

| outputs | boxes are |
|---|---|
| boxes ``[.., 4]``, scores, labels; with or without how many count | corners |
| ``[.., k, 6]`` | corners, score, label |
| ``[.., k, 6]`` and how many count | label, score, corners (PaddleDetection) |
| ``[1, 1, k, 7]`` | image, label, score, corners (SSD, Caffe) |
| ``[k, 7]`` | image, corners, label, score (YOLO with suppression in the graph) |
| ``[batch, k, 5 + C]`` | centre, sides, whether there is something, scores of labels (YOLO) |
| ``[batch, 4 + C, k]`` | centre, sides, scores of labels (YOLO) |

The last two are told by ``k``: as many as the cells of grids over the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from shoal.errors import PlanError
from shoal.model.dtypes import Array
from shoal.model.spec import TensorSpec
from shoal.task.agreement import Outputs
from shoal.task.boxes import Boxes, Floats
from shoal.task.segmenter import image_sides

Decoder: TypeAlias = Callable[[Outputs], Boxes]
"""All boxes of one image as they are given, without a look at their values."""

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
"""Pixels between the cells of the grids of raw detectors."""
ANCHORS = (1, 3)
"""Boxes for each cell."""

WORDS = {
    "boxes": ("box",),
    "scores": ("score", "conf", "prob"),
    "labels": ("label", "class", "cls", "categor"),
}
BESIDE = ("raw_", "anchor_ind", "multiclass_scores")
"""Parts of the names of outputs that say the same once more, as they were before suppression."""


def decoder_of(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> tuple[str, Decoder]:
    """What the layout is called, and what reads it; PlanError where none is sure."""
    told = [spec for spec in outputs if not any(word in spec.name.lower() for word in BESIDE)]
    numbers = [spec for spec in told if _is_count(spec, spare=len(told) in (2, 4))]
    rest = [spec for spec in told if spec not in numbers]
    if len(rest) == 1 and len(numbers) <= 1:
        return _single(rest[0], numbers[0].name if numbers else None, inputs)
    if len(rest) == 3 and len(numbers) <= 1:
        return _apart(rest, numbers[0].name if numbers else None)
    raise _unclear(outputs)


def _unclear(outputs: Sequence[TensorSpec], why: str = "") -> PlanError:
    given = ", ".join(f"{spec.name!r} {list(spec.shape)}" for spec in outputs)
    return PlanError(
        f"task: how boxes are read from {given} is not known{why}; see docs/tasks.md for the "
        "layouts that are, or give --agreement FILE:FUNCTION"
    )


def _is_count(spec: TensorSpec, *, spare: bool) -> bool:
    """Whether an output says how many boxes count: by its name or, where there is one to ``spare``
    beside the boxes, by its type and shape."""
    lone = len(spec.shape) <= 2 and spec.shape[:1] in ((), (1,), (None,))
    named = any(word in spec.name.lower() for word in ("num", "count", "valid"))
    whole = spec.dtype.startswith(("int", "uint")) and len(spec.shape) == 1
    return lone and spec.shape[1:] in ((), (1,)) and (named or (spare and whole))


def _single(
    spec: TensorSpec, count: str | None, inputs: Sequence[TensorSpec]
) -> tuple[str, Decoder]:
    name, shape = spec.name, spec.shape
    if not spec.dtype.startswith("float") or not 2 <= len(shape) <= 4:
        raise _unclear([spec])
    *before, rows, wide = shape
    one = all(size in (None, 1) for size in before)
    cells = grid_cells(image_sides(inputs)) if len(shape) == 3 and count is None else frozenset()
    if wide == 6 and one and rows != 6 and rows not in cells:
        if count is not None:
            return "label, score, box", _rows(name, slice(2, 6), 1, 0, count)
        return "box, score, label", _rows(name, slice(0, 4), 4, 5)
    if wide == 7 and len(shape) == 4 and one:
        return "image, label, score, box", _rows(name, slice(3, 7), 2, 1, image=0)
    if wide == 7 and len(shape) == 2:
        return "image, box, label, score", _rows(name, slice(1, 5), 6, 5, image=0)
    if len(shape) == 3 and one and rows is not None and wide is not None and count is None:
        if rows in cells and wide >= 6:
            return "centre, sides, score, labels", _raw(name, objectness=True)
        if wide in cells and rows >= 5:
            return "centre, sides, labels", _raw(name, objectness=False)
        raise _unclear([spec], " (neither side is the number of cells of usual grids)")
    raise _unclear([spec])


def grid_cells(sides: tuple[int, int] | None) -> frozenset[int]:
    """How many boxes raw detectors may give for an image of this height and width."""
    if sides is None:
        return frozenset()
    sums = (
        sum(math.prod(-(-side // stride) for side in sides) for stride in strides)
        for strides in STRIDES
    )
    return frozenset(count * anchors for count in sums for anchors in ANCHORS)


def _apart(rest: Sequence[TensorSpec], count: str | None) -> tuple[str, Decoder]:
    """Boxes, scores and labels in outputs of their own."""
    boxes = [spec for spec in rest if spec.shape[-1:] == (4,) and len(spec.shape) > 1]
    others = [spec for spec in rest if spec not in boxes]
    if len(boxes) != 1 or any(len(spec.shape) > 3 for spec in others):
        raise _unclear(rest)
    whole = [spec for spec in others if spec.dtype.startswith(("int", "uint"))]
    if len(whole) == 1:
        labels = whole[0]
    else:
        named = [spec for spec in others if _named(spec, "labels") and not _named(spec, "scores")]
        scored = [spec for spec in others if _named(spec, "scores")]
        if len(named) != 1 or len(scored) != 1:
            raise _unclear(rest, " (which are scores and which labels?)")
        labels = named[0]
    (scores,) = (spec for spec in others if spec is not labels)
    listed = len(scores.shape) == len(labels.shape) and len(scores.shape) < 3
    if not scores.dtype.startswith("float") or not listed:
        raise _unclear(rest)
    where, score, label = boxes[0].name, scores.name, labels.name

    def decode(outputs: Outputs) -> Boxes:
        found = Boxes(
            _wide(outputs[where]).reshape(-1, 4),
            _wide(outputs[score]).reshape(-1),
            _wide(outputs[label]).reshape(-1),
        )
        return _first(found, outputs, count)

    return "boxes, scores and labels", decode


def _named(spec: TensorSpec, role: str) -> bool:
    return any(word in spec.name.lower() for word in WORDS[role])


def _rows(
    name: str,
    box: slice,
    score: int,
    label: int,
    count: str | None = None,
    image: int | None = None,
) -> Decoder:
    """A row for each box; ``image`` is negative in rows that are none."""

    def decode(outputs: Outputs) -> Boxes:
        array = outputs[name]
        rows = _wide(array).reshape(-1, array.shape[-1])
        if image is not None:
            rows = rows[rows[:, image] >= 0]
        return _first(Boxes(rows[:, box], rows[:, score], rows[:, label]), outputs, count)

    return decode


def _first(boxes: Boxes, outputs: Outputs, count: str | None) -> Boxes:
    if count is None or len(boxes.scores) == 0:
        return boxes
    valid = max(0, int(outputs[count].reshape(-1)[0]))
    return Boxes(*(each[:valid] for each in boxes))


def _raw(name: str, *, objectness: bool) -> Decoder:
    """A row for each cell (or a column, without ``objectness``), of which none is suppressed."""

    def decode(outputs: Outputs) -> Boxes:
        table = _wide(outputs[name])[0]
        rows = table if objectness else table.T
        scores = rows[:, 5:] * rows[:, 4:5] if objectness else rows[:, 4:]
        labels = scores.argmax(axis=1)
        half = rows[:, 2:4] / 2
        corners = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
        best = scores[np.arange(len(labels)), labels]
        return Boxes(corners, best, labels.astype(np.float64))

    return decode


def _wide(array: Array) -> Floats:
    return np.asarray(array, np.float64)
