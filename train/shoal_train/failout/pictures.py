"""What is learned from: a data set with labels, or a folder of images with the network's own
answers for labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from shoal.errors import DataError, UnsupportedModelError
from shoal.model.network import Network
from shoal.model.spec import TensorSpec
from shoal.plan.network import Array
from shoal.strategies.labels import check_labels
from shoal.strategies.shards.trials import batches
from shoal_train import datasets
from shoal_train.datasets import DataSet, Split
from shoal_train.folder import FOLDER_PREFIX, check_bytes, fed, read_folder
from shoal_train.seeding import generator


class Pictures(NamedTuple):
    """Images with labels; ``own`` says that these are the network's own answers."""

    data: DataSet
    own: bool


def load(name: str, network: Network, seed: int) -> Pictures:
    """The data set ``name`` for a network, or with ``images:FOLDER`` the photos of a folder, of
    which half are to learn from; where they lie in no folders of classes their labels are the
    network's own answers. DataError where they do not fit the network; UnsupportedModelError where
    it is none that tells one of several classes for an image."""
    spec = _input(network)
    check_bytes(name, network)
    if name.startswith(FOLDER_PREFIX):
        found = _folder(name.removeprefix(FOLDER_PREFIX), network, seed)
    else:
        found = Pictures(datasets.load(name), own=False)
    data = found.data
    if data.shape != spec.shape[1:]:
        raise DataError(
            f"data set {data.name} has images of {list(data.shape)}, the network takes "
            f"{list(spec.shape[1:])}; give those that it was trained on"
        )
    classes = network.outputs[0].shape[1]
    if len(data.classes) != classes:
        raise DataError(
            f"data set {data.name} has {len(data.classes)} classes, the network tells {classes} "
            "apart; give the one that it was trained on"
        )
    return found


def answers(network: Network, images: NDArray[np.uint8]) -> Array:
    """The scores of the whole network, a row for each image."""
    name, output = network.inputs[0].name, network.outputs[0].name
    made = [
        network.run({name: fed(feeds[name], network.inputs[0])})[output]
        for feeds in batches(network, images)
    ]
    return np.concatenate(made)


def _input(network: Network) -> TensorSpec:
    specs = (*network.inputs, *network.outputs)
    if len(specs) == 2:
        taken, given = specs
        free = taken.shape[:1] == given.shape[:1] == (None,)
        known = len(taken.shape) == 4 and len(given.shape) == 2 and None not in given.shape[1:]
        if free and known and taken.dtype in ("uint8", "float32"):
            return taken
    raise UnsupportedModelError(
        f"{network.name!r} takes {_words(network.inputs)} and gives {_words(network.outputs)}; "
        "what is trained here takes images [batch, channels, height, width] and gives scores "
        "[batch, classes]"
    )


def _words(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(
        f"{each.dtype} {['batch' if size is None else size for size in each.shape]}"
        for each in specs
    )


def _folder(folder: str, network: Network, seed: int) -> Pictures:
    wanted = TensorSpec(network.inputs[0].name, "uint8", network.inputs[0].shape)
    images, known = read_folder(folder, wanted, network.preprocessing)
    if len(images) < 4:
        raise DataError(f"{folder} holds {len(images)} images; give some hundreds")
    own = answers(network, images).argmax(axis=1)
    if known is not None:
        check_labels(known.tolist(), own.tolist(), FOLDER_PREFIX + folder)
    shuffled = torch.randperm(len(images), generator=generator(seed, "halves")).numpy()
    half = Split(images, own if known is None else known)
    data = DataSet(
        name=FOLDER_PREFIX + folder,
        train=half.take(shuffled[::2]),
        test=half.take(shuffled[1::2]),
        classes=tuple(map(str, range(network.outputs[0].shape[1] or 0))),
        licence="unknown",
        homepage="",
        mirrored=True,
    )
    return Pictures(data, own=known is None)
