"""What ``shoal run -o`` writes: every output of every answer, in an ``.npz`` file.

Answers are told apart in one of three ways, whichever is the first that fits an output:

- along the axis in which its images lie: the free one of its shape (None in the playbook's
  outputs), or the first one if it has one row there, and the shape is fixed. So logits are
  (answers, classes), and the output of a network that counts time first (time, answers, letters);
- along an axis before its own, where the shape says nothing of images: 100 boxes for each image
  are (answers, 100, 4);
- each as an array of its own, called ``NAME/NUMBER``, where answers differ in shape, or some have
  not this output (those that left early).

The array ``numbers`` says for each answer, in this order, the number of its input (from 0): those
that failed have none.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from shoal.model.store import write_file

if TYPE_CHECKING:
    from shoal.model.spec import TensorSpec

    Array: TypeAlias = np.ndarray[Any, Any]

NUMBERS = "numbers"


class Outfile:
    """Collects the outputs of answers, those of a network with these ``specs``."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._found: dict[str, dict[int, Array]] = {name: {} for name in self._specs}
        self._numbers: list[int] = []

    def add(self, number: int, outputs: Mapping[str, Array]) -> None:
        """Keep the answer to input ``number``."""
        self._numbers.append(number)
        for name, array in outputs.items():
            self._found.setdefault(name, {})[number] = array

    def write(self, path: Path) -> None:
        """Write the file; StoreError when that is not possible."""
        entries: dict[str, Array] = {}
        for name, found in self._found.items():
            for key, array in self._laid_out(name, found).items():
                entries[_unused(key, entries)] = array
        entries[_unused(NUMBERS, entries)] = np.array(self._numbers, np.int64)
        packed = io.BytesIO()
        # Not numpy.savez, which takes names for its own arguments.
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for key, array in entries.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        write_file(path, packed.getbuffer())

    def _laid_out(self, name: str, found: Mapping[int, Array]) -> dict[str, Array]:
        arrays = list(found.values())
        if not arrays:
            return {}
        if len(arrays) == len(self._numbers):
            axis = images_axis(self._specs.get(name), arrays)
            if axis is not None:
                return {name: np.concatenate(arrays, axis)}
            if len({(array.shape, array.dtype) for array in arrays}) == 1:
                return {name: np.stack(arrays)}
        return {f"{name}/{number}": array for number, array in found.items()}


def images_axis(spec: TensorSpec | None, arrays: Sequence[Array]) -> int | None:
    """The axis along which the answers to single images can be joined as those of one batch; None
    where there is none."""
    if spec is None or any(array.ndim != len(spec.shape) for array in arrays):
        return None
    free = [axis for axis, side in enumerate(spec.shape) if side is None]
    if len(free) > 1 or not spec.shape:
        return None
    axis = free[0] if free else 0
    if any(array.shape[axis] != 1 for array in arrays):
        return None
    alike = {(array.dtype, *array.shape) for array in arrays}
    return axis if len(alike) == 1 else None


def _unused(key: str, entries: Mapping[str, Array]) -> str:
    """The key, marked where an output happens to be called so."""
    while key in entries:
        key += "'"
    return key
