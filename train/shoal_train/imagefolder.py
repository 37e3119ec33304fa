"""Images in folders: ``PATH/train/CLASS/*.png`` and ``PATH/test/CLASS/*.png``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shoal import picture
from shoal.cache import is_folder
from shoal.errors import DataError, InputError
from shoal_train.datasets import DataSet, Split

MAX_CLASSES = 10_000
MAX_SIDE = 1024
"""Pixels. Training images are small; larger ones are refused before they are decoded."""
MAX_BYTES = 4 << 30
"""Of all decoded images together."""


def load_folder(root: Path) -> DataSet:
    """Read a data set from ``root``; needs Pillow (extra ``images``).

    Classes are the folder names, sorted, and must be the same for training and test. All images
    must have the same size; they are grey if every one is, otherwise RGB. Whether mirroring is
    harmless cannot be known, so it is taken to be.

    Raises ``DataError`` for a missing or wrong layout, damaged or unequal images, and sizes over
    the limits of this module; ``MissingExtraError`` without Pillow.
    """
    classes = _classes(root / "train")
    if _classes(root / "test") != classes:
        raise DataError(f"{root}: train and test must have folders for the same classes")
    files = {half: _files(root / half, classes) for half in ("train", "test")}
    every = [path for half in files.values() for path, _ in half]
    if not every:
        raise DataError(f"{root} holds no image ({', '.join(sorted(picture.SUFFIXES))})")
    heads = {path: _head(path) for path in every}
    width, height, _ = heads[every[0]]
    for path, (its_width, its_height, _) in heads.items():
        if (its_width, its_height) != (width, height):
            raise DataError(
                f"{path} is {its_width}x{its_height}, but {every[0]} is {width}x{height}: all "
                "images must have one size; resize them first"
            )
    mode: picture.Mode = "L" if all(head.grey for head in heads.values()) else "RGB"
    need = len(every) * width * height * len(mode)
    if need > MAX_BYTES:
        raise DataError(f"{root} needs {need} bytes decoded; at most {MAX_BYTES} are read")
    return DataSet(
        name=f"imagefolder:{root.name}",
        train=_decode(files["train"], mode, width, height),
        test=_decode(files["test"], mode, width, height),
        classes=classes,
        licence="unknown",
        homepage="",
        mirrored=True,
    )


def _classes(folder: Path) -> tuple[str, ...]:
    if not is_folder(folder):
        raise DataError(
            f"{folder} is not there: an image folder holds train/CLASS/*.png and test/CLASS/*.png"
        )
    names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    if not 2 <= len(names) <= MAX_CLASSES:
        raise DataError(f"{folder} holds {len(names)} class folders; 2 to {MAX_CLASSES} are needed")
    return names


def _files(folder: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    try:
        return [
            (path, number)
            for number, name in enumerate(classes)
            for path in picture.files_in(folder / name)
        ]
    except InputError as error:
        raise DataError(str(error)) from None


def _head(path: Path) -> picture.Head:
    """What the head of the file says: sizes are bounded before anything is decoded."""
    try:
        head = picture.read_head(path)
    except InputError as error:
        raise DataError(f"{error}; repair or remove it") from None
    if max(head.width, head.height) > MAX_SIDE:
        raise DataError(
            f"{path} is {head.width}x{head.height}; at most {MAX_SIDE} pixels a side are read"
        )
    return head


def _decode(files: list[tuple[Path, int]], mode: picture.Mode, width: int, height: int) -> Split:
    images = np.empty((len(files), len(mode), height, width), np.uint8)
    for number, (path, _) in enumerate(files):
        try:
            pixels = np.asarray(picture.read(path, mode), np.uint8)
        except InputError as error:
            raise DataError(f"{error}; repair or remove it") from None
        images[number] = pixels.reshape(height, width, len(mode)).transpose(2, 0, 1)
    return Split(images, np.array([label for _, label in files], np.int64))
