"""Where ``shoal run`` takes its inputs from: sample images, photos, arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoal.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from shoal.plan.plan import Playbook

MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Case:
    """One input: where it is from, its arrays by name, and its label where that is known."""

    source: str
    feeds: dict[str, np.ndarray[Any, Any]]
    label: int | None = None


@dataclass(frozen=True)
class Cases:
    """Inputs in order, how many there are, and what the classes are called (may be empty)."""

    cases: Iterator[Case]
    count: int
    classes: tuple[str, ...] = ()


def from_samples(name: str, count: int | None) -> Cases:
    """The sample images of a network of the zoo, over and over up to ``count``."""
    from shoal import zoo

    samples = zoo.samples(name)
    wanted = count or len(samples)

    def cases() -> Iterator[Case]:
        for number in range(wanted):
            index = number % len(samples)
            yield Case(f"{name} {index}", samples.feed(index), int(samples.labels[index]))

    return Cases(cases(), wanted, samples.classes)


def from_images(paths: Sequence[Path], playbook: Playbook, count: int | None) -> Cases:
    """Photos, made into inputs as the zoo's card of the playbook's network says.

    Raises UsageError for a network whose preprocessing is unknown or when there is no image,
    MissingExtraError without Pillow.
    """
    from shoal import zoo
    from shoal.zoo.imagenet import SIDE, preprocess

    (spec, *more) = playbook.inputs
    if more or tuple(spec.shape[1:]) != (3, SIDE, SIDE):
        raise UsageError(
            f"how a photo becomes an input of {playbook.network!r} is not known here; "
            "give arrays with --input FILE.npy"
        )
    files = [file for path in paths for file in _images_of(path)]
    if not files:
        raise UsageError(f"there is no image in {', '.join(str(path) for path in paths)}")
    known = playbook.network in zoo.names() and zoo.is_ready(playbook.network)
    classes = zoo.card(playbook.network).classes if known else ()
    wanted = min(count or len(files), len(files))
    cases = (Case(file.name, {spec.name: preprocess(file)}) for file in islice(files, wanted))
    return Cases(cases, wanted, classes)


def from_arrays(paths: Sequence[Path], playbook: Playbook, count: int | None) -> Cases:
    """Arrays: ``.npy`` holds the only input, ``.npz`` inputs by name; a leading batch of more than
    one is fed image by image.

    Raises InputError for a file that is no array, or holds what the network does not take.
    """
    feeds = [(path, _read(path, playbook)) for path in paths]
    for path, feed in feeds:
        _check(path, feed, playbook)
    lengths = [min(len(array) for array in feed.values()) for _, feed in feeds]
    wanted = min(count or sum(lengths), sum(lengths))

    def cases() -> Iterator[Case]:
        for (path, feed), length in zip(feeds, lengths, strict=True):
            for at in range(length):
                one = {name: array[at : at + 1] for name, array in feed.items()}
                yield Case(f"{path.name}[{at}]" if length > 1 else path.name, one)

    return Cases(islice(cases(), wanted), wanted)


def _check(path: Path, feed: Mapping[str, np.ndarray[Any, Any]], playbook: Playbook) -> None:
    """Whether names, dtypes and shapes are those of the network; of numbers each image is judged
    for itself."""
    import numpy as np

    from shoal.model.network import check_feeds

    try:
        check_feeds(playbook.inputs, {n: np.zeros_like(array[:1]) for n, array in feed.items()})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _images_of(path: Path) -> list[Path]:
    if path.is_dir():
        endings = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
        return sorted(file for file in path.iterdir() if file.suffix.lower() in endings)
    return [path]


def stored(path: Path) -> dict[str, np.ndarray[Any, Any]] | np.ndarray[Any, Any]:
    """What a ``.npy`` file holds (an array) or an ``.npz`` file (arrays by name).

    Raises InputError for a file that is neither, or too large.
    """
    import zipfile

    import numpy as np

    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES} bytes; give smaller files")
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            return (
                found
                if isinstance(found, np.ndarray)
                else {name: found[name] for name in found.files}
            )
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        # NumPy takes what it does not know for a pickle, and would advise to trust it.
        why = "not an .npy or .npz file" if "pickle" in str(error) else str(error)
        raise InputError(f"{path} holds no array ({why}); write it with numpy.save") from None


def _read(path: Path, playbook: Playbook) -> dict[str, np.ndarray[Any, Any]]:
    feed = stored(path)
    if not isinstance(feed, dict):
        if len(playbook.inputs) != 1:
            names = ", ".join(spec.name for spec in playbook.inputs)
            raise InputError(f"{path}: the network takes {names}; give them in an .npz file")
        feed = {playbook.inputs[0].name: feed}
    flat = sorted(name for name, array in feed.items() if array.ndim == 0 or len(array) == 0)
    if flat or not feed:
        raise InputError(f"{path}: {', '.join(flat) or 'the file'} holds nothing to feed")
    return feed
