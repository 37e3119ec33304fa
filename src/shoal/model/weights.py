"""Weights: constant tensors, and where their bytes lie.

Bytes are views of the file that holds them wherever that is possible, so that big networks are
not copied and no protobuf grows over its limit of 2 GiB. Sizes are checked before anything is
allocated, and data that a model keeps in other files is taken from its own folder only.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from shoal.errors import ModelFileError, UnsupportedModelError
from shoal.model import limits
from shoal.model.dtypes import (
    INT64,
    NUMPY_TO_ONNX,
    ONNX_TO_NUMPY,
    STRING,
    Array,
    is_sized,
    size_bytes,
)


@dataclass(frozen=True)
class Weight:
    """A constant tensor. ``data`` holds its elements as ONNX's ``raw_data`` does."""

    data_type: int
    dims: tuple[int, ...]
    data: memoryview

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.data.nbytes

    @property
    def is_blob(self) -> bool:
        """Whether a part keeps it outside its graph. Shapes (int64) must be seen by the engine."""
        return (
            self.nbytes >= limits.BLOB_WEIGHT_BYTES
            and self.data_type != INT64
            and self.data_type in ONNX_TO_NUMPY
        )

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the elements."""
        return hashlib.sha256(self.data).hexdigest()

    def array(self) -> Array:
        """The elements as an array; only for types that NumPy has."""
        flat = np.frombuffer(self.data, dtype=ONNX_TO_NUMPY[self.data_type])
        return flat.reshape(self.dims)

    @staticmethod
    def of(array: Array) -> Weight:
        """The weight that holds a copy of ``array``."""
        data = memoryview(np.ascontiguousarray(array).tobytes())
        return Weight(NUMPY_TO_ONNX[array.dtype.name], array.shape, data)


def weight_proto(name: str, weight: Weight) -> onnx.TensorProto:
    """The weight with its elements inside."""
    return onnx.TensorProto(
        name=name, data_type=weight.data_type, dims=weight.dims, raw_data=bytes(weight.data)
    )


def blob_proto(name: str, weight: Weight) -> onnx.TensorProto:
    """The weight with its elements outside, under their hash."""
    proto = onnx.TensorProto(name=name, data_type=weight.data_type, dims=weight.dims)
    proto.data_location = onnx.TensorProto.EXTERNAL
    proto.external_data.add(key="location", value=weight.hash)
    return proto


def apart(weights: Mapping[str, Weight]) -> dict[str, Weight]:
    """The same weights; those of a file that is mostly not needed any more lie apart from it."""
    needed: Counter[int] = Counter()
    for weight in weights.values():
        needed[id(weight.data.obj)] += weight.nbytes

    def own(weight: Weight) -> Weight:
        file = weight.data.obj
        if not isinstance(file, bytes) or 2 * needed[id(file)] > len(file):
            return weight
        return Weight(weight.data_type, weight.dims, memoryview(bytes(weight.data)))

    return {name: own(weight) for name, weight in weights.items()}


Beside: TypeAlias = Callable[[str], memoryview]
"""Gives the bytes of what a model names as the place of its external data; ModelFileError."""


def read_weights(model: onnx.ModelProto, beside: Beside | None) -> dict[str, Weight]:
    """The initializers of a model, external ones as views of what is ``beside`` it (None: bytes
    from nowhere, which cannot have any)."""
    if len(model.graph.sparse_initializer):
        raise UnsupportedModelError("The network has sparse weights; save them as dense ones.")
    weights: dict[str, Weight] = {}
    total = 0
    for proto in model.graph.initializer:
        if not proto.name or proto.name in weights:
            raise ModelFileError(f"Two weights are called {proto.name!r}: the file is damaged.")
        weight = read_weight(proto, beside)
        total += weight.nbytes
        if total > limits.TOTAL_WEIGHT_BYTES:
            raise ModelFileError(
                f"The weights take more than {limits.TOTAL_WEIGHT_BYTES} bytes, the most that "
                "Shoal loads."
            )
        weights[proto.name] = weight
    return weights


def read_weight(proto: onnx.TensorProto, beside: Beside | None) -> Weight:
    """The weight in a tensor that holds its elements, or names their place ``beside``."""
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        return _read_external(proto, beside)
    dims, needed = _checked(proto)
    try:
        raw = proto.HasField("raw_data")
        held = proto if raw else numpy_helper.from_array(numpy_helper.to_array(proto))
        data = memoryview(held.raw_data)
    except Exception as error:
        raise ModelFileError(f"Weight {proto.name!r} is damaged: {str(error)[:200]}.") from None
    if data.nbytes != needed:
        raise ModelFileError(
            f"Weight {proto.name!r} has {data.nbytes} bytes, its shape {list(dims)} needs "
            f"{needed}: the file is damaged."
        )
    return Weight(proto.data_type, dims, data)


def _checked(proto: onnx.TensorProto) -> tuple[tuple[int, ...], int]:
    """Shape and bytes of a weight, within the limits."""
    if proto.data_type == STRING:
        raise UnsupportedModelError(f"Weight {proto.name!r} holds text; Shoal runs numbers only.")
    if not is_sized(proto.data_type):
        raise ModelFileError(f"Weight {proto.name!r} has the unknown type {proto.data_type}.")
    dims = tuple(proto.dims[: limits.RANK + 1])
    if any(dim < 0 for dim in dims):
        raise ModelFileError(f"Weight {proto.name!r} has the shape {list(dims)}: damaged file.")
    size = size_bytes(proto.data_type, math.prod(dims))
    if len(dims) > limits.RANK or size > limits.TENSOR_BYTES:
        raise ModelFileError(
            f"Weight {proto.name!r} of shape {list(dims)} takes more than {limits.TENSOR_BYTES} "
            f"bytes or has more than {limits.RANK} dimensions, the most that Shoal loads."
        )
    return dims, size


def _read_external(proto: onnx.TensorProto, beside: Beside | None) -> Weight:
    entries = {entry.key: entry.value for entry in proto.external_data}
    location = entries.get("location", "")
    if beside is None:
        raise ModelFileError(f"Weight {proto.name!r} lies in another file ({location[:200]!r}).")
    dims, needed = _checked(proto)
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or needed)
    except ValueError:
        raise ModelFileError(
            f"Weight {proto.name!r} has a damaged place in {location!r}."
        ) from None
    view = beside(location)
    if length != needed or offset < 0 or offset + length > view.nbytes:
        raise ModelFileError(
            f"Weight {proto.name!r} should have {needed} bytes at {offset} of {location!r}, "
            f"which has {view.nbytes}: the file of weights does not belong to this model."
        )
    return Weight(proto.data_type, dims, view[offset : offset + length])


class Folders:
    """The files in the folders that a model may keep weights in, mapped when first asked for.

    ``folders`` are that of the file which the user named and, where that is a link, that of the
    file it leads to. What lies in one of them (or below) may itself be a link, to what lies in one
    of them: so caches keep models, whose files are links into a folder of blobs.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = tuple(dict.fromkeys(folders))
        self._maps: dict[Path, memoryview] = {}

    def __call__(self, location: str) -> memoryview:
        path = self._find(location)
        if path not in self._maps:
            try:
                if not path.is_file():
                    raise ModelFileError(f"{path}, which holds weights of the model, is missing.")
                with path.open("rb") as file:
                    size = path.stat().st_size
                    self._maps[path] = memoryview(
                        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
                    )
            except OSError as error:
                raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.") from None
        return self._maps[path]

    def _find(self, location: str) -> Path:
        """The file at ``location``, links followed; refused where that leads out."""
        named = PurePath(location)
        if named.parts and not named.is_absolute() and ".." not in named.parts:
            there = [folder / named for folder in self._folders if os.path.lexists(folder / named)]
            path = self.inside(there[0] if there else self._folders[0] / named)
            if path is not None:
                return path
        raise ModelFileError(
            f"The model keeps weights at {location[:200]!r}, outside its own folder: refused. "
            "Put them next to the model and save it again."
        )

    def inside(self, path: Path) -> Path | None:
        """Where a path leads, if that is below one of the folders."""
        try:
            roots, real = [folder.resolve() for folder in self._folders], path.resolve()
        except (OSError, RuntimeError, ValueError):  # links in a circle, a zero byte
            return None
        return real if not set(roots).isdisjoint(real.parents) else None
