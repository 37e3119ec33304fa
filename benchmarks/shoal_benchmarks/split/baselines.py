"""The codecs of baselines, which only benches have: ``zlib:LEVEL``, the bytes as they lie,
deflated; ``float32``, every number as a float32, also where it is a byte."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

from shoal.codec.codecs import Array, Buffer, Codec, Raw, register
from shoal.errors import FrameError, UsageError

ZLIB, WIDE = "zlib", "float32"
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


class Wide:
    """Float32 whatever the type: an image of bytes takes four times as many."""

    def encode(self, array: Array) -> tuple[Buffer, bytes]:
        return Raw().encode(array.astype(np.float32))

    def decode(
        self, data: memoryview, meta: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> Array:
        return Raw().decode(data, b"", np.dtype(np.float32), shape).astype(dtype)


def make_wide(settings: str) -> Codec:
    """The codec of ``float32``."""
    if settings:
        raise UsageError(f"codec {WIDE}: there are no settings")
    return Wide()


def make_zlib(settings: str) -> Codec:
    """The codec of ``zlib:settings``."""
    if settings not in LEVELS:
        raise UsageError(f"codec {ZLIB}: the level must be one of {', '.join(LEVELS)}")
    return Zlib(int(settings))


def install() -> None:
    """Make the codecs known in this process."""
    register(ZLIB, make_zlib)
    register(WIDE, make_wide)
