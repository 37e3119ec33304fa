"""Data sets of labelled images: looked for, read, checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shoal.cache import cache_folder, expanded, is_file
from shoal.errors import DataError, UsageError
from shoal_train.idx import read_idx
from shoal_train.sources import SOURCES, Source, SourceFile, fetch

FOLDER_PREFIX = "imagefolder:"


@dataclass(frozen=True)
class Split:
    """Images ``(count, channels, height, width)`` in bytes, and a class number for each."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"images {self.images.shape} and labels {self.labels.shape} do not belong together"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: NDArray[np.int64]) -> Split:
        """The images with these numbers, in this order."""
        return Split(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class DataSet:
    """A named data set with its two halves."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    licence: str
    homepage: str
    mirrored: bool
    """Whether an image seen in a mirror is still of its class (clothes: yes, digits: no)."""

    def __post_init__(self) -> None:
        for kind, split in (("training", self.train), ("test", self.test)):
            if not len(split):
                raise DataError(f"data set {self.name}: there is no {kind} image")
            wrong = split.labels[(split.labels < 0) | (split.labels >= len(self.classes))]
            if len(wrong):
                raise DataError(
                    f"data set {self.name}: {kind} label {wrong[0]} is not one of the "
                    f"{len(self.classes)} classes"
                )
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise DataError(f"data set {self.name}: training and test images differ in shape")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    @property
    def sha256(self) -> str:
        """A hash over all images and labels, in their order."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            for array in (split.images, split.labels):
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def load(name: str, say: Callable[[str], None] = lambda text: None) -> DataSet:
    """The data set ``name``: one of ``SOURCES``, or ``imagefolder:PATH``.

    A known one is looked for in the folder ``<name>/`` of the folder that ``SHOAL_DATA`` names,
    then in Shoal's cache, and is downloaded into the cache at last; ``say`` hears of that. Its
    files must be the published ones (by hash of the content), wherever they lie.

    Raises ``UsageError`` for an unknown name and ``DataError`` for what is missing or damaged.
    """
    if name.startswith(FOLDER_PREFIX):
        from shoal_train.imagefolder import load_folder

        return load_folder(expanded(name.removeprefix(FOLDER_PREFIX)))
    if name not in SOURCES:
        raise UsageError(
            f"there is no data set {name!r}: use {', '.join(sorted(SOURCES))} or imagefolder:PATH; "
            "exits and failout also take images:FOLDER"
        )
    source = SOURCES[name]
    return read_source(source, find(source, say))


def find(source: Source, say: Callable[[str], None]) -> Path:
    """The folder that holds all files of ``source``, after a download if there is none."""
    cache = cache_folder() / "data" / source.name
    named = os.environ.get("SHOAL_DATA")
    places = [expanded(named) / source.name] if named else []
    for place in (*places, cache):
        if all(is_file(place / file.name) for file in source.files):
            return place
    fetch(source, cache, say)
    return cache


def read_source(source: Source, folder: Path) -> DataSet:
    """Read the four files of ``source`` from ``folder`` and check that they are the published."""
    return DataSet(
        name=source.name,
        train=_split(
            _published(folder, source.train_images), _published(folder, source.train_labels)
        ),
        test=_split(_published(folder, source.test_images), _published(folder, source.test_labels)),
        classes=source.classes,
        licence=source.licence,
        homepage=source.homepage,
        mirrored=source.mirrored,
    )


def _published(folder: Path, file: SourceFile) -> NDArray[np.uint8]:
    path = folder / file.name
    array, sha256 = read_idx(path)
    if sha256 != file.sha256:
        raise DataError(
            f"{path} is not the published file (SHA-256 of its content {sha256} instead of "
            f"{file.sha256}): replace it, or delete it to have it downloaded"
        )
    return array


def _split(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
    if images.ndim != 3:
        raise DataError(f"images must have three dimensions, not {images.ndim}")
    return Split(images[:, np.newaxis], labels.astype(np.int64))


def balanced(labels: NDArray[np.int64], classes: int, per_class: int) -> NDArray[np.int64]:
    """The numbers of the first ``per_class`` images of each class, in the order of the file.

    A fixed choice that nobody's eye had a part in. A class with fewer images gives all it has.
    """
    first = [np.flatnonzero(labels == number)[:per_class] for number in range(classes)]
    return np.sort(np.concatenate(first))
