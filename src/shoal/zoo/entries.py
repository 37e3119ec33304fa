"""What is in the zoo, and where its files lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shoal.cache import cache_folder, is_file
from shoal.errors import DataError, HashError, UsageError
from shoal.zoo.card import Card, read_card
from shoal.zoo.packaged import PACKAGED

SHIPPED = Path(__file__).parent
MADE = frozenset({"efficientnet-lite0", *PACKAGED})
"""Networks that do not ship: ``making.py`` has them made in the cache."""

SPREAD_BY = {
    "fashion-exits": "relay",
    "fashion-mnist-fluid": "fluid",
    "fashion-resnet": "pipeline",
    "mnist-fluid": "fluid",
}
"""The strategy that a network is here to show, as the demo does."""

DEALT_BY = {"fashion-resnet": "shards"}
"""The strategy by which it shows what a lost share of each layer costs."""

CARD, MODEL = "card.json", "model.onnx"
BUNDLE = "model.fluid"
"""The network where it is a bundle of sub-networks."""


def names() -> tuple[str, ...]:
    """All networks, sorted: those that ship, and those that can be made."""
    shipped = {path.parent.name.replace("_", "-") for path in SHIPPED.glob(f"*/{CARD}")}
    return tuple(sorted(shipped | MADE))


def folder(name: str) -> Path:
    """The folder of ``name``, whether or not it has been made. ``UsageError`` for another name."""
    if name not in names():
        raise UsageError(f"there is no network {name!r} in the zoo: use {', '.join(names())}")
    if name in MADE:
        return cache_folder() / "zoo" / name
    return SHIPPED / name.replace("-", "_")


def is_ready(name: str) -> bool:
    """Whether the files of ``name`` are on this machine."""
    return is_file(folder(name) / CARD)


def card(name: str) -> Card:
    """The card of ``name``. Raises ``DataError`` if it has yet to be made."""
    if not is_ready(name):
        raise DataError(f"{name} has not been made on this machine yet: run shoal zoo get {name}")
    return read_card(name, folder(name) / CARD)


def path(name: str, file: str | None = None) -> Path:
    """The path of a file of ``name``, by default of the network, checked against its card.

    Raises ``UsageError`` if there is no such network or file, ``DataError`` if it has yet to be
    made or is missing, ``HashError`` if the file is not the one that the card describes.
    """
    about = card(name)
    if file is None:
        file = BUNDLE if BUNDLE in about.files else MODEL
    if file not in about.files:
        raise UsageError(f"{name} has no file {file!r}: it has {', '.join(sorted(about.files))}")
    found = folder(name) / file
    again = f"run shoal zoo get {name}" if name in MADE else "install Shoal again"
    try:
        with found.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {found}: {error.strerror or error}; {again}") from error
    if sha256 != about.files[file].sha256:
        raise HashError(f"{found} is not the file that its card describes: {again}")
    return found
