"""Numbers of maps as differences to what their neighbours let expect.

In the maps of a convolution neighbours are alike, which no compressor of single bytes can see. Each
number is expected to be the mean (rounded down) of its left and its upper neighbour; in the first
row the left one, in the first column the upper one, in the corner the number of zero. What is
kept is the difference modulo ``2^bits``. ``shoal bench codec`` prints how many
bytes that saves at each cut, and what it costs in time.
"""

from __future__ import annotations

import numpy as np

from shoal.codec.codecs import Array


def differences(numbers: Array, corner: Array, bits: int) -> Array:
    """The differences of ``numbers``, uint8 of shape (maps, height, width), to what is expected.

    ``corner`` is what is expected in the corner of each map.
    """
    made = numbers.copy()
    made[:, 0, 0] -= corner
    made[:, 0, 1:] -= numbers[:, 0, :-1]
    made[:, 1:, 0] -= numbers[:, :-1, 0]
    made[:, 1:, 1:] -= _mean(numbers[:, 1:, :-1], numbers[:, :-1, 1:])
    return np.bitwise_and(made, _mask(bits), out=made)


def restored(differences: Array, corner: Array, bits: int) -> Array:
    """The numbers of which :func:`differences` made these."""
    maps, height, width = differences.shape
    # The steps below take a diagonal of all maps at once, so these lie side by side.
    made = np.array(differences.reshape(maps, -1), order="F")
    mask = _mask(bits)
    made[:, 0] += corner
    for edge in (made[:, :width], made[:, ::width]):
        np.add.accumulate(edge, axis=1, out=edge)
    made &= mask
    # What is expected on a diagonal that runs against both axes needs only the one before it.
    stride = width - 1
    for diagonal in range(2, height + width - 1) if width > 1 else ():
        first, last = max(1, diagonal - stride), min(height - 1, diagonal - 1)
        if first > last:
            continue
        start, end = diagonal + first * stride, diagonal + last * stride + 1
        left, upper = (made[:, start - back : end - back : stride] for back in (1, width))
        cells = made[:, start:end:stride]
        cells += _mean(left, upper)
        cells &= mask
    return np.ascontiguousarray(made).reshape(maps, height, width)


def _mean(one: Array, other: Array) -> Array:
    """The mean of two uint8, rounded down, without a wider type."""
    mean = np.bitwise_xor(one, other)
    mean >>= 1
    mean += np.bitwise_and(one, other)
    return mean


def _mask(bits: int) -> np.uint8:
    return np.uint8((1 << bits) - 1)
