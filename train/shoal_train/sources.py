"""The public data sets that Shoal knows, and how to get them."""

from __future__ import annotations

import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shoal.cache import is_file
from shoal.errors import DataError
from shoal_train.idx import read_idx

TIMEOUT_S = 30
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class SourceFile:
    """One file of a data set. ``sha256`` is that of its uncompressed content."""

    name: str
    sha256: str
    max_bytes: int
    """No larger file is downloaded: a little above the size of the published one."""


@dataclass(frozen=True)
class Source:
    """A public data set in four idx files."""

    name: str
    url: str
    """Where the files lie, ending in a slash."""
    train_images: SourceFile
    train_labels: SourceFile
    test_images: SourceFile
    test_labels: SourceFile
    classes: tuple[str, ...]
    licence: str
    homepage: str
    mirrored: bool
    """Whether an image seen in a mirror is still of its class."""

    @property
    def files(self) -> tuple[SourceFile, ...]:
        return (self.train_images, self.train_labels, self.test_images, self.test_labels)


def fetch(source: Source, folder: Path, say: Callable[[str], None]) -> None:
    """Download the files of ``source`` that ``folder`` lacks, each checked by size and hash.

    ``say`` is told what is going on. A file appears in ``folder`` only when it is whole.
    Raises ``DataError`` if a file cannot be had or is not the published one.
    """
    for file in source.files:
        if not is_file(folder / file.name):
            say(f"downloading {source.url}{file.name}")
            _fetch_file(source, file, folder)


def _fetch_file(source: Source, file: SourceFile, folder: Path) -> None:
    url = source.url + file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".part-")
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror or error}") from error
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as target:
            _download(url, target.write, file.max_bytes)
        _, sha256 = read_idx(partial)
        if sha256 != file.sha256:
            raise DataError(
                f"{url} is not the published file (SHA-256 {sha256} instead of {file.sha256}): "
                "nothing was kept; try again later"
            )
        partial.replace(folder / file.name)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise DataError(
            f"cannot download {url}: {reason}. Without a network, put the four files of "
            f"{source.name} ({source.homepage}) into a folder {source.name}/ of the folder that "
            "the environment variable SHOAL_DATA names"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _download(url: str, write: Callable[[bytes], object], max_bytes: int) -> None:
    total = 0
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        while chunk := answer.read(CHUNK_BYTES):
            total += len(chunk)
            if total > max_bytes:
                raise DataError(f"{url} is larger than {max_bytes} bytes: not the published file")
            write(chunk)


FASHION_MNIST = Source(
    name="fashion-mnist",
    url="https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    train_images=SourceFile(
        "train-images-idx3-ubyte.gz",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        27_000_000,
    ),
    train_labels=SourceFile(
        "train-labels-idx1-ubyte.gz",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        40_000,
    ),
    test_images=SourceFile(
        "t10k-images-idx3-ubyte.gz",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        4_600_000,
    ),
    test_labels=SourceFile(
        "t10k-labels-idx1-ubyte.gz",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        10_000,
    ),
    classes=(
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    licence="MIT, Copyright (c) 2017 Zalando SE",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    mirrored=True,
)

MNIST = Source(
    name="mnist",
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    train_images=SourceFile(
        "train-images-idx3-ubyte.gz",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        11_000_000,
    ),
    train_labels=SourceFile(
        "train-labels-idx1-ubyte.gz",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        40_000,
    ),
    test_images=SourceFile(
        "t10k-images-idx3-ubyte.gz",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        2_000_000,
    ),
    test_labels=SourceFile(
        "t10k-labels-idx1-ubyte.gz",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        10_000,
    ),
    classes=tuple(str(digit) for digit in range(10)),
    licence="CC BY-SA 3.0, Y. LeCun, C. Cortes, C. Burges",
    homepage="http://yann.lecun.com/exdb/mnist/",
    mirrored=False,
)

SOURCES = {source.name: source for source in (FASHION_MNIST, MNIST)}
