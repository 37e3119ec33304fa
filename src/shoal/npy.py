"""Reads arrays from files of NumPy, which may hold anything."""

from __future__ import annotations

import tokenize
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from shoal.errors import InputError


def load(path: Path) -> np.ndarray[Any, Any]:
    """The array in an ``.npy`` file: nothing of it is read before it is needed, whatever size the
    file says it has. InputError where it holds none."""
    with reading(path):
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                raise ValueError("it is an .npz file")
        found: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around reading a file of arrays: whatever is wrong with it is an InputError. A pipe is, as
    it would be waited for, and can be read only once."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise InputError(f"{path} is no file on a disk: write the arrays into one")
        yield
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (
        EOFError,
        MemoryError,
        OverflowError,
        RecursionError,
        SyntaxError,  # its head is Python
        ValueError,
        tokenize.TokenError,
        zipfile.BadZipFile,
    ) as error:
        # NumPy takes what it does not know for a pickle, and would advise to trust it.
        why = "not an .npy or .npz file" if "pickle" in str(error) else str(error)
        raise InputError(f"{path} holds no array ({why}); write it with numpy.save") from None
