"""The codec ``zlib:LEVEL`` of a baseline: the bytes as they lie, deflated. Only benches have it."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

from shoal.codec.codecs import Array, Buffer, Codec, Raw, register
from shoal.errors import FrameError, UsageError

NAME = "zlib"
LEVELS = ("1", "6")


class Zlib:
    """Deflate at one level."""

    def __init__(self, level: int) -> None:
        self._level = level

    def encode(self, array: Array) -> tuple[Buffer, bytes]:
        return zlib.compress(Raw().encode(array)[0], self._level), b""

    def decode(
        self, data: memoryview, meta: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> Array:
        size = math.prod(shape) * dtype.itemsize
        try:
            whole = zlib.decompressobj().decompress(data, size + 1)
        except zlib.error as error:
            raise FrameError(f"deflated bytes cannot be read: {error}") from None
        if len(whole) != size:
            raise FrameError(f"deflated bytes do not unfold to {size}")
        return Raw().decode(memoryview(whole), b"", dtype, shape)


def make(settings: str) -> Codec:
    """The codec of ``zlib:settings``."""
    if settings not in LEVELS:
        raise UsageError(f"codec {NAME}: the level must be one of {', '.join(LEVELS)}")
    return Zlib(int(settings))


def install() -> None:
    """Make the codec known in this process."""
    register(NAME, make)
