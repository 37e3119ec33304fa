"""Checkpoints: where a training stands, in one file that holds tensors and plain data only."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shoal.errors import DataError, StoreError, UsageError

FILE = "checkpoint.pt"
"""Its name in the folder of a training."""


@dataclass
class Checkpoint:
    """A training after a whole number of epochs."""

    purpose: str
    """Settings, data and network as a line of text: only the same training may go on from it."""
    module: dict[str, Tensor]
    optimiser: dict[str, Any]
    best: dict[str, Tensor]
    """The weights of the epoch with the highest score."""
    scores: list[float]
    rows: list[dict[str, Any]]
    """The log so far."""


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write ``checkpoint``; a crash in the middle leaves the one before it."""
    partial = path.with_name(path.name + ".part")
    content = {field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}
    try:
        torch.save(content, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # PyTorch reports a full disk as RuntimeError
        partial.unlink(missing_ok=True)
        raise StoreError(f"cannot write the checkpoint {path}: {error}") from error


def load(path: Path, purpose: str) -> Checkpoint:
    """Read a checkpoint of this very training. Nothing in the file is ever run as code.

    Raises ``DataError`` if it cannot be read, ``UsageError`` if it is of another training.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found = Checkpoint(**content)
    except (
        OSError,
        RuntimeError,
        EOFError,
        TypeError,
        KeyError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise DataError(
            f"the checkpoint {path} cannot be read: delete it and start again"
        ) from error
    if found.purpose != purpose:
        raise UsageError(
            f"the checkpoint {path} is of another training ({found.purpose}), this one is "
            f"({purpose}): use another --out"
        )
    return found
