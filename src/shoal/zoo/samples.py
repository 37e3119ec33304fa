"""Sample images with their right answers."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.errors import DataError, UsageError
from shoal.zoo.entries import card, path

FILE = "samples.npz"


@dataclass(frozen=True)
class Samples:
    """Labelled images, ready to be fed to the network that they belong to."""

    images: NDArray[np.float32]
    """``(count, channels, height, width)``, from 0 to 1."""
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    input_name: str

    def __len__(self) -> int:
        return len(self.labels)

    def feed(self, number: int) -> dict[str, NDArray[np.float32]]:
        """The inputs of a run on image ``number``: a batch of one."""
        return {self.input_name: self.images[number][np.newaxis]}

    def feeds(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        """The inputs of a run on each image, in order."""
        return (self.feed(number) for number in range(len(self)))

    def is_right(self, number: int, logits: NDArray[Any]) -> bool:
        """Whether ``logits`` (of image ``number``) are largest at its label."""
        return int(np.argmax(logits)) == int(self.labels[number])


def samples(name: str) -> Samples:
    """The sample images of ``name``. ``UsageError`` if it has none."""
    about = card(name)
    if FILE not in about.files:
        raise UsageError(
            f"no labelled images come with {name}: feed images of your own (see docs/zoo.md)"
        )
    try:
        with np.load(path(name, FILE), allow_pickle=False) as stored:
            images, labels = stored["images"], stored["labels"]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"the sample images of {name} are damaged: install Shoal again") from error
    return Samples(
        images.astype(np.float32) / 255, labels.astype(np.int64), about.classes, about.input_name
    )
