"""Lossless compressors for the bytes that a codec made: Zstandard, LZ4, or none.

Their libraries are imported when first used. All of them work without the GIL. How large the
result must be is known to the receiver from the tensor's shape, so that no length that came from
outside is believed.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from shoal.errors import FrameError
from shoal.model.dtypes import Buffer

if TYPE_CHECKING:
    import zstandard


COMPRESSORS = ("none", "lz4", "zstd")
QUICK = 0
LEVELS = range(1, 20)
"""Levels of Zstandard. Higher ones take up to a hundred times longer."""
_QUICK = {"window_log": 17, "hash_log": 6, "chain_log": 6, "search_log": 1, "min_match": 7}
"""Instead of a level: look for long repeats only, in a table of 64 places. Rounded activations are
noise to a search for repeats: short ones cost more than the Huffman codes of what they replace.
``shoal bench codec`` prints bytes and time against level 1."""

LZ4_RATIO = 256
"""More bytes than one byte of a block can stand for (255: another length byte of a match)."""


class Compressor(Protocol):
    """Makes bytes fewer. Shared by threads."""

    def compress(self, data: memoryview) -> bytes | None:
        """``data`` in fewer bytes; None when it does not get smaller."""

    def expand(self, data: memoryview, size: int) -> Buffer:
        """The ``size`` bytes that were compressed to ``data``, which may be anything.

        Raises FrameError, before taking memory, when that is not what it unfolds to.
        """


@lru_cache
def compressor(name: str, level: int) -> Compressor:
    """The compressor called ``name``, one of ``COMPRESSORS``; ``level`` is for Zstandard, one of
    ``LEVELS`` or ``QUICK``."""
    if name == "zstd":
        return Zstandard(level)
    return Lz4() if name == "lz4" else Stored()


class Stored:
    """No compression."""

    def compress(self, data: memoryview) -> None:
        return None

    def expand(self, data: memoryview, size: int) -> Buffer:
        raise FrameError("a compressed tensor came with a codec that compresses nothing")


class Lz4:
    """LZ4, as a bare block."""

    def compress(self, data: memoryview) -> bytes | None:
        import lz4.block

        small: bytes = lz4.block.compress(data, store_size=False)
        return small if len(small) < len(data) else None

    def expand(self, data: memoryview, size: int) -> Buffer:
        import lz4.block

        # The library takes the memory for what it is told to expect, which a liar may have said.
        if size > LZ4_RATIO * len(data):
            raise FrameError(f"an LZ4 block of {len(data)} bytes cannot unfold to {size}")
        try:
            whole: bytes = lz4.block.decompress(data, uncompressed_size=size)
        except lz4.block.LZ4BlockError as error:
            raise FrameError(f"an LZ4 block cannot be read: {error}") from None
        if len(whole) != size:
            raise FrameError(f"an LZ4 block unfolds to {len(whole)} bytes in place of {size}")
        return whole


class Zstandard:
    """Zstandard, as one frame that states its size."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._own = threading.local()  # its contexts are for one thread at a time

    def compress(self, data: memoryview) -> bytes | None:
        pack: zstandard.ZstdCompressor | None = getattr(self._own, "pack", None)
        if pack is None:
            pack = self._own.pack = self._compressor()
        small = pack.compress(data)
        return small if len(small) < len(data) else None

    def _compressor(self) -> zstandard.ZstdCompressor:
        import zstandard

        if self._level != QUICK:
            return zstandard.ZstdCompressor(level=self._level)
        quick = zstandard.ZstdCompressionParameters(strategy=zstandard.STRATEGY_FAST, **_QUICK)
        return zstandard.ZstdCompressor(compression_params=quick)

    def expand(self, data: memoryview, size: int) -> Buffer:
        import zstandard

        unpack: zstandard.ZstdDecompressor | None = getattr(self._own, "unpack", None)
        if unpack is None:
            unpack = self._own.unpack = zstandard.ZstdDecompressor()
        try:
            # The library takes the memory that the frame states, whatever limit it is given.
            stated = zstandard.frame_content_size(data)
            if stated != size:
                raise FrameError(f"a Zstandard frame states {stated} bytes in place of {size}")
            return unpack.decompress(data, max_output_size=size, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise FrameError(f"a Zstandard frame cannot be read: {error}") from None
