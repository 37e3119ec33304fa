"""What the codecs that compress share: a flag byte, and tensors sent as they lie.

The ``meta`` of these codecs is one byte of flags. A tensor that a codec has no use for (another
dtype, a few values, NaN where numbers are rounded) is sent as it lies, compressed if that helps.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from shoal.codec.codecs import Array, Buffer, Raw
from shoal.codec.compress import Compressor
from shoal.errors import FrameError

AS_IT_LIES = 1
"""The bytes of the tensor, not what the codec makes of it."""
STORED = 2
"""Not compressed: it would not have become smaller."""

SMALL = 64
"""Tensors of fewer values are sent as they lie: nothing is to be gained by them."""

_RAW = Raw()


def meta_of(flags: int) -> bytes:
    """The meta that holds ``flags``."""
    return bytes((flags,))


def flags_of(meta: bytes) -> int:
    """The flags in a meta that came from outside."""
    if len(meta) != 1 or meta[0] > AS_IT_LIES | STORED:
        raise FrameError("a packed tensor has flags that do not exist")
    return meta[0]


def squeeze(data: Array, compressor: Compressor) -> tuple[Buffer, int]:
    """The bytes of a contiguous array, compressed if that makes them fewer; and the flag."""
    view = data.reshape(-1).view(np.uint8).data
    small = compressor.compress(view)
    return (view, STORED) if small is None else (small, 0)


def unsqueeze(data: memoryview, flags: int, size: int, compressor: Compressor) -> Array:
    """The ``size`` bytes (at least one) behind ``data``, as uint8; FrameError if it is not so."""
    if not flags & STORED:
        return np.frombuffer(compressor.expand(data, size), np.uint8)
    if len(data) != size:
        raise FrameError(f"a packed tensor of {size} bytes came with {len(data)}")
    return np.frombuffer(data, np.uint8)


def as_it_lies(array: Array, compressor: Compressor) -> tuple[Buffer, bytes]:
    """An array of any dtype, exactly."""
    view, _ = _RAW.encode(array)
    if not array.size:
        return view, meta_of(AS_IT_LIES | STORED)
    data, flags = squeeze(np.frombuffer(view, np.uint8), compressor)
    return data, meta_of(AS_IT_LIES | flags)


def lay_out(
    data: memoryview,
    flags: int,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    compressor: Compressor,
) -> Array:
    """The array that :func:`as_it_lies` took."""
    if not flags & STORED:
        size = math.prod(shape) * dtype.itemsize
        data = memoryview(compressor.expand(data, size))
    return _RAW.decode(data, b"", dtype, shape)
