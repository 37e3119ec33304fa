"""Photos for benches: those of a folder named by SHOAL_PHOTOS, or made-up ones.

What activations compress to depends on what is seen, so that numbers should be taken on photos;
without a folder a made-up picture stands in (the spectrum of a photo, some flat discs), and
:func:`source` says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.errors import DataError
from shoal.picture import files_in

VARIABLE = "SHOAL_PHOTOS"


def source() -> str:
    """Where photos are taken from, in words."""
    folder = os.environ.get(VARIABLE)
    return f"photos of {folder}" if folder else f"made-up pictures (set {VARIABLE} to a folder)"


def photos(count: int) -> Iterator[npt.NDArray[np.uint8]]:
    """``count`` inputs of shape (1, 3, 224, 224), spread evenly over the folder.

    Raises DataError when the folder holds no photo.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        yield from (made_up(number) for number in range(count))
        return
    from shoal.model.photo import prepared
    from shoal.model.spec import TensorSpec

    spec = TensorSpec("image", "uint8", (None, 3, 224, 224))
    files = files_in(Path(folder))
    if not files:
        raise DataError(f"there is no photo in {folder}: set {VARIABLE} to a folder that has some")
    for number in range(count):
        yield prepared(files[number * len(files) // count % len(files)], spec)


def made_up(seed: int, side: int = 224) -> npt.NDArray[np.uint8]:
    """A picture whose amplitudes fall as 1 / frequency, as those of photos do (Field 1987), with
    discs of one colour that make edges."""
    random = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / side)
    waves = np.exp(2j * np.pi * random.random((3, *amplitude.shape))) * amplitude
    waves[1:] = 0.8 * waves[:1] + 0.2 * waves[1:]  # colours go together
    picture: npt.NDArray[Any] = np.fft.irfft2(waves, (side, side))
    picture = 127 + 50 * picture / picture.std()
    y, x = np.mgrid[:side, :side]
    for _ in range(4):
        height, width, radius = random.uniform(0, side, 3)
        disc = np.hypot(y - height, x - width) < radius / 4
        picture[:, disc] = random.uniform(0, 255, (3, 1))
    made: npt.NDArray[np.uint8] = np.clip(picture, 0, 255).astype(np.uint8)[None]
    return made
