"""How small numbers lie in bytes, so that a compressor finds what repeats.

``bytes``: one number in each byte. ``bits``: only the bits that are used, one number behind the
other. ``planes``: the lowest bit of all numbers, then the next bit of all, and so on. Floats may be
``shuffle``d: the first byte of all of them, then the second byte of all, and so on.

Numbers are uint8 below ``2**bits`` throughout, in arrays of one dimension.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from shoal.codec.codecs import Array
from shoal.errors import FrameError

LAYOUTS = ("bytes", "bits", "planes")


def size_of(count: int, bits: int, layout: str) -> int:
    """Bytes that ``count`` numbers of ``bits`` bits take."""
    return count if layout == "bytes" else -(-count // 8) * bits


def lay(numbers: Array, bits: int, layout: str) -> Array:
    """The numbers as bytes. They are padded with zeros to a multiple of eight but in ``bytes``."""
    if layout == "bytes":
        return numbers
    if numbers.size % 8:
        numbers = np.concatenate([numbers, np.zeros(-numbers.size % 8, np.uint8)])
    return _to_planes(numbers, bits) if layout == "planes" else _to_bits(numbers, bits)


def pick(data: Array, count: int, bits: int, layout: str) -> Array:
    """The numbers again, from ``size_of(count, bits, layout)`` bytes.

    Raises FrameError when a byte holds a number that needs more bits.
    """
    if layout == "bytes":
        if bits < 8 and data.max(initial=0) >= 1 << bits:
            raise FrameError(f"a tensor of {bits} bits holds a number that needs more")
        return data
    numbers = _from_planes(data, bits) if layout == "planes" else _from_bits(data, bits)
    return numbers[:count]


def shuffle(values: Array) -> Array:
    """The bytes of a contiguous array, all first bytes first."""
    given = values.reshape(-1).view(np.uint8).reshape(-1, values.itemsize)
    made = np.empty((values.itemsize, values.size), np.uint8)
    for byte in range(values.itemsize):
        made[byte] = given[:, byte]
    return made.reshape(-1)


def unshuffle(data: Array, itemsize: int) -> Array:
    """The bytes as they were before :func:`shuffle`."""
    given = data.reshape(itemsize, -1)
    made = np.empty((given.shape[1], itemsize), np.uint8)
    for byte in range(itemsize):
        made[:, byte] = given[byte]
    return made.reshape(-1)


def _to_planes(numbers: Array, bits: int) -> Array:
    planes = np.empty((bits, numbers.size // 8), np.uint8)
    one = np.empty_like(numbers)
    for bit in range(bits):
        np.bitwise_and(numbers, 1 << bit, out=one)
        planes[bit] = np.packbits(one)
    return planes.reshape(-1)


def _from_planes(data: Array, bits: int) -> Array:
    planes = data.reshape(bits, -1)
    numbers = np.unpackbits(planes[bits - 1])
    for bit in range(bits - 2, -1, -1):
        np.left_shift(numbers, 1, out=numbers)
        np.bitwise_or(numbers, np.unpackbits(planes[bit]), out=numbers)
    return numbers


# Packed bits: the eight numbers in the bytes of a 64-bit word are pushed together, neighbours
# first, then pairs, then fours; the low `bits` bytes of the word are then full, the others go.
_PUSHES = (8, 16, 32)
_NARROW = {2: "<u2", 4: "<u4", 8: "<u8"}
"""Widths in bytes for which numpy has a type, which is quicker than copying column by column."""


@lru_cache
def _lower(width: int, bits: int) -> int:
    """The bits of the lower numbers where each two fields of ``width`` bits are pushed together."""
    used = (1 << width // 8 * bits) - 1
    return sum(used << place for place in range(0, 64, 2 * width))


def _to_bits(numbers: Array, bits: int) -> Array:
    words = numbers.view("<u8")
    upper = np.empty_like(words)
    for width in _PUSHES if bits < 8 else ():
        used, lower = width // 8 * bits, _lower(width, bits)
        np.right_shift(words, width - used, out=upper)
        np.bitwise_and(upper, lower << used, out=upper)
        words = np.bitwise_and(words, lower, out=None if width == 8 else words)
        np.bitwise_or(words, upper, out=words)
    if bits in _NARROW:
        return words.astype(_NARROW[bits]).view(np.uint8)
    columns = np.empty((words.size, bits), np.uint8)
    given = words.view(np.uint8).reshape(-1, 8)
    for column in range(bits):
        columns[:, column] = given[:, column]
    return columns.reshape(-1)


def _from_bits(data: Array, bits: int) -> Array:
    if bits in _NARROW:
        words = data.view(_NARROW[bits]).astype("<u8")
    else:
        words = np.zeros(data.size // bits, "<u8")
        columns, given = words.view(np.uint8).reshape(-1, 8), data.reshape(-1, bits)
        for column in range(bits):
            columns[:, column] = given[:, column]
    upper = np.empty_like(words)
    for width in reversed(_PUSHES) if bits < 8 else ():
        used, lower = width // 8 * bits, _lower(width, bits)
        np.left_shift(words, width - used, out=upper)
        np.bitwise_and(upper, lower << width, out=upper)
        np.bitwise_and(words, lower, out=words)
        np.bitwise_or(words, upper, out=words)
    return words.view(np.uint8)
