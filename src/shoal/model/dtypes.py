"""Arrays, bytes, and element types: ONNX numbers, NumPy names, sizes. Does not import ``onnx``."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes, wherever they lie."""

ONNX_TO_NUMPY: Final[dict[int, str]] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}
"""The types that NumPy has. Tensors of these may cross a cut."""

NUMPY_TO_ONNX: Final[dict[str, int]] = {name: number for number, name in ONNX_TO_NUMPY.items()}

INT64: Final = 7
STRING: Final = 8

_BITS: Final[dict[int, int]] = {
    **{number: 8 * np.dtype(name).itemsize for number, name in ONNX_TO_NUMPY.items()},
    14: 64,  # complex64
    15: 128,  # complex128
    16: 16,  # bfloat16
    17: 8,  # float8e4m3fn
    18: 8,  # float8e4m3fnuz
    19: 8,  # float8e5m2
    20: 8,  # float8e5m2fnuz
    21: 4,  # uint4
    22: 4,  # int4
    23: 4,  # float4e2m1
    24: 8,  # float8e8m0
    25: 2,  # uint2
    26: 2,  # int2
}


def is_sized(data_type: int) -> bool:
    """Whether elements of this ONNX type have a fixed size (text has none)."""
    return data_type in _BITS


def size_bytes(data_type: int, elements: int) -> int:
    """Bytes of ``elements`` packed elements of ONNX type ``data_type``."""
    return (elements * _BITS[data_type] + 7) // 8
