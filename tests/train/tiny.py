"""Made-up data that a network can learn in a second: what the surface of a thing is like."""

import gzip
import hashlib
from pathlib import Path

import numpy as np

from shoal_train.datasets import DataSet, Split
from shoal_train.sources import Source, SourceFile

CLASSES = ("plain", "lines across", "lines down", "checked")
SIDE = 12


def split(count: int, seed: int) -> Split:
    chance = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    images = chance.integers(0, 100, (count, 1, SIDE, SIDE))
    images[labels == 1, :, ::2] += 100
    images[labels == 2, :, :, ::2] += 100
    images[labels == 3, :, ::2, ::2] += 100
    images[labels == 3, :, 1::2, 1::2] += 100
    order = chance.permutation(count)
    return Split(images[order].astype(np.uint8), labels[order].astype(np.int64))


def data(train: int = 240, test: int = 80) -> DataSet:
    return DataSet(
        name="surfaces",
        train=split(train, 1),
        test=split(test, 2),
        classes=CLASSES,
        licence="none",
        homepage="",
        mirrored=False,
    )


def idx(array: np.ndarray) -> bytes:
    """The uncompressed idx file of an array of bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write_source(folder: Path, url: str = "http://127.0.0.1:9/") -> Source:
    """Write ``data()`` as the four files of a source into ``folder``; returns the source."""
    made = data()
    arrays = {
        "train-images.gz": made.train.images[:, 0],
        "train-labels.gz": made.train.labels,
        "test-images.gz": made.test.images[:, 0],
        "test-labels.gz": made.test.labels,
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, array in arrays.items():
        content = idx(array)
        (folder / name).write_bytes(gzip.compress(content))
        files.append(SourceFile(name, hashlib.sha256(content).hexdigest(), 200_000))
    return Source("surfaces", url, *files, CLASSES, "none", "http://example.org", False)
