"""The task of a network: the one that the user names, or the one that its graph shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from shoal.errors import PlanError
from shoal.task.agreement import Task
from shoal.task.classifier import Classifier
from shoal.task.detector import Detector
from shoal.task.embedding import Embedding
from shoal.task.guesses import guess
from shoal.task.own import Own
from shoal.task.segmenter import Segmenter
from shoal.task.sequence import Sequence

if TYPE_CHECKING:
    from shoal.model.network import Network

MAKERS: dict[str, Callable[[Network], Task]] = {
    "classifier": lambda network: Classifier.of(network.outputs),
    "detector": lambda network: Detector.of(network.inputs, network.outputs),
    "segmenter": lambda network: Segmenter.of(network.inputs, network.outputs),
    "embedding": lambda network: Embedding.of(network.outputs),
    "sequence": lambda network: Sequence.of(network.outputs),
}
"""What each task makes of a network; PlanError where it is none for it."""

CHOICE = f"--task {', '.join(MAKERS)} (of CTC sequence:BLANK), or --agreement FILE:FUNCTION"


def check_task(name: str) -> None:
    """PlanError for a name that is no task."""
    kind, colon, blank = name.partition(":")
    if kind not in MAKERS or (colon and not (kind == "sequence" and blank.isdecimal())):
        raise PlanError(f"task: there is no {name!r}; give {CHOICE}")


def task_of(network: Network, name: str | None = None, agreement: str | None = None) -> Task:
    """What a network is for: as the user's function ``agreement`` or the task ``name`` says, else
    as its graph shows.

    Raises PlanError where the graph does not show it, or does not fit what is said; DataError for
    a function that cannot be had.
    """
    if agreement is not None:
        return Own.of(agreement)
    if name is None:
        found = guess(network)
        if found.name is None:
            raise PlanError(
                f"it is not clear what {network.name!r} is for, so nothing can be promised of its "
                f"answers ({found.why}): give {CHOICE}"
            )
        name = found.name
    check_task(name)
    kind, _, blank = name.partition(":")
    if blank:
        return Sequence.of(network.outputs, int(blank))
    return MAKERS[kind](network)
