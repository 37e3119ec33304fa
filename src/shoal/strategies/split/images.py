"""The images of a calibration: read from a folder, made into inputs, labelled where folders are.

A folder holds photos (``.jpg``, ``.png`` ...) or arrays (``.npy``, each of one or more inputs of
the network). With folders inside, each of them is a class: by its number if all of them are
numbers, else by its place among the sorted names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.cache import is_folder
from shoal.errors import DataError, MissingExtraError, PlanError
from shoal.model.spec import TensorSpec
from shoal.plan.network import Array, Feeds

PHOTOS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
ARRAYS = frozenset({".npy"})
ASKED = 300
"""Images below which a calibration says that it promises little."""
MAX_IMAGES = 5_000
MAX_FILE_BYTES = 256 << 20
MAX_SIDE = 16_384
CROP = 224 / 256
"""The side of the central square that is used, as a share of the photo's short side: how
ImageNet's networks are tested (as ``shoal.zoo.imagenet`` does for the network in the zoo)."""


@dataclass(frozen=True)
class Images:
    """Inputs one by one, read when they are asked for. ``labels`` is None where nothing is known
    of the classes; ``digest`` names the content of all files and labels, ``count`` is the number
    of inputs."""

    files: tuple[tuple[Path, int | None], ...]
    inputs: tuple[TensorSpec, ...]
    digest: str
    labelled: bool
    count: int

    def __iter__(self) -> Iterator[tuple[Feeds, int | None]]:
        """Each input with its label; DataError for a file that cannot be read."""
        for file, label in self.files:
            for feeds in read(file, self.inputs):
                yield feeds, label


def open_folder(folder: str | Path, inputs: Sequence[TensorSpec]) -> Images:
    """The images in ``folder`` for a network with these ``inputs``.

    Raises DataError for a folder that is missing or holds no image, PlanError for a network that
    has more inputs than one.
    """
    root = Path(folder)
    if len(inputs) != 1:
        raise PlanError(
            f"the network takes {len(inputs)} inputs, and images are for one; it can only be "
            "split without --calibrate (nothing is rounded then)"
        )
    if not is_folder(root):
        raise DataError(
            f"--calibrate {root}: there is no such folder; name one with at least {ASKED} images "
            "of the kind that the network will see"
        )
    files = list(_labelled(root))
    if not files:
        kinds = ", ".join(sorted(PHOTOS | ARRAYS))
        raise DataError(f"--calibrate {root}: holds no images ({kinds})")
    files = files[:MAX_IMAGES]
    digest = hashlib.sha256()
    for file, label in files:
        digest.update(f"{label} ".encode())
        digest.update(_hash(file))
    return Images(
        files=tuple(files),
        inputs=tuple(inputs),
        digest=digest.hexdigest(),
        labelled=all(label is not None for _, label in files),
        count=sum(_count(file, inputs[0]) for file, _ in files),
    )


def _count(file: Path, spec: TensorSpec) -> int:
    """Inputs in a file."""
    if file.suffix.lower() not in ARRAYS:
        return 1
    array = _load(file)
    return len(array) if array.ndim == len(spec.shape) else 1


def _labelled(root: Path) -> Iterator[tuple[Path, int | None]]:
    """The files of a folder, in an order in which every class comes soon."""
    plain = _files(root)
    if plain:
        yield from ((file, None) for file in plain)
        return
    folders = sorted(path for path in root.iterdir() if path.is_dir() and _files(path))
    numbered = all(folder.name.isdecimal() and len(folder.name) < 8 for folder in folders)
    classes = [int(f.name) if numbered else k for k, f in enumerate(folders)]
    groups = [
        [(file, label) for file in _files(f)] for f, label in zip(folders, classes, strict=True)
    ]
    for place in range(max(map(len, groups), default=0)):
        yield from (group[place] for group in groups if place < len(group))


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PHOTOS | ARRAYS and path.is_file()
    )


def _hash(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{file} is larger than {MAX_FILE_BYTES} bytes; take it away")
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from None


def read(file: Path, inputs: Sequence[TensorSpec]) -> Iterator[Feeds]:
    """The inputs in a file, each a batch of one; DataError where they are none."""
    (spec,) = inputs
    if file.suffix.lower() in ARRAYS:
        yield from ({spec.name: array} for array in _arrays(file, spec))
    else:
        yield {spec.name: _photo(file, spec)}


def _arrays(file: Path, spec: TensorSpec) -> Iterator[Array]:
    stored = _load(file)
    wanted = _sides(spec)
    if stored.shape == wanted[1:]:
        stored = stored[np.newaxis]
    if stored.dtype != np.dtype(spec.dtype) or stored.shape[1:] != wanted[1:]:
        raise DataError(
            f"{file} holds {stored.dtype} {list(stored.shape)}, the network takes {spec.dtype} "
            f"{list(wanted)}; write such arrays"
        )
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise DataError(f"{file} holds NaN or infinity; take it away")
    for index in range(len(stored)):
        yield np.ascontiguousarray(stored[index : index + 1])


def _load(file: Path) -> Array:
    try:
        with file.open("rb") as opened:
            stored = np.load(opened, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} holds no array ({error}); write it with numpy.save") from None
    if not isinstance(stored, np.ndarray):
        raise DataError(f"{file} holds no array; write it with numpy.save")
    return stored


def _photo(file: Path, spec: TensorSpec) -> npt.NDArray[Any]:
    """The central square of a photo in the size that the network takes: bytes where it takes
    bytes, numbers from 0 to 1 where it takes floats."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(
            "reading photos needs Pillow: pip install 'shoal[images]'"
        ) from error
    sides = _sides(spec)
    if len(sides) != 4 or sides[1] not in (1, 3):
        raise DataError(
            f"{file}: how a photo becomes an input of shape {list(sides)} is not known here; give "
            "a folder of .npy files"
        )
    _, channels, height, width = sides
    try:
        with Image.open(file) as opened:
            if max(opened.size) > MAX_SIDE:
                raise DataError(f"{file} is {opened.width}x{opened.height}; {MAX_SIDE} is the most")
            picture = opened.convert("RGB" if channels == 3 else "L")
    # Pillow raises SyntaxError and ValueError for some damaged headers.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read the image {file}: {error}") from None
    if picture.size != (width, height):
        side = max(1, round(CROP * min(picture.size)))
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.crop((left, top, left + side, top + side))
        picture = square.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(picture, np.uint8).reshape(height, width, channels)
    image = np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])
    if spec.dtype == "uint8":
        return image
    return (image / 255).astype(spec.dtype)


def _sides(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(1 if side is None else side for side in spec.shape)
