"""What the codecs that compress share: a flag byte, and tensors sent as they lie.

The ``meta`` of these codecs is one byte of flags. A tensor that a codec has no use for (another
dtype, a few values, NaN where numbers are rounded) is sent as it lies, compressed if that helps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Parcel(ABC):
    """A codec for some tensors; all others are sent as they lie."""

    compressor: Compressor

    @abstractmethod
    def pack(self, array: Array) -> tuple[Buffer, int] | None:
        """The packed tensor and its flags; None where the codec has no use for it."""

    @abstractmethod
    def unpack(
        self, data: memoryview, flags: int, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> Array:
        """What :meth:`pack` took. ``data`` may be anything: FrameError (or ValueError) then."""

    def encode(self, array: Array) -> tuple[Buffer, bytes]:
        data, flags = self.pack(array) or self._as_it_lies(array)
        return data, bytes((flags,))

    def decode(
        self, data: memoryview, meta: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> Array:
        if len(meta) != 1 or meta[0] > AS_IT_LIES | STORED:
            raise FrameError("a packed tensor has flags that do not exist")
        flags = meta[0]
        if not flags & AS_IT_LIES:
            return self.unpack(data, flags, dtype, shape)
        if not flags & STORED:
            size = math.prod(shape) * dtype.itemsize
            data = memoryview(self.compressor.expand(data, size))
        return _RAW.decode(data, b"", dtype, shape)

    def _as_it_lies(self, array: Array) -> tuple[Buffer, int]:
        view, _ = _RAW.encode(array)
        if not array.size:
            return view, AS_IT_LIES | STORED
        data, flags = self.squeeze(np.frombuffer(view, np.uint8))
        return data, AS_IT_LIES | flags

    def squeeze(self, data: Array) -> tuple[Buffer, int]:
        """The bytes of a contiguous array, compressed if that makes them fewer; and the flag."""
        view = data.reshape(-1).view(np.uint8).data
        small = self.compressor.compress(view)
        return (view, STORED) if small is None else (small, 0)

    def unsqueeze(self, data: memoryview, flags: int, size: int) -> Array:
        """The ``size`` bytes (at least one) behind ``data``, as uint8; FrameError if not so."""
        if not flags & STORED:
            return np.frombuffer(self.compressor.expand(data, size), np.uint8)
        if len(data) != size:
            raise FrameError(f"a packed tensor of {size} bytes came with {len(data)}")
        return np.frombuffer(data, np.uint8)
