"""Layouts: small numbers in few bytes, and each of them comes back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.codec.layout import LAYOUTS, lay, pick, shuffle, size_of, unshuffle
from shoal.errors import FrameError

BITS = (2, 3, 4, 5, 6, 8)


@given(st.data(), st.sampled_from(BITS), st.sampled_from(LAYOUTS))
def test_every_number_comes_back_from_the_size_that_was_foretold(data, bits, layout):
    numbers = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=1, max_size=70))
    numbers = np.array(numbers, np.uint8)
    laid = lay(numbers, bits, layout)
    assert laid.nbytes == size_of(numbers.size, bits, layout)
    np.testing.assert_array_equal(pick(laid, numbers.size, bits, layout), numbers)


def test_packed_bits_follow_one_another_lowest_first():
    laid = lay(np.array([1, 2, 3, 4, 5, 6, 7, 0], np.uint8), 3, "bits")
    expected = sum(number << 3 * place for place, number in enumerate((1, 2, 3, 4, 5, 6, 7, 0)))
    assert int.from_bytes(laid.tobytes(), "little") == expected


def test_planes_hold_one_bit_of_all_numbers_each():
    laid = lay(np.array([0, 1, 2, 3, 0, 0, 0, 1], np.uint8), 2, "planes")
    assert laid.tolist() == [0b01010001, 0b00110000]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_laying_out_leaves_the_numbers_as_they_were(layout):
    numbers = np.arange(16, dtype=np.uint8)
    lay(numbers, 4, layout)
    assert numbers.tolist() == list(range(16))


@pytest.mark.parametrize("bits", BITS[:-1])
def test_a_byte_with_a_number_that_needs_more_bits_is_refused(bits):
    with pytest.raises(FrameError, match="needs more"):
        pick(np.array([0, 1 << bits], np.uint8), 2, bits, "bytes")


@pytest.mark.parametrize("dtype", ["float16", "float32", "int64"])
def test_shuffled_bytes_stand_by_their_place(dtype):
    values = np.arange(-5, 6).astype(dtype)
    shuffled = shuffle(values)
    assert shuffled[: values.size].tobytes() == values.tobytes()[:: values.itemsize]
    assert unshuffle(shuffled, values.itemsize).tobytes() == values.tobytes()
