"""What a training leaves behind beside the weights: a card, and sample images."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from shoal.errors import StoreError
from shoal_train.datasets import DataSet, balanced

SAMPLES = 500
PACKAGES = ("shoal", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe_file(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, for the card."""
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def describe_data(data: DataSet, used: int, samples: str) -> dict[str, Any]:
    """A data set, of which ``used`` images were learned from, for the card."""
    return {
        "name": data.name,
        "homepage": data.homepage,
        "licence": data.licence,
        "sha256": data.sha256,
        "train_images": used,
        "samples": samples,
    }


def make_folder(folder: Path) -> None:
    """Make the folder for what a training leaves behind, where there is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error.strerror or error}") from error


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """Write the card as JSON for people to read."""
    try:
        path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def write_samples(path: Path, data: DataSet, count: int = SAMPLES) -> str:
    """Write up to ``count`` test images of ``data``, as many of each class.

    They are the first of each class in the order of the data set. Returns a sentence that says
    how they were chosen, for the card.
    """
    per_class = max(1, count // len(data.classes))
    chosen = balanced(data.test.labels, len(data.classes), per_class)
    some = data.test.take(chosen)
    try:
        np.savez_compressed(
            path, images=some.images, labels=some.labels.astype(np.uint16), positions=chosen
        )
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    return (
        f"the first {per_class} test images of each class in the order of the data set, "
        f"{len(some)} in all; 'positions' are their places there"
    )
