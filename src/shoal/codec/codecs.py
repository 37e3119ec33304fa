"""Codecs: how one tensor becomes bytes. A stage names the codec of its outputs.

A codec is registered under a name and may take settings after a colon (``"name:settings"``, see
docs/codec.md). The modules of those that are built in are imported when one is first used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from shoal.errors import FrameError, UsageError
from shoal.model.dtypes import Array as Array
from shoal.model.dtypes import Buffer as Buffer

MAX_NAME = 256


class Codec(Protocol):
    """Turns an array into bytes and a small ``meta``, and back.

    ``decode`` gets what came from outside: ``data`` and ``meta`` may be anything, ``dtype`` and
    ``shape`` have been checked. It raises FrameError (or ValueError) where they do not fit.
    """

    def encode(self, array: Array) -> tuple[Buffer, bytes]: ...
    def decode(
        self, data: memoryview, meta: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> Array: ...


class Raw:
    """The bytes as they lie in memory, little-endian, C order: nothing is copied."""

    def encode(self, array: Array) -> tuple[Buffer, bytes]:
        """A view of the array's memory (of a contiguous copy where it is not contiguous)."""
        if not (array.flags.c_contiguous and array.dtype.str[0] != ">"):
            array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        return array.reshape(-1).view(np.uint8).data, b""

    def decode(
        self, data: memoryview, meta: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> Array:
        """A view of ``data`` (read-only where that is)."""
        wanted = math.prod(shape) * dtype.itemsize
        if len(data) != wanted:
            raise FrameError(f"a raw tensor of {wanted} bytes came with {len(data)}")
        if dtype.kind == "b" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
            raise FrameError("a tensor of truth values holds others")
        return np.frombuffer(data, dtype=dtype.newbyteorder("<")).reshape(shape)


def _raw(settings: str) -> Codec:
    if settings:
        raise UsageError(f"the codec raw takes no settings, not {settings[:64]!r}")
    return Raw()


def _later(module: str, maker: str = "make") -> Callable[[str], Codec]:
    """The maker of a module that is imported when it is needed."""

    def make(settings: str) -> Codec:
        codec: Codec = getattr(import_module(f"shoal.codec.{module}"), maker)(settings)
        return codec

    return make


_MAKERS: dict[str, Callable[[str], Codec]] = {
    "raw": _raw,
    "lossless": _later("lossless"),
    "half": _later("half"),
    "quant": _later("quant"),
    "jpeg": _later("images", "make_jpeg"),
    "png": _later("images", "make_png"),
}


def register(name: str, make: Callable[[str], Codec]) -> None:
    """Make a codec known; ``make`` gets what follows the colon."""
    _MAKERS[name] = make


@lru_cache(maxsize=256)
def find_codec(name: str) -> Codec:
    """The codec called ``name``; UsageError where there is none or its settings make no sense.

    Codecs are shared: ``encode`` and ``decode`` may run in several threads at once.
    """
    if len(name) > MAX_NAME:
        raise UsageError(f"the name of a codec has {len(name)} characters; {MAX_NAME} is the limit")
    kind, _, settings = name.partition(":")
    make = _MAKERS.get(kind)
    if make is None:
        raise UsageError(
            f"no codec is called {kind[:64]!r}; there are: {', '.join(sorted(_MAKERS))}"
        )
    return make(settings)
