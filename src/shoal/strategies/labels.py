"""Whether the folders of images are classes, and called by those that the network tells."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shoal.errors import DataError, PlanError
from shoal.plan.objective import Objective
from shoal.strategies.images import Images
from shoal.task import Classifier, Task

LEAST = 3
"""Images of each class, in the mean, below which nothing is said."""
NAMED = 3
"""Classes that the message names."""

log = logging.getLogger("shoal")


def check_label(label: int, classes: int) -> None:
    """DataError for a label that is none of so many classes."""
    if label >= classes:
        raise DataError(
            f"an image is labelled {label} by its folder, and the network tells {classes} classes "
            f"apart (0 to {classes - 1}); rename the folders"
        )


def labels_count(images: Images, task: Task) -> bool:
    """Whether the folders of images are classes that the network tells apart. Where they are
    classes of something else, they are ignored, with a warning."""
    if images.labelled and task.classes is None:
        log.warning(
            "the folders of the images are no classes here, as %s are compared", task.measured
        )
    return images.labelled and task.classes is not None


def classes_only(objective: Objective, why: str) -> None:
    """PlanError where accuracy is asked of something else than of classes, and ``why`` it is of
    classes here."""
    if objective.agreement is not None or objective.task not in (None, Classifier.name):
        raise PlanError(
            f"{why}, so what is kept is counted in classes: leave --task and --agreement out, or "
            "use another strategy"
        )


def check_labels(labels: Sequence[int], answers: Sequence[int], where: str) -> None:
    """DataError where the network tells the classes apart, but calls most of them otherwise than
    their folders: with other names most images would be right, and with these few are. ``answers``
    are the whole network's classes, ``where`` names the images."""
    told, given = np.asarray(labels), np.asarray(answers)
    names = [int(label) for label in np.unique(told)]
    called = {label: _most(given[told == label]) for label in names}
    if len(told) < LEAST * len(names) or len(set(called.values())) <= len(names) / 2:
        return
    right = int((told == given).sum())
    agreed = sum(int((given[told == label] == name).sum()) for label, name in called.items())
    if agreed < len(told) / 2 or 2 * right >= agreed:
        return
    other = [f"{label} is its {name}" for label, name in called.items() if label != name]
    more = ", ..." if len(other) > NAMED else ""
    raise DataError(
        f"{where}: the network gets {right} of {len(told)} images right by their folders, and "
        f"{agreed} if these were other classes (class {', '.join(other[:NAMED])}{more}): call each "
        "folder by the number of its class; folders with names are numbered in the order of these"
    )


def _most(answers: npt.NDArray[np.int64]) -> int:
    found, counts = np.unique(answers, return_counts=True)
    return int(found[counts.argmax()])
