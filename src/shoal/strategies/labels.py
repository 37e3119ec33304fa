"""Whether the folders of labelled images are called by the classes that the network tells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shoal.errors import DataError

LEAST = 3
"""Images of each class, in the mean, below which nothing is said."""
NAMED = 3
"""Classes that the message names."""


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
