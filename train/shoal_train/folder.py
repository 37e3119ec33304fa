"""Images in a folder of one's own (``images:FOLDER``), and as what a network takes them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.errors import DataError
from shoal.model.dtypes import Array
from shoal.model.graph import elements
from shoal.model.spec import TensorSpec
from shoal.plan.size import readable
from shoal.strategies.images import open_folder

FOLDER_PREFIX = "images:"
MAX_BYTES = 4 << 30
"""Of all images of a folder together, decoded."""


class Found(NamedTuple):
    """Inputs, a row for each image, and their classes (None: not known)."""

    inputs: Array
    labels: NDArray[np.int64] | None


def read_folder(folder: str, spec: TensorSpec) -> Found:
    """All images in a folder as inputs of the type and shape ``spec``. DataError for a folder that
    holds none, or more than :data:`MAX_BYTES`."""
    found = open_folder(folder, (spec,))
    need = found.count * elements(spec.shape) * np.dtype(spec.dtype).itemsize
    if need > MAX_BYTES:
        raise DataError(f"{folder} needs {readable(need)} decoded; {readable(MAX_BYTES)} are read")
    rows, labels = zip(*found, strict=True)
    known = np.array(labels, np.int64) if found.labelled else None
    return Found(np.concatenate([row[spec.name] for row in rows]), known)


def fed(images: Array, spec: TensorSpec) -> Array:
    """Images as the network takes them: bytes from 0 to 1 where it takes floats, else as they
    are."""
    if images.dtype == np.uint8 and spec.dtype != "uint8":
        return (images / np.float32(255)).astype(spec.dtype)
    return images
