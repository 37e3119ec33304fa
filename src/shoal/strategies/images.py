"""The images of a calibration: read from a folder, made into inputs, labelled where folders are.

A folder holds photos (``.jpg``, ``.png`` ...) or arrays (``.npy``, each of one or more inputs of
the network). With folders inside, each of them is a class: by its number if all of them are
numbers, else by its place among the sorted names.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from shoal import npy, picture
from shoal.cache import expanded, is_folder
from shoal.errors import DataError, InputError, PlanError
from shoal.model.photo import prepared
from shoal.model.preprocessing import Preprocessing
from shoal.model.spec import TensorSpec
from shoal.plan.network import Array, Feeds

ARRAYS = frozenset({".npy"})
READ = picture.SUFFIXES | ARRAYS
"""Endings of the files that are read."""
ASKED = 300
"""Images below which a calibration says that it promises little."""
MAX_IMAGES = 5_000
MAX_FILE_BYTES = 256 << 20

log = logging.getLogger("shoal")


@dataclass(frozen=True)
class Images:
    """Inputs one by one, read when they are asked for. ``labels`` is None where nothing is known
    of the classes; ``digest`` names the content of all files and labels, ``count`` is the number
    of inputs."""

    files: tuple[tuple[Path, int | None], ...]
    inputs: tuple[TensorSpec, ...]
    how: Preprocessing | None
    digest: str
    labelled: bool
    count: int

    def __iter__(self) -> Iterator[tuple[Feeds, int | None]]:
        """Each input with its label; DataError for a file that cannot be read."""
        for file, label in self.files:
            for feeds in read(file, self.inputs, self.how):
                yield feeds, label


def open_folder(
    folder: str | Path, inputs: Sequence[TensorSpec], how: Preprocessing | None = None
) -> Images:
    """The images in ``folder`` for a network with these ``inputs``, photos as ``how`` says (None:
    as ImageNet's networks take theirs, and floats from 0 to 1).

    Raises DataError for a folder that is missing or holds no image, or of whose folders it is not
    clear which class they are; PlanError for a network that has more inputs than one, or takes a
    fixed number of images greater than one at a time.
    """
    root = expanded(str(folder))
    if len(inputs) != 1:
        raise PlanError(
            f"the network takes {len(inputs)} inputs, and images are for one; it can only be "
            "planned without images (nothing is rounded then)"
        )
    if inputs[0].shape[:1] not in ((None,), (1,)):
        raise PlanError(
            f"the network takes inputs of shape {list(inputs[0].shape)}, and a calibration feeds "
            "one image at a time; export it with a free batch, or plan without images"
        )
    if not is_folder(root):
        raise DataError(
            f"calibrate: there is no folder {root}; name one with at least {ASKED} images "
            "of the kind that the network will see"
        )
    files = list(_labelled(root))
    if not files:
        kinds = ", ".join(sorted(READ))
        raise DataError(f"calibrate: {root} holds no images ({kinds})")
    if len(files) > MAX_IMAGES:
        log.warning("%s holds %d files, of which %d are used", root, len(files), MAX_IMAGES)
        files = files[:MAX_IMAGES]
    digest = hashlib.sha256(b"" if how is None else msgspec.json.encode(how))
    for file, label in files:
        digest.update(f"{label} ".encode())
        digest.update(_hash(file))
    return Images(
        files=tuple(files),
        inputs=tuple(inputs),
        how=how,
        digest=digest.hexdigest(),
        labelled=all(label is not None for _, label in files),
        count=sum(_count(file, inputs[0]) for file, _ in files),
    )


def _count(file: Path, spec: TensorSpec) -> int:
    if file.suffix.lower() not in ARRAYS:
        return 1
    array = _load(file)
    return len(array) if array.ndim == len(spec.shape) else 1


def _labelled(root: Path) -> Iterator[tuple[Path, int | None]]:
    """The files of a folder, in an order in which every class comes soon."""
    folders = [p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    plain = _files(root)
    if plain:
        yield from ((file, None) for file in plain)
        return
    numbered = all(folder.name.isdecimal() and len(folder.name) < 8 for folder in folders)
    classes = [int(f.name) if numbered else k for k, f in enumerate(folders)]
    groups = [
        [(file, label) for file in _files(f)] for f, label in zip(folders, classes, strict=True)
    ]
    empty = [folder.name for folder, group in zip(folders, groups, strict=True) if not group]
    if any(groups) and empty and not numbered:
        raise DataError(
            f"{root} holds folders without images ({', '.join(empty[:5])}), and classes are "
            "numbered by the places of their folders: take them away if they are no classes, or "
            "call the folders by the numbers of their classes"
        )
    for place in range(max(map(len, groups), default=0)):
        yield from (group[place] for group in groups if place < len(group))


def _files(folder: Path) -> list[Path]:
    try:
        return picture.files_in(folder, READ)
    except InputError as error:
        raise DataError(str(error)) from None


def _hash(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{file} is larger than {MAX_FILE_BYTES} bytes; take it away")
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from None


def read(
    file: Path, inputs: Sequence[TensorSpec], how: Preprocessing | None = None
) -> Iterator[Feeds]:
    """The inputs in a file, each a batch of one; DataError where they are none."""
    (spec,) = inputs
    if file.suffix.lower() in ARRAYS:
        yield from ({spec.name: array} for array in _arrays(file, spec))
    else:
        yield {spec.name: _photo(file, spec, how)}


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
    if stored.dtype.kind == "f" and spec.finite and not np.isfinite(stored).all():
        raise DataError(f"{file} holds NaN or infinity; take it away")
    for index in range(len(stored)):
        yield np.array(stored[index : index + 1])


def _load(file: Path) -> Array:
    try:
        found = npy.load(file)
    except InputError as error:
        raise DataError(str(error)) from None
    if not found.size:
        raise DataError(f"{file} holds an array of nothing; take it away")
    return found


def _photo(file: Path, spec: TensorSpec, how: Preprocessing | None) -> Array:
    """A photo as the network takes it."""
    try:
        return prepared(file, spec, how)
    except (InputError, PlanError) as error:
        hint = "; give a folder of .npy files" if isinstance(error, PlanError) else ""
        raise DataError(f"{error if hint == '' else f'{file}: {error}'}{hint}") from None


def _sides(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(1 if side is None else side for side in spec.shape)
