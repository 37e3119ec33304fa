"""How a photo becomes an input of EfficientNet-Lite (needs Pillow, extra ``images``).

Source: the preprocessing of the reference implementation of EfficientNet-Lite (TensorFlow TPU
models): a central crop and bicubic resize. Its ``(pixel - 127) / 128`` is part of the network in
the zoo, so that an image travels as its bytes and not as four times as many.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shoal.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from PIL import Image

SIDE = 224
CROP = 224 / 256
"""The side of the central square, as a share of the photo's short side."""
MEAN, SCALE = 127.0, 128.0
"""Of the reference implementation, for every channel."""
CLASSES = 1000
MAX_SIDE = 16_384


def preprocess(image: Image.Image | Path | str) -> NDArray[np.uint8]:
    """The input ``(1, 3, 224, 224)``, RGB, for a photo, given as a Pillow image or a file.

    Raises ``InputError`` for a file that is not an image or is too large.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(
            "reading photos needs Pillow: pip install 'shoal[images]'"
        ) from error
    if isinstance(image, Image.Image):
        return _preprocess(image, "the image")
    try:
        with Image.open(image) as opened:
            return _preprocess(opened, str(image))
    # Pillow raises SyntaxError and ValueError for some damaged headers.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the image {image}: {error}") from error


def _preprocess(image: Image.Image, name: str) -> NDArray[np.uint8]:
    from PIL import Image

    if max(image.size) > MAX_SIDE:
        raise InputError(f"{name} is {image.width}x{image.height}; the limit is {MAX_SIDE} a side")
    side = max(1, round(CROP * min(image.size)))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.convert("RGB").crop((left, top, left + side, top + side))
    square = square.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pixels = np.asarray(square, np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])
