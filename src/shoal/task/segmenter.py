"""Segmenters: the overlap of what is marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from shoal.errors import PlanError
from shoal.model.dtypes import Array
from shoal.model.spec import TensorSpec
from shoal.task.agreement import NOTHING, WRONG, Agreement, Judge, Outputs, Task, worst

Kind = Literal["mask", "first", "last", "map"]
"""A score of one thing for each pixel; scores of classes along the first axis, or the last; the
numbers of classes."""
SLACK = 0.25
"""What shares may be beyond 0 and 1: the sigmoid of the engine gives 1.0000001, and a cubic Resize
behind it overshoots by 0.23."""


@dataclass(frozen=True)
class Segmenter(Task):
    """Something said of every pixel.

    Of classes the one with the highest score is taken. The score is the mean, over the classes
    that the whole network finds, of intersection over union (Jaccard 1912); ``apart`` is 1 minus
    the same weighed by pixels. Of one thing alone the mask is compared: what is above 0.5, or, if
    the whole network's values are not all from 0 to 1, above 0 (0.5 of their sigmoid). An image
    with nothing in either mask, or of one class all over in both, says nothing.
    """

    outputs: tuple[tuple[str, Kind], ...]
    name: ClassVar[str] = "segmenter"

    @classmethod
    def of(cls, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Segmenter:
        """The task of these outputs; PlanError where one says nothing of pixels, or it is not clear
        which axis is that of the classes."""
        return cls(tuple((spec.name, _kind(spec, image_sides(inputs))) for spec in outputs))

    @property
    def measured(self) -> str:
        if all(kind == "mask" for _, kind in self.outputs):
            return "masks (IoU)"
        return "masks (mean IoU of the classes)"

    def _judge(self, whole: Outputs) -> Judge:
        expected = {}
        for name, kind in self.outputs:
            bound = 0.5
            if kind == "mask" and whole[name].size:
                inside = whole[name].min() >= -SLACK and whole[name].max() <= 1 + SLACK
                bound = 0.5 if inside else 0.0
            expected[name] = kind, bound, _marked(whole[name], kind, bound)

        def agreement(found: Outputs) -> Agreement:
            return worst(
                _alike(marked, _marked(found[name], kind, bound))
                for name, (kind, bound, marked) in expected.items()
            )

        says = any(_says(marked) for _, _, marked in expected.values())
        return Judge(says, agreement)


def image_sides(inputs: Sequence[TensorSpec]) -> tuple[int, int] | None:
    """Height and width of the one image that a network takes; None where it takes none such."""
    images = [spec.shape for spec in inputs if len(spec.shape) == 4]
    if len(images) != 1:
        return None
    _, first, second, last = images[0]
    if first in (1, 3, 4) and second and last:
        return second, last
    if last in (1, 3, 4) and first and second:
        return first, second
    return None


def _kind(spec: TensorSpec, sides: tuple[int, int] | None) -> Kind:
    shape, wrong = spec.shape, f"task: the output {spec.name!r} ({spec.dtype} {list(spec.shape)})"
    floats = spec.dtype.startswith("float")
    pixels = [size for size in shape[1:] if size != 1]
    if shape[:1] not in ((None,), (1,)) or not 3 <= len(shape) <= 4 or None in shape[1:]:
        raise PlanError(f"{wrong} says nothing of each pixel, so this is no segmenter")
    if len(shape) == 3 or len(pixels) == 2:
        return "mask" if floats else "map"
    if not floats or len(pixels) < 3:
        raise PlanError(f"{wrong} says nothing of each pixel, so this is no segmenter")
    fits: list[Kind] = []
    for kind, (height, width), classes in (
        ("first", pixels[1:], pixels[0]),
        ("last", pixels[:2], pixels[2]),
    ):
        like = sides is not None and (height or 0) * sides[1] == (width or 0) * sides[0]
        if like if sides is not None else (classes or 0) < min(height or 0, width or 0):
            fits.append("first" if kind == "first" else "last")
    if len(fits) > 1 and pixels[0] != pixels[2]:
        fits = ["first" if (pixels[0] or 0) < (pixels[2] or 0) else "last"]
    if len(fits) != 1:
        raise PlanError(
            f"{wrong}: it is not clear which axis is that of the classes; give --agreement "
            "FILE:FUNCTION"
        )
    return fits[0]


def _marked(
    array: Array, kind: Kind, bound: float
) -> npt.NDArray[np.integer] | npt.NDArray[np.bool_]:
    """Of each pixel its class, or whether it is marked."""
    if kind == "mask":
        return np.asarray(array.reshape(-1) > bound)
    if kind == "map":
        return array.reshape(-1).astype(np.int64)
    scores = array.reshape(array.shape[-3:])
    axis = 0 if kind == "first" else 2
    small = np.min_scalar_type(scores.shape[axis] - 1)
    return np.asarray(scores.argmax(axis=axis).reshape(-1).astype(small))


def _says(marked: Array) -> bool:
    if marked.dtype.kind == "b":
        return bool(marked.any())
    return bool(marked.size) and bool((marked != marked[0]).any())


def _alike(expected: Array, found: Array) -> Agreement:
    if expected.shape != found.shape:
        return WRONG
    if expected.dtype.kind == "b":
        union = int((expected | found).sum())
        if not union:
            return NOTHING
        share = int((expected & found).sum()) / union
        return Agreement(share, 1 - share)
    if not _says(expected) and np.array_equal(expected, found):
        return NOTHING
    classes, places = np.unique(np.concatenate([expected, found]), return_inverse=True)
    one, other = np.split(places.reshape(-1), 2)
    count = len(classes)
    mine, its = np.bincount(one, minlength=count), np.bincount(other, minlength=count)
    both = np.bincount(one[one == other], minlength=count)
    there = mine > 0
    shares = both[there] / (mine + its - both)[there]
    weighed = float((shares * mine[there]).sum() / mine.sum())
    return Agreement(float(shares.mean()), 1 - weighed)
