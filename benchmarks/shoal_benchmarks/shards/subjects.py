"""The trained networks whose layers are dealt, with images to judge by and others to measure on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shoal.model.network import Network
from shoal.plan.network import Array
from shoal.strategies.images import open_folder
from shoal.strategies.shards.failures import Sample
from shoal.strategies.shards.prepare import judged
from shoal.task import task_of
from shoal_benchmarks.shards.texts import lines
from shoal_benchmarks.subjects import FASHION, FASHION_VGG, LITE0, TEXT_ANGLE, load

log = logging.getLogger("shoal")

VARIABLE = "SHOAL_DATA"
FASHION_DATA, PHOTOS = "fashion-mnist", "photos"
CALIBRATION = 512
"""Images by which units are judged, of the training set or made up."""
TEXTS = 4_000
"""Lines of text to measure on."""


@dataclass(frozen=True)
class Subject:
    """A network. Units are judged, and what is missing rebuilt, by the images of ``calibration``;
    what is kept is measured on those of ``test``. Without labels what counts is the answer of the
    whole network."""

    name: str
    network: Network
    calibration: Sample
    test: Sample


def fashion() -> Subject | None:
    """The small network that ships, with the test images of Fashion-MNIST."""
    return _of_fashion(FASHION)


def fashion_vgg() -> Subject | None:
    """A VGG that is trained here the first time, with the same."""
    return _of_fashion(FASHION_VGG)


def _of_fashion(name: str) -> Subject | None:
    folder = _folder(FASHION_DATA)
    network = None if folder is None else load(name)
    if network is None:
        return None
    from shoal_train import datasets

    data = datasets.load(FASHION_DATA)

    def sample(images: Array, labels: Array) -> Sample:
        inputs = images.astype(np.float32) / 255
        return Sample(inputs, tuple(map(int, labels)), judged(network, task_of(network), inputs))

    shown = sample(data.train.images[:CALIBRATION], data.train.labels[:CALIBRATION])
    return Subject(name, network, shown, sample(data.test.images, data.test.labels))


def text_angle() -> Subject | None:
    """A network that others trained, with lines of text that are made up."""
    network = load(TEXT_ANGLE)
    if network is None:
        return None

    def sample(seeds: Sequence[int]) -> Sample:
        inputs, labels = lines(seeds)
        return Sample(inputs, labels, judged(network, task_of(network), inputs))

    return Subject(
        TEXT_ANGLE,
        network,
        sample(range(CALIBRATION)),
        sample(range(CALIBRATION, CALIBRATION + TEXTS)),
    )


def lite0() -> Subject | None:
    """EfficientNet-Lite0 and photos without labels: calibrated on one folder, measured on the
    other."""
    network, folder = load(LITE0), _folder(PHOTOS)
    if network is None or folder is None:
        return None

    def sample(name: str) -> Sample:
        found = open_folder(folder / name, network.inputs)
        inputs = np.concatenate([row for feeds, _ in found for row in feeds.values()])
        return Sample(inputs, None, judged(network, task_of(network), inputs))

    return Subject(LITE0, network, sample("calibration"), sample("test"))


SUBJECTS: Sequence[Callable[[], Subject | None]] = (fashion, fashion_vgg, text_angle, lite0)


def some(sample: Sample, count: int) -> Sample:
    """At most ``count`` images, spread evenly."""
    if count >= len(sample):
        return sample
    chosen = np.arange(count) * len(sample) // count
    labels = None if sample.labels is None else tuple(sample.labels[k] for k in chosen)
    judges = tuple(sample.judges[k] for k in chosen)
    return replace(sample, images=sample.images[chosen], labels=labels, judges=judges)


def _folder(name: str) -> Path | None:
    """A folder of the data; None, and a line in the log, where it is not there."""
    root = os.environ.get(VARIABLE)
    if root and (Path(root) / name).is_dir():
        return Path(root) / name
    log.warning("there is no folder %s in that which %s names: left out", name, VARIABLE)
    return None
