"""What a task is: how alike two answers to one image are, for what the network is for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np

from shoal.model.dtypes import Array

Outputs: TypeAlias = Mapping[str, Array]
"""The outputs of a network for one image, by name."""


class Agreement(NamedTuple):
    """How alike two answers are: ``score`` from 0 to 1, None where the image says nothing (neither
    holds anything); ``apart`` from 0 (equal) to 1, finer than the score."""

    score: float | None
    apart: float = 0.0


NOTHING = Agreement(None)
WRONG = Agreement(0.0, 1.0)


class Judge(NamedTuple):
    """The whole network's answer to one image, by which others are judged. ``says``: whether it
    holds anything; ``top1`` is its class, where it is one."""

    says: bool
    agreement: Callable[[Outputs], Agreement]
    top1: int | None = None


class Task(ABC):
    """What a network is for. Subclasses are frozen dataclasses: equal ones judge alike."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def measured(self) -> str:
        """What the score is a share of, in words: ``boxes (F1 at IoU 0.5)``."""

    @property
    def key(self) -> str:
        """Names all that a score depends on beside the answers."""
        return self.name

    @property
    def classes(self) -> int | None:
        """How many classes the network tells apart, where images can be labelled by one."""
        return None

    @property
    def smooth(self) -> bool:
        """Whether ``apart`` changes little where the outputs do. Where things are counted, one that
        lies at an edge may come or go."""
        return False

    def judge(self, whole: Outputs) -> Judge:
        """What judges other answers to the image that the whole network answers so.

        Raises DataError for an answer that is none of this task.
        """
        if not _numbers(whole):
            return Judge(False, lambda found: NOTHING)
        made = self._judge(whole)

        def agreement(found: Outputs) -> Agreement:
            if not _numbers(found):
                return WRONG
            score, apart = made.agreement(found)
            return Agreement(score, min(1.0, max(0.0, apart)) if math.isfinite(apart) else 1.0)

        return made._replace(agreement=agreement)

    def compare(self, whole: Outputs, found: Outputs) -> Agreement:
        """How alike the answer ``found`` to an image is to the whole network's."""
        return self.judge(whole).agreement(found)

    @abstractmethod
    def _judge(self, whole: Outputs) -> Judge: ...


def _numbers(outputs: Outputs) -> bool:
    return not any(np.isnan(array).any() for array in outputs.values() if array.dtype.kind == "f")


def worst(found: Iterable[Agreement]) -> Agreement:
    """Of a network with several outputs the one that is least alike counts; an output that says
    nothing does not."""
    said = [each for each in found if each.score is not None]
    if not said:
        return NOTHING
    return Agreement(
        min(each.score for each in said if each.score is not None),
        max(each.apart for each in said),
    )
