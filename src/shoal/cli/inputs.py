"""Where ``shoal run`` takes its inputs from: sample images, photos, arrays.

Nothing of what is given is cut, repeated or converted to fit: what does not fit is refused before
anything is sent, and a file that cannot be read is a failure of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from shoal.errors import InputError, ShoalError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from shoal.model.preprocessing import Preprocessing
    from shoal.model.spec import TensorSpec
    from shoal.plan.plan import Playbook

    Feeds: TypeAlias = Mapping[str, np.ndarray[Any, Any]]

MAX_BYTES = 1 << 30
"""Most that is unpacked from an ``.npz`` file; an ``.npy`` file is read as it is needed."""


@dataclass(frozen=True)
class Case:
    """One input: where it is from, its arrays by name, and its label where that is known."""

    source: str
    feeds: dict[str, np.ndarray[Any, Any]]
    label: int | None = None


@dataclass(frozen=True)
class Unread:
    """An input that cannot be read, and why."""

    source: str
    error: ShoalError


@dataclass(frozen=True)
class Cases:
    """Inputs in order, how many there are, and what the classes are called (may be empty)."""

    cases: Iterator[Case | Unread]
    count: int
    classes: tuple[str, ...] = ()


def from_samples(name: str, playbook: Playbook, count: int | None) -> Cases:
    """The sample images of a network of the zoo, over and over up to ``count``.

    Raises UsageError for a network without samples, InputError for samples that the playbook's
    network does not take.
    """
    from shoal import zoo
    from shoal.model.network import check_feeds

    samples = zoo.samples(name)
    wanted = count or len(samples)
    try:
        check_feeds(playbook.inputs, samples.feed(0))
    except InputError as error:
        raise InputError(f"--samples {name}: {error}") from None

    def cases() -> Iterator[Case]:
        for number in range(wanted):
            index = number % len(samples)
            yield Case(f"{name} {index}", samples.feed(index), int(samples.labels[index]))

    return Cases(cases(), wanted, samples.classes)


def from_images(paths: Sequence[Path], playbook: Playbook, count: int | None) -> Cases:
    """Photos, made into inputs as the playbook says; of networks that take bytes, where it does not
    say, as ImageNet's networks take theirs.

    Raises UsageError for a network whose preprocessing is unknown or when there is no image,
    InputError for a path where nothing is, MissingExtraError without Pillow.
    """
    from shoal import zoo
    from shoal.model.preprocessing import Preprocessing, canvas
    from shoal.picture import need_pillow

    need_pillow()
    (spec, *more) = playbook.inputs
    how = playbook.preprocessing
    if more:
        names = ", ".join(repr(each.name) for each in playbook.inputs)
        raise UsageError(
            f"photos are for networks with one input, and {playbook.network!r} takes {names}; give "
            "arrays with --input FILE.npz"
        )
    if how is None and spec.dtype != "uint8":
        raise UsageError(
            f"how a photo becomes an input of {playbook.network!r} is not known here; plan it with "
            "a file that says it beside the model (docs/preprocessing.md), or give arrays with "
            "--input FILE.npy"
        )
    how = how or Preprocessing()
    canvas(spec, how)
    files = [file for path in paths for file in _images_of(path)]
    if not files:
        raise UsageError(f"there is no image in {', '.join(str(path) for path in paths)}")
    known = playbook.network in zoo.names() and zoo.is_ready(playbook.network)
    classes = how.labels or (zoo.card(playbook.network).classes if known else ())
    wanted = min(count or len(files), len(files))
    cases = (_photo(file, spec, how) for file in islice(files, wanted))
    return Cases(cases, wanted, classes)


def _photo(file: Path, spec: TensorSpec, how: Preprocessing) -> Case | Unread:
    from shoal.model.photo import prepared

    try:
        return Case(_shown(file), {spec.name: prepared(file, spec, how)})
    except InputError as error:
        return Unread(_shown(file), error)


def _images_of(path: Path) -> list[Path]:
    from shoal.picture import files_in

    if not os.path.lexists(path):  # a name that is too long is no error of its own
        raise InputError(f"cannot read {path}: there is no such file or folder")
    if path.is_dir():
        return files_in(path)
    if not path.is_file():  # opening a pipe waits for whoever writes to it
        raise InputError(f"cannot read {path}: it is no file on a disk")
    return [path]


def from_arrays(paths: Sequence[Path], playbook: Playbook, count: int | None) -> Cases:
    """Arrays: ``.npy`` holds the only input, ``.npz`` inputs by name, each for as many requests
    (see :func:`requests_in`); they are asked for one by one.

    Raises InputError for a file that is no array, or holds what the network does not take.
    """
    import numpy as np

    feeds = [(path, _read(path, playbook)) for path in paths]
    counts = [_count(path, feed, playbook) for path, feed in feeds]
    wanted = min(count or sum(counts), sum(counts))

    def cases() -> Iterator[Case]:
        for (path, feed), length in zip(feeds, counts, strict=True):
            for at in range(length):
                one = {}
                for spec in playbook.inputs:
                    sides = (1 if side is None else side for side in spec.shape)
                    each = feed[spec.name].reshape(length, *sides)
                    one[spec.name] = np.asarray(each[at])  # no view of a file
                yield Case(f"{_shown(path)}[{at}]" if length > 1 else _shown(path), one)

    return Cases(islice(cases(), wanted), wanted)


def requests_in(spec: TensorSpec, shape: tuple[int, ...]) -> int | None:
    """For how many requests an array of this shape has an input; None where it does not fit.

    Where the batch is free (None comes first in the spec), each row is an image of its own. Else
    it is one input of exactly that shape, or several: along an axis before the others, or joined
    along the first.
    """
    wanted = spec.shape
    if shape == wanted:
        return 1
    if len(shape) == len(wanted) + 1 and shape[1:] == wanted and None not in wanted:
        return shape[0]
    if not wanted or len(shape) != len(wanted) or shape[1:] != wanted[1:]:
        return None
    each = 1 if wanted[0] is None else wanted[0]
    return shape[0] // each if each and shape[0] % each == 0 else None


def _count(path: Path, feed: Feeds, playbook: Playbook) -> int:
    """For how many requests a file has inputs: for as many of each. InputError where names, dtypes
    or shapes are not those of the network; of numbers each image is judged for itself."""
    names = [spec.name for spec in playbook.inputs]
    if set(feed) != set(names):
        raise InputError(
            f"{path} holds {', '.join(sorted(feed)) or 'nothing'}, the network takes "
            f"{', '.join(names)}; give exactly these"
        )
    counts = {}
    for spec in playbook.inputs:
        array = feed[spec.name]
        if array.dtype != spec.dtype:
            raise InputError(
                f"{path}: {spec.name!r} has dtype {array.dtype}, the network takes {spec.dtype}"
            )
        found = requests_in(spec, array.shape)
        if found is None:
            wanted = ["images" if side is None else side for side in spec.shape]
            hint = "; add an axis for the images" if array.shape == spec.shape[1:] else ""
            raise InputError(
                f"{path}: {spec.name!r} has shape {list(array.shape)}, the network takes "
                f"{wanted}{hint}"
            )
        if not found:
            raise InputError(f"{path}: {spec.name!r} holds nothing to feed")
        counts[spec.name] = found
    if len(set(counts.values())) > 1:
        held = ", ".join(f"{count} of {name!r}" for name, count in counts.items())
        raise InputError(
            f"{path} holds {held}; give as many of each, one for each request (numpy.repeat makes "
            "many of one)"
        )
    return next(iter(counts.values()))


def stored(path: Path) -> Feeds | np.ndarray[Any, Any]:
    """What a ``.npy`` file holds (an array) or an ``.npz`` file (arrays by name).

    Raises InputError for a file that is neither, or too large.
    """
    from shoal import npy

    with npy.reading(path):
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        return _unzipped(path) if zipped else npy.load(path)


def _unzipped(path: Path) -> Feeds:
    import zipfile

    import numpy as np

    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise InputError(
                f"{path} holds {size} bytes, and {MAX_BYTES} are unpacked at the most; give "
                "several files"
            )
    with np.load(path, allow_pickle=False) as archived:
        found = {name: archived[name] for name in archived.files}
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"{path}: {name!r} is no array; give one with numpy.savez")
    return found


def _read(path: Path, playbook: Playbook) -> Feeds:
    found = stored(path)
    if isinstance(found, Mapping):
        return found
    if len(playbook.inputs) != 1:
        names = ", ".join(spec.name for spec in playbook.inputs)
        raise InputError(f"{path}: the network takes {names}; give them in an .npz file")
    return {playbook.inputs[0].name: found}


def _shown(path: Path) -> str:
    """The name of a file, which may hold bytes that are no text."""
    return os.fsencode(path.name).decode(errors="replace")
