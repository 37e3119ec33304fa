"""The codec ``half``: float32 travels as float16.

The error is at most 2^-11 of a value's size, or 2^-25 where that is more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.codec.codecs import Array, Buffer, Codec
from shoal.codec.lossless import LAYOUTS, Lossless
from shoal.codec.parcel import SMALL
from shoal.codec.settings import Settings
from shoal.errors import FrameError

LARGEST = 65504.0

_HALF = 4
"""A flag beside those of parcels: the values were float32."""


def make(settings: str) -> Codec:
    """The codec of ``half:settings``."""
    given = Settings("half", settings)
    layout = given.one_of(LAYOUTS, "shuffle")
    codec = Half(Lossless(given.compressor(), layout))
    given.end()
    return codec


class Half:
    """Rounds float32 to float16 where all of it fits, and packs that; the rest is exact."""

    def __init__(self, exact: Lossless) -> None:
        self._exact = exact

    def encode(self, array: Array) -> tuple[Buffer, bytes]:
        if array.dtype != np.float32 or array.size < SMALL:
            return self._exact.encode(array)
        if not (fits := _fits(array)).all():  # what lies beside an image does not count for it
            mixed = array.copy()
            mixed[fits] = array[fits].astype(np.float16)
            return self._exact.encode(mixed)
        data, meta = self._exact.encode(array.astype(np.float16))
        return data, bytes((meta[0] | _HALF,))

    def decode(
        self, data: memoryview, meta: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> Array:
        if len(meta) != 1 or not meta[0] & _HALF:
            return self._exact.decode(data, meta, dtype, shape)
        if dtype != np.float32:
            raise FrameError(f"a tensor of {dtype} cannot have come as float16")
        rest = bytes((meta[0] ^ _HALF,))
        return self._exact.decode(data, rest, np.dtype(np.float16), shape).astype(np.float32)


def _fits(array: Array) -> npt.NDArray[np.bool_]:
    """In which rows no value is NaN or beyond what float16 holds."""
    rows = array.reshape(len(array), -1)
    return np.asarray((rows.max(axis=1) <= LARGEST) & (rows.min(axis=1) >= -LARGEST))
