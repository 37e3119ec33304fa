"""Images in a folder of one's own (``images:FOLDER``), and as what a network takes them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shoal.errors import DataError
from shoal.model.dtypes import Array
from shoal.model.graph import elements
from shoal.model.network import Network
from shoal.model.preprocessing import Preprocessing
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


def read_folder(folder: str, spec: TensorSpec, how: Preprocessing | None = None) -> Found:
    """All images in a folder as inputs of the type and shape ``spec``, photos as ``how``
    says. DataError for a folder that holds none, or more than :data:`MAX_BYTES`."""
    found = open_folder(folder, (spec,), how)
    need = found.count * elements(spec.shape) * np.dtype(spec.dtype).itemsize
    if need > MAX_BYTES:
        raise DataError(f"{folder} needs {readable(need)} decoded; {readable(MAX_BYTES)} are read")
    rows, labels = zip(*found, strict=True)
    known = np.array(labels, np.int64) if found.labelled else None
    return Found(np.concatenate([row[spec.name] for row in rows]), known)


def check_bytes(name: str, network: Network) -> None:
    """DataError where images that are bytes are not what the network takes them for: it wants other
    numbers than those from 0 to 1, or other colours."""
    how, plain = network.preprocessing, Preprocessing()
    if how is None:
        return
    values = (how.scale, how.mean, how.std)
    if values != (plain.scale, plain.mean, plain.std) or how.colour == "bgr":
        raise DataError(
            f"{name} has bytes, which are learned from as numbers from 0 to 1, and the file beside "
            f"{network.name!r} says that it takes others (scale, mean, std, colour: bgr)"
        )


def fed(images: Array, spec: TensorSpec) -> Array:
    """Images as the network takes them: bytes from 0 to 1 where it takes floats, else as they
    are."""
    if images.dtype == np.uint8 and spec.dtype != "uint8":
        return (images / np.float32(255)).astype(spec.dtype)
    return images
