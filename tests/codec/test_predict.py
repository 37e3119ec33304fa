"""Differences to neighbours: smaller where maps are smooth, and exactly undone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shoal.codec.frame import pack, unpack
from shoal.codec.predict import differences, restored


@given(
    st.sampled_from([2, 3, 4, 5, 6, 8]),
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9)),
    st.data(),
)
def test_what_was_taken_away_comes_back(bits, numbers, data):
    numbers &= (1 << bits) - 1
    corner = data.draw(hnp.arrays(np.uint8, len(numbers), elements=st.integers(0, 2**bits - 1)))
    before = numbers.copy()
    made = differences(numbers, corner, bits)
    assert made.max() < 1 << bits
    np.testing.assert_array_equal(restored(made, corner, bits), before)
    np.testing.assert_array_equal(numbers, before)


def test_each_number_is_expected_between_its_left_and_its_upper_neighbour():
    numbers = np.array([[[5, 6, 6], [4, 9, 7]]], np.uint8)
    made = differences(numbers, np.array([5], np.uint8), 4)
    assert made.tolist() == [[[0, 1, 0], [15, 4, 0]]]  # 9 - (4 + 6) / 2, 7 - (9 + 6) // 2


@pytest.mark.parametrize("name", ["quant:5", "quant:4,bits", "quant:6,channel,zero,planes,lz4"])
@pytest.mark.parametrize("shape", [(2, 3, 20, 20), (1, 8, 1, 40), (1, 8, 40, 1), (1, 300, 1, 1)])
def test_predicting_changes_bytes_and_not_values(name, shape):
    array = np.cumsum(np.random.default_rng(0).standard_normal(shape, np.float32), axis=-1)
    plain, predicted = pack({"a": array}, name), pack({"a": array}, f"{name},predict")
    np.testing.assert_array_equal(unpack(predicted)["a"], unpack(plain)["a"])


def test_smooth_maps_become_smaller():
    y, x = np.mgrid[:28, :28] / 9
    noise = np.random.default_rng(1).standard_normal((1, 16, 28, 28)) / 30
    array = (np.sin(x + y) + noise).astype(np.float32)
    plain, predicted = pack({"a": array}, "quant:6"), pack({"a": array}, "quant:6,predict")
    assert predicted.head.size < 0.85 * plain.head.size


def test_tensors_without_maps_are_as_without():
    array = np.linspace(-1, 1, 400, dtype=np.float32).reshape(2, 10, 20)
    assert pack({"a": array}, "quant:4,predict").whole == pack({"a": array}, "quant:4").whole


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_images_of_bytes_become_smaller_and_come_back_exactly(channels, dtype):
    y, x = np.mgrid[:64, :80]
    grey = 80 * np.sin(y / 9) * np.cos(x / 11)
    noise = np.random.default_rng(2).integers(-2, 3, (2, channels, 64, 80))
    array = (grey + noise).astype(np.int8).view(dtype)
    plain, predicted = pack({"a": array}, "lossless:bytes"), pack({"a": array}, "lossless:predict")
    assert predicted.head.size < 0.75 * plain.head.size
    back = unpack(predicted)["a"]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_colours_that_go_together_cost_once():
    rng = np.random.default_rng(3)
    grey = rng.integers(0, 256, (1, 1, 50, 50)).astype(np.uint8)
    colour = np.repeat(grey, 3, axis=1)
    one, three = (pack({"a": a}, "lossless:predict").head.size for a in (grey, colour))
    assert three < 1.2 * one
