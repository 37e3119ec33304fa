"""Sequences: the edits from one to the other."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from shoal.errors import PlanError
from shoal.model.dtypes import Array
from shoal.model.spec import TensorSpec
from shoal.task.agreement import NOTHING, WRONG, Agreement, Judge, Outputs, Task, worst
from shoal.task.divergence import divergence

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sequence(Task):
    """Scores of the classes at each step (or their numbers): text, sounds, tags.

    With a ``blank`` it is read as CTC has it: the class named first at each step, repeats once, no
    blanks (Graves et al., ICML 2006). Without one each step counts, as for tags: nothing is taken
    out that might be an error. The score is 1 minus the edits (Levenshtein 1966) over the length
    of the longer sequence; ``apart`` is the mean divergence of the steps in bits.
    """

    outputs: tuple[TensorSpec, ...]
    blank: int | None = None
    name: ClassVar[str] = "sequence"

    @classmethod
    def of(cls, outputs: Items[TensorSpec], blank: int | None = None) -> Sequence:
        """The task of these outputs; PlanError where one is no sequence, or lacks the blank."""
        for spec in outputs:
            if not (is_steps(spec) or _is_tokens(spec)):
                raise PlanError(
                    f"task: the output {spec.name!r} ({spec.dtype} {list(spec.shape)}) is no "
                    "sequence: that is [batch, steps, classes] of floats, or [batch, steps] of "
                    "whole numbers"
                )
            classes = spec.shape[-1]
            if blank is not None and is_steps(spec) and not 0 <= blank < (classes or blank + 1):
                raise PlanError(
                    f"task: sequence:{blank}: the output {spec.name!r} tells {classes} classes "
                    f"apart, and the blank is one of them, 0 to {(classes or 1) - 1}"
                )
        return cls(tuple(outputs), blank)

    @property
    def measured(self) -> str:
        return "sequences (1 - edits over length)"

    @property
    def key(self) -> str:
        return f"sequence {self.blank}"

    @property
    def smooth(self) -> bool:
        return all(map(is_steps, self.outputs))

    def _judge(self, whole: Outputs) -> Judge:
        expected = {spec.name: whole[spec.name] for spec in self.outputs}
        read = {name: self._read(array) for name, array in expected.items()}

        def agreement(found: Outputs) -> Agreement:
            return worst(
                self._alike(array, read[name], found[name]) for name, array in expected.items()
            )

        return Judge(any(tokens.size for tokens in read.values()), agreement)

    def _read(self, array: Array) -> Tokens:
        tokens = _steps(array).argmax(axis=-1) if array.dtype.kind == "f" else array.reshape(-1)
        tokens = tokens.astype(np.int64)
        if self.blank is None:
            return tokens
        first = np.ones(len(tokens), bool)
        first[1:] = tokens[1:] != tokens[:-1]
        return np.asarray(tokens[first & (tokens != self.blank)], np.int64)

    def _alike(self, expected: Array, read: Tokens, found: Array) -> Agreement:
        other = self._read(found)
        longest = max(len(read), len(other))
        if not longest:
            return NOTHING
        score = 1 - edits(read, other) / longest
        if expected.dtype.kind != "f":
            return Agreement(score, 1 - score)
        steps, others = _steps(expected), _steps(found)
        if steps.shape != others.shape:
            return Agreement(score, WRONG.apart)
        return Agreement(score, float(divergence(steps, others).mean()))


def edits(one: Tokens, other: Tokens) -> int:
    """The fewest tokens to insert, delete or replace."""
    row = np.arange(len(other) + 1)
    for count, token in enumerate(one, 1):
        step = np.empty_like(row)
        step[0] = count
        step[1:] = np.minimum(row[1:] + 1, row[:-1] + (other != token))
        # Inserts: the least of all to the left, and one more for each place.
        places = np.arange(len(step))
        row = np.minimum.accumulate(step - places) + places
    return int(row[-1])


def is_steps(spec: TensorSpec) -> bool:
    """Whether an output has scores of classes for each step of an image."""
    shape = spec.shape
    one = len(shape) == 3 and (shape[0] in (None, 1) or shape[1] == 1)
    return one and (shape[-1] or 0) > 1 and spec.dtype.startswith("float")


def _is_tokens(spec: TensorSpec) -> bool:
    batch = len(spec.shape) == 2 and spec.shape[0] in (None, 1)
    return batch and spec.dtype.startswith(("int", "uint"))


def _steps(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])
