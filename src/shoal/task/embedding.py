"""Embeddings: the angle between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from shoal.errors import PlanError
from shoal.model.dtypes import Array
from shoal.model.spec import TensorSpec
from shoal.task.agreement import NOTHING, WRONG, Agreement, Judge, Outputs, Task, worst


@dataclass(frozen=True)
class Embedding(Task):
    """Numbers whose direction means something.

    The score is the cosine of the flattened outputs, at least 0; ``apart`` is the angle between
    them over pi. Numbers that are all 0 have no direction: an image that is so embedded says
    nothing.
    """

    outputs: tuple[str, ...]
    name: ClassVar[str] = "embedding"

    @classmethod
    def of(cls, outputs: Sequence[TensorSpec]) -> Embedding:
        """The task of these outputs; PlanError where one holds no floats."""
        for spec in outputs:
            if not spec.dtype.startswith("float"):
                raise PlanError(
                    f"task: the output {spec.name!r} holds {spec.dtype}, and an embedding is of "
                    "floats"
                )
        return cls(tuple(spec.name for spec in outputs))

    @property
    def measured(self) -> str:
        return "embeddings (cosine)"

    @property
    def smooth(self) -> bool:
        return True

    def _judge(self, whole: Outputs) -> Judge:
        expected = {name: _direction(whole[name]) for name in self.outputs}

        def agreement(found: Outputs) -> Agreement:
            return worst(_alike(each, _direction(found[name])) for name, each in expected.items())

        return Judge(any(each is not None for each in expected.values()), agreement)


def _direction(array: Array) -> npt.NDArray[np.float64] | None:
    """The vector of length 1; None where there is none."""
    wide = array.astype(np.float64).reshape(-1)
    largest = float(np.abs(wide).max(initial=0.0))
    if not 0 < largest < math.inf:
        return None
    wide = wide / largest  # so that no square is too large or too small
    return np.asarray(wide / np.linalg.norm(wide), np.float64)


def _alike(
    expected: npt.NDArray[np.float64] | None, found: npt.NDArray[np.float64] | None
) -> Agreement:
    if expected is None and found is None:
        return NOTHING
    if expected is None or found is None or expected.shape != found.shape:
        return WRONG
    # Of unit vectors; exact for small angles too, where a cosine is not.
    half = min(1.0, float(np.linalg.norm(expected - found)) / 2)
    return Agreement(max(0.0, 1 - 2 * half * half), 2 * math.asin(half) / math.pi)
