"""Ranges of values, and the grid of steps laid over each.

Both ends of a link work out the same grid from the same ranges. Ranges are arrays of float32 of
shape (groups, 2): low, high.
"""

from __future__ import annotations

import numpy as np

from shoal.codec.codecs import Array
from shoal.errors import FrameError

LARGEST = 1e37
"""Values beyond it are not rounded: differences of two of them must stay finite."""
FINEST = 1e-37
"""Steps below it have no finite inverse in float32."""
LEVELS = 255
"""The range of a channel begins and ends on one of so many steps of the image's range."""


class Grid:
    """For each range its ``low``, ``step`` and ``per_step`` (1 / step; 0 where it is constant).

    With ``zero``, the grid of a range that reaches from below zero to it or beyond is shifted by
    at most half a step, so that one of its points is zero. ``usable`` is false when some range is
    too narrow for float32 to divide it. Raises FrameError for ranges that no sender makes.
    """

    def __init__(self, ranges: Array, steps: int, zero: bool) -> None:
        low, high = ranges[:, 0].astype(np.float64), ranges[:, 1].astype(np.float64)
        # A NaN is neither.
        if not (np.all(np.abs(ranges) <= LARGEST) and np.all(low <= high)):
            raise FrameError("a rounded tensor has an impossible range")
        self.steps = steps
        self.step = ((high - low) / steps).astype(np.float32)
        self.low = ranges[:, 0].astype(np.float32)
        self._moving = high > low
        self.usable = bool(np.all(self.step[self._moving] >= FINEST))
        self.per_step = np.zeros_like(self.step)
        if not self.usable:
            return
        self.per_step[self._moving] = 1 / self.step[self._moving]
        if zero:
            straddles = self._moving & (low < 0) & (high >= 0)
            point = np.rint(-low[straddles] / self.step[straddles]).astype(np.float32)
            # The same product as that of the number of zero, so that their sum is exactly zero.
            self.low[straddles] = -(point * self.step[straddles])

    def zero(self) -> Array:
        """The number whose value is nearest to zero, for each range (uint8)."""
        moving = self._moving
        number = np.zeros(len(self.step))
        number[moving] = np.rint(-self.low[moving].astype(np.float64) / self.step[moving])
        return np.clip(number, 0, self.steps).astype(np.uint8)


def find_ranges(rows: Array, clip: tuple[float, float] | None) -> Array | None:
    """The range of each row, cut to ``clip``; None where a value is not finite, or too large."""
    ranges = np.empty((len(rows), 2), "<f4")
    np.min(rows, axis=1, out=ranges[:, 0])
    np.max(rows, axis=1, out=ranges[:, 1])
    if not np.all(np.abs(ranges) <= LARGEST):
        return None
    return ranges if clip is None else np.clip(ranges, *clip, out=ranges)


def channel_ranges(ranges: Array, images: int) -> tuple[Array, Array]:
    """The ranges of whole images, and those of their channels in a byte for each end.

    The codes tell steps of 1/255 of the image's range, outwards of the channel's own.
    """
    of_images = ranges.reshape(images, -1, 2)
    whole = np.empty((images, 2), "<f4")
    whole[:, 0] = of_images[:, :, 0].min(axis=1)
    whole[:, 1] = of_images[:, :, 1].max(axis=1)
    low = whole[:, :1].astype(np.float64)
    width = whole[:, 1:].astype(np.float64) - low
    level = np.where(width > 0, width, 1.0) / LEVELS
    codes = np.empty(of_images.shape, np.uint8)
    codes[:, :, 0] = np.floor((of_images[:, :, 0] - low) / level)
    codes[:, :, 1] = np.minimum(np.ceil((of_images[:, :, 1] - low) / level), LEVELS)
    return whole, codes.reshape(-1, 2)


def spread_ranges(whole: Array, codes: Array) -> Array:
    """The ranges of the channels; FrameError when one ends before it begins."""
    if np.any(codes[:, 0] > codes[:, 1]):
        raise FrameError("a rounded tensor has a channel whose range ends before it begins")
    low = whole[:, :1].astype(np.float64)
    level = (whole[:, 1:].astype(np.float64) - low) / LEVELS
    spread = low[:, :, None] + codes.reshape(len(whole), -1, 2) * level[:, :, None]
    spread[np.abs(spread) <= 1e-12 * level[:, :, None]] = 0  # but for float64's last digits
    return spread.reshape(-1, 2).astype("<f4")
