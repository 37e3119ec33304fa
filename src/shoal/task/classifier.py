"""Classifiers: the class named first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from shoal.errors import PlanError
from shoal.model.dtypes import Array
from shoal.model.spec import TensorSpec
from shoal.task.agreement import Agreement, Judge, Outputs, Task, worst
from shoal.task.divergence import divergence


@dataclass(frozen=True)
class Classifier(Task):
    """A row of scores for each image, one for each class; or the number of the class itself.

    The score is 1 where the same class comes first, else 0; ``apart`` is the Jensen-Shannon
    divergence of the rows in bits. Of several rows (age, kind) all must name the same.
    """

    outputs: tuple[TensorSpec, ...]
    name: ClassVar[str] = "classifier"

    @classmethod
    def of(cls, outputs: Sequence[TensorSpec]) -> Classifier:
        """The classifier with these outputs; PlanError where one is no row of scores."""
        for spec in outputs:
            if not (is_row(spec) or is_number(spec)):
                raise PlanError(
                    f"task: the output {spec.name!r} ({spec.dtype} {list(spec.shape)}) is no row "
                    "of scores of classes for each image, so this is no classifier"
                )
        return cls(tuple(outputs))

    @property
    def measured(self) -> str:
        return "classes (top-1)"

    @property
    def classes(self) -> int | None:
        if len(self.outputs) != 1 or not is_row(self.outputs[0]):
            return None
        return math.prod(size or 1 for size in self.outputs[0].shape[1:])

    @property
    def smooth(self) -> bool:
        return all(map(is_row, self.outputs))

    def _judge(self, whole: Outputs) -> Judge:
        expected = {spec.name: whole[spec.name].reshape(-1) for spec in self.outputs}

        def agreement(found: Outputs) -> Agreement:
            return worst(_alike(row, found[name].reshape(-1)) for name, row in expected.items())

        top1 = None
        if self.classes is not None:
            top1 = int(expected[self.outputs[0].name].argmax())
        return Judge(True, agreement, top1)


def _alike(expected: Array, found: Array) -> Agreement:
    if expected.dtype.kind != "f":
        same = bool((expected == found).all())
        return Agreement(float(same), 0.0 if same else 1.0)
    same = expected.argmax() == found.argmax()
    return Agreement(float(same), float(divergence(expected[None], found[None])[0]))


def is_row(spec: TensorSpec) -> bool:
    """Whether an output is a row of two floats or more for each image."""
    sides = [size for size in spec.shape[1:] if size != 1]
    batch = len(spec.shape) > 1 and spec.shape[0] in (None, 1)
    row = len(sides) == 1 and sides[0] is not None and sides[0] > 1
    return batch and row and spec.dtype.startswith("float")


def is_number(spec: TensorSpec) -> bool:
    """Whether an output is one whole number for each image."""
    one = all(size == 1 for size in spec.shape[1:]) and spec.shape[:1] in ((None,), (1,))
    return one and spec.dtype.startswith(("int", "uint"))
