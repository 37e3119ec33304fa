"""The codec ``lossless``: every bit comes back, whatever the dtype.

Three layouts. ``bytes``: as they lie. ``shuffle``: the first bytes of all values first, so that
exponents lie beside exponents. ``predict``: 8-bit maps and images, of shape (N, C, H, W), as
differences to their neighbours (see :mod:`shoal.codec.predict`), of three channels the first and
the last less the middle one before that, since colours go together; all else is shuffled. An image
of bytes becomes about as small as its PNG; it is packed far sooner and unpacked later (``shoal
bench codec`` prints both).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from shoal.codec.codecs import Array, Buffer, Codec, Raw
from shoal.codec.layout import shuffle, unshuffle
from shoal.codec.parcel import AS_IT_LIES, SMALL, Parcel
from shoal.codec.predict import differences, restored
from shoal.codec.settings import Settings
from shoal.errors import FrameError

LAYOUTS = ("shuffle", "bytes", "predict")


def make(settings: str) -> Codec:
    """The codec of ``lossless:settings``."""
    given = Settings("lossless", settings)
    layout = given.one_of(LAYOUTS, "shuffle")
    codec = Lossless(given.compressor(), layout)
    given.end()
    return codec


@dataclass(frozen=True)
class Lossless(Parcel):
    """The bytes of a tensor in one of ``LAYOUTS``, compressed."""

    layout: str

    def pack(self, array: Array) -> tuple[Buffer, int] | None:
        predicted = self._predicts(array.dtype, array.shape)
        plain = self.layout == "bytes" or (array.itemsize == 1 and not predicted)
        if plain or array.size < SMALL:
            return None
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        laid = _differences(little.view(np.uint8)) if predicted else shuffle(little)
        data, flags = self.squeeze(laid)
        return (Raw().encode(array)[0], AS_IT_LIES | flags) if flags else (data, flags)

    def unpack(
        self, data: memoryview, flags: int, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> Array:
        size = math.prod(shape) * dtype.itemsize
        if math.prod(shape) < SMALL:
            raise FrameError(f"a tensor of {math.prod(shape)} values did not come as it lies")
        given = self.unsqueeze(data, flags, size)
        if self._predicts(dtype, shape):
            return _restored(given, shape).view(dtype)
        values = unshuffle(given, dtype.itemsize)
        return Raw().decode(values.data, b"", dtype, shape)

    def _predicts(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
        return self.layout == "predict" and dtype.name in ("uint8", "int8") and len(shape) == 4


def _differences(images: Array) -> Array:
    count, channels, height, width = images.shape
    if channels == 3:
        images = images.copy()
        images[:, ::2] -= images[:, 1:2]
    maps = images.reshape(count * channels, height, width)
    return differences(maps, np.zeros(len(maps), np.uint8), 8)


def _restored(given: Array, shape: tuple[int, ...]) -> Array:
    count, channels, height, width = shape
    maps = given.reshape(count * channels, height, width)
    images = restored(maps, np.zeros(len(maps), np.uint8), 8).reshape(shape)
    if channels == 3:
        images[:, ::2] += images[:, 1:2]
    return images
