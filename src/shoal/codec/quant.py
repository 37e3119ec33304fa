"""The codec ``quant``: floats rounded to a few bits, uniformly over the range that they have.

The number of a value is ``q = rint((x - low) / step)`` with ``step = (high - low) / (2^bits - 1)``.
The range is that of this tensor, image by image (so that what is beside an image in a batch
changes nothing), or of each channel of each image. The error is at most ``step / 2`` (and what
float32 loses). A range that is fixed by calibration cuts off what lies outside of it.

What travels: low and high of each image as float32; then, compressed, two bytes for the range of
each channel if they have their own, and the numbers. An image that is constant throughout needs no
numbers. Tensors that are not float16 or float32, that have a single axis, few values, a NaN, an
infinity or values near the ends of what float32 holds travel as they lie.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from shoal.codec.codecs import Array, Buffer, Codec
from shoal.codec.grid import Grid, channel_ranges, find_ranges, spread_ranges
from shoal.codec.layout import LAYOUTS, lay, pick, size_of
from shoal.codec.parcel import SMALL, Parcel
from shoal.codec.predict import differences, restored
from shoal.codec.settings import Settings
from shoal.errors import FrameError

BITS = (2, 3, 4, 5, 6, 8)
BLOCK = 1 << 16
"""Values that are worked on at once: they stay in the cache of a core."""

_FLOATS = ("float16", "float32")
_RANGE = np.dtype("<f4")


def make(settings: str) -> Codec:
    """The codec of ``quant:settings``."""
    given = Settings("quant", settings)
    bits = given.first_number("BITS", BITS)
    codec = Quant(
        bits=bits,
        channel=given.flag("channel"),
        zero=given.flag("zero"),
        clip=given.span("clip"),
        predict=given.flag("predict"),
        layout=given.one_of(LAYOUTS, "bytes"),
        compressor=given.compressor(),
    )
    given.end()
    return codec


@dataclass(frozen=True, kw_only=True)
class Quant(Parcel):
    """Rounds floats to ``bits`` bits.

    ``channel``: a range for each channel (axis 1 of tensors with three axes or more). ``zero``:
    where a range straddles zero, zero comes back as zero. ``clip``: no range reaches beyond it.
    ``predict``: in tensors of four axes, differences to neighbours along the last two are kept.
    """

    bits: int
    channel: bool
    zero: bool
    clip: tuple[float, float] | None
    predict: bool
    layout: str

    def pack(self, array: Array) -> tuple[Buffer, int] | None:
        # Of a vector each number may be of another image.
        if array.dtype.name not in _FLOATS or array.size < SMALL or array.ndim == 1:
            return None
        packed = self._rounded(array)
        return packed if packed is not None and len(packed[0]) < array.nbytes else None

    def unpack(
        self, data: memoryview, flags: int, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> Array:
        count = math.prod(shape)
        if dtype.name not in _FLOATS or count < SMALL:
            raise FrameError(f"{count} values of {dtype} are never rounded")
        images, groups = self._groups(shape)
        ahead = images * 2 * _RANGE.itemsize
        if len(data) < ahead:
            raise FrameError("a rounded tensor came without its ranges")
        ranges = np.frombuffer(data[:ahead], _RANGE).reshape(images, 2)
        if np.array_equal(ranges[:, 0], ranges[:, 1]):
            if len(data) != ahead or flags:
                raise FrameError("a constant tensor came with more than its value")
            made = np.empty(shape, np.float32)
            made.reshape(images, -1)[:] = self._grid(ranges).low[:, None]
            return _as(dtype, made)
        of_channels = 2 * groups if self.channel else 0
        size = of_channels + size_of(count, self.bits, self.layout)
        body = self.unsqueeze(data[ahead:], flags, size)
        if self.channel:
            ranges = spread_ranges(ranges, body[:of_channels].reshape(groups, 2))
        numbers = pick(body[of_channels:], count, self.bits, self.layout)
        grid = self._grid(ranges)
        if not grid.usable:
            raise FrameError("a rounded tensor has a range that is too narrow to be rounded")
        if self.predict and len(shape) == 4:
            numbers = restored(_maps(numbers, shape), self._corner(grid, shape), self.bits)
        made = np.empty(shape, np.float32)
        _restore(numbers.reshape(groups, -1), grid, made.reshape(groups, -1))
        return _as(dtype, made)

    def _rounded(self, array: Array) -> tuple[bytes, int] | None:
        """The packed tensor; None where rounding is not for it."""
        values = np.ascontiguousarray(array, np.float32)
        images, groups = self._groups(array.shape)
        rows = values.reshape(groups, -1)
        found = find_ranges(rows, self.clip)
        if found is None:
            return None
        ranges, codes = channel_ranges(found, images) if self.channel else (found, None)
        if np.array_equal(ranges[:, 0], ranges[:, 1]):
            return ranges.tobytes(), 0
        grid = self._grid(ranges if codes is None else spread_ranges(ranges, codes))
        if not grid.usable:
            return None
        numbers = np.empty(rows.shape, np.uint8)
        _round(rows, grid, numbers, clamp=self.zero or self.clip is not None)
        if self.predict and array.ndim == 4:
            numbers = differences(
                _maps(numbers, array.shape), self._corner(grid, array.shape), self.bits
            )
        body = lay(numbers.reshape(-1), self.bits, self.layout)
        if codes is not None:
            body = np.concatenate([codes.reshape(-1), body])
        data, flags = self.squeeze(body)
        return b"".join((ranges.tobytes(), data)), flags

    def _groups(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """The number of images, and of groups of values with a range of their own."""
        images = shape[0] if len(shape) > 1 else 1
        return images, images * shape[1] if self.channel and len(shape) > 2 else images

    def _corner(self, grid: Grid, shape: tuple[int, ...]) -> Array:
        """The number of zero, or the nearest to it, for each map."""
        return np.repeat(grid.zero(), shape[0] * shape[1] // len(grid.low))

    def _grid(self, ranges: Array) -> Grid:
        return Grid(ranges, (1 << self.bits) - 1, self.zero)


def _round(rows: Array, grid: Grid, numbers: Array, clamp: bool) -> None:
    """Write the number of each value; ``clamp`` those that may lie outside of their range."""
    low, per_step = grid.low[:, None], grid.per_step[:, None]
    half = np.float32(0.5)
    top = np.float32(grid.steps + 0.5)
    buffer = np.empty(max(min(BLOCK, rows.size), 1), np.float32)
    with np.errstate(over="ignore"):  # what lies far outside of a range that is fixed
        for some, part in _blocks(*rows.shape):
            given = rows[some, part]
            block = buffer[: given.size].reshape(given.shape)
            np.subtract(given, low[some], out=block)
            np.multiply(block, per_step[some], out=block)
            np.add(block, half, out=block)
            if clamp:
                np.maximum(block, half, out=block)
                np.minimum(block, top, out=block)
            numbers[some, part] = block  # drops what is behind the point


def _restore(numbers: Array, grid: Grid, rows: Array) -> None:
    """Write the value of each number."""
    low, step = grid.low[:, None], grid.step[:, None]
    for some, part in _blocks(*rows.shape):
        block = rows[some, part]
        block[...] = numbers[some, part]
        np.multiply(block, step[some], out=block)
        np.add(block, low[some], out=block)


def _maps(numbers: Array, shape: tuple[int, ...]) -> Array:
    return numbers.reshape(shape[0] * shape[1], shape[2], shape[3])


def _as(dtype: np.dtype[Any], values: Array) -> Array:
    with np.errstate(over="ignore"):  # float16 cannot hold what a liar may say
        return values.astype(dtype, copy=False)


def _blocks(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of blocks of about ``BLOCK`` values, each at most that many."""
    high = max(BLOCK // columns, 1)
    for row in range(0, rows, high):
        for column in range(0, columns, BLOCK):
            yield slice(row, row + high), slice(column, column + BLOCK)
