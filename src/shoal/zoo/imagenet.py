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

from shoal.model.spec import TensorSpec
from shoal.photo import prepared

if TYPE_CHECKING:
    from PIL import Image

SIDE = 224


def preprocess(image: Image.Image | Path | str) -> NDArray[np.uint8]:
    """The input ``(1, 3, 224, 224)``, RGB, for a photo, given as a Pillow image or a file.

    Raises ``InputError`` for a file that is not an image or is too large, and for an image that is
    no photo (see :mod:`shoal.picture`); ``MissingExtraError`` without Pillow.
    """
    return prepared(image, TensorSpec("image", "uint8", (None, 3, SIDE, SIDE)))
