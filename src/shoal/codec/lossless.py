"""The codec ``lossless``: every bit comes back, whatever the dtype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from shoal.codec.codecs import Array, Buffer, Codec, Raw
from shoal.codec.compress import Compressor
from shoal.codec.layout import shuffle, unshuffle
from shoal.codec.parcel import (
    AS_IT_LIES,
    SMALL,
    as_it_lies,
    flags_of,
    lay_out,
    meta_of,
    squeeze,
    unsqueeze,
)
from shoal.codec.settings import Settings

LAYOUTS = ("shuffle", "bytes")


def make(settings: str) -> Codec:
    """The codec of ``lossless:settings``."""
    given = Settings("lossless", settings)
    codec = Lossless(given.one_of(LAYOUTS, "shuffle"), given.compressor())
    given.end()
    return codec


class Lossless:
    """The bytes of a tensor, shuffled so that exponents lie beside exponents, and compressed."""

    def __init__(self, layout: str, compressor: Compressor) -> None:
        self._shuffled = layout == "shuffle"
        self._compressor = compressor

    def encode(self, array: Array) -> tuple[Buffer, bytes]:
        if not self._shuffled or array.itemsize == 1 or array.size < SMALL:
            return as_it_lies(array, self._compressor)
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        data, flags = squeeze(shuffle(little), self._compressor)
        if flags:
            return Raw().encode(array)[0], meta_of(AS_IT_LIES | flags)
        return data, meta_of(flags)

    def decode(
        self, data: memoryview, meta: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> Array:
        flags = flags_of(meta)
        if flags & AS_IT_LIES:
            return lay_out(data, flags, dtype, shape, self._compressor)
        size = math.prod(shape) * dtype.itemsize
        given = unsqueeze(data, flags, size, self._compressor)
        values = unshuffle(given, dtype.itemsize)
        return Raw().decode(values.data, b"", dtype, shape)
