"""Images to learn exits from, and others that they are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shoal.errors import DataError, UnsupportedModelError
from shoal.model.dtypes import Array
from shoal.model.exits import MAX_IMAGES
from shoal.model.network import Network
from shoal.model.spec import TensorSpec
from shoal_train import datasets
from shoal_train.folder import FOLDER_PREFIX, check_bytes, read_folder
from shoal_train.seeding import derive

LEAST = 30
"""Images that are needed at least."""

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Some:
    """Inputs of a network, a row for each image, and their classes (None: not known)."""

    inputs: Array
    labels: Labels | None

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, chosen: NDArray[np.int64]) -> Some:
        """The images with these numbers."""
        return Some(self.inputs[chosen], None if self.labels is None else self.labels[chosen])


@dataclass(frozen=True)
class Material:
    """Images to ``learn`` from; and three lots that nothing was learned from, none of them in two:
    for the ``temperatures``, for the ``table``, and those that the result is ``judged`` by."""

    name: str
    learn: Some
    temperatures: Some
    table: Some
    judged: Some


def ends(network: Network) -> tuple[TensorSpec, TensorSpec]:
    """The input and the output of a network that tells classes apart. UnsupportedModelError for any
    other."""
    specs = (*network.inputs, *network.outputs)
    if len(specs) == 2:
        taken, given = specs
        one = taken.shape[:1] == given.shape[:1] and taken.shape[:1] in ((None,), (1,))
        classes = len(given.shape) == 2 and given.shape[1] is not None and given.shape[1] > 1
        if one and classes and given.dtype.startswith("float"):
            return taken, given
    shown = ", ".join(f"{spec.name!r} {list(spec.shape)}" for spec in network.outputs)
    raise UnsupportedModelError(
        f"{network.name!r} gives {shown} for {len(network.inputs)} inputs, and exits are for a "
        "network that takes one input and gives scores of two classes at least [batch, classes]"
    )


def gather(
    name: str,
    network: Network,
    most: int,
    seed: int,
    say: Callable[[str], None] = lambda text: None,
) -> Material:
    """The images of a data set, or those in ``images:FOLDER``, half of which are to learn from;
    ``most`` are learned from. ``say`` hears of downloads. DataError for what does not fit the
    network, or is too little."""
    taken, given = ends(network)
    if name.startswith(FOLDER_PREFIX):
        learn, held = _folder(name.removeprefix(FOLDER_PREFIX), network, seed)
    else:
        check_bytes(name, network)
        data = datasets.load(name, say)
        learn, held = (Some(each.images, each.labels) for each in (data.train, data.test))
    for some in (learn, held):
        _check(some, taken, given.shape[1] or 0, name)
    learn = learn.take(_shuffled(len(learn), seed, "learn")[:most])
    order = _shuffled(len(held), seed, "held")
    third = min(len(held) // 3, MAX_IMAGES)
    if third < LEAST // 3:
        raise DataError(f"{name}: {len(held)} images to hold exits against; give {LEAST} at least")
    temperatures, table, judged = np.split(order, [third, 2 * third])
    return Material(name, learn, held.take(temperatures), held.take(table), held.take(judged))


def _check(some: Some, taken: TensorSpec, classes: int, name: str) -> None:
    if some.inputs.shape[1:] != taken.shape[1:]:
        raise DataError(
            f"{name} has images of {list(some.inputs.shape[1:])}, the network takes "
            f"{list(taken.shape[1:])}; give those that it was trained on"
        )
    if some.inputs.dtype != np.dtype(taken.dtype) and not taken.dtype.startswith("float"):
        raise DataError(f"{name} has images of {some.inputs.dtype}, not of {taken.dtype}")
    if some.labels is not None and some.labels.max(initial=0) >= classes:
        raise DataError(
            f"{name} has class {some.labels.max()}, the network tells {classes} apart (0 to "
            f"{classes - 1}); give the data that it was trained on"
        )


def _folder(folder: str, network: Network, seed: int) -> tuple[Some, Some]:
    every = Some(*read_folder(folder, network.inputs[0], network.preprocessing))
    order = _shuffled(len(every), seed, "halves")
    return every.take(order[::2]), every.take(order[1::2])


def _shuffled(count: int, seed: int, purpose: str) -> NDArray[np.int64]:
    return np.random.default_rng(derive(seed, "exits", purpose)).permutation(count)
