"""At what size a codec begins to do something, and that all axes are told apart."""

from typing import Any

import numpy as np
import pytest

from shoal.codec.codecs import find_codec
from shoal.codec.frame import Frame, pack, unpack
from shoal.codec.parcel import AS_IT_LIES, SMALL

EXACT = ["raw", "lossless", "lossless:shuffle", "lossless:predict"]
EXACT += ["lossless:lz4", "lossless:none"]
ROUNDED = ["half", "quant:8", "quant:8,bits", "quant:8,channel", "quant:8,zero", "quant:8,predict"]
SHAPES = [(1, 7, 3, 5), (2, 3, 5, 7), (3, 2, 7, 11), (5, 3, 4), (9, 13), (2, 3, 2, 3, 4)]
"""No axis is as long as another, but for one."""


def there_and_back(array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    frame = pack({"a": array}, name)
    return unpack(Frame(frame.head, (bytes(frame.whole),)))["a"]


def slope(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Values that follow each other, so that there is something to be gained by packing them."""
    count = int(np.prod(shape))
    return (np.arange(count) % 251).reshape(shape).astype(dtype)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int64", "float32", "float16", "bool"])
@pytest.mark.parametrize("count", [0, 1, SMALL - 1, SMALL, SMALL + 1])
def test_few_values_come_back_exactly_from_the_first_that_are_packed_on(
    name: str, dtype: str, count: int
) -> None:
    for shape in ((count,), (1, count), (1, 1, 1, count), (1, 1, count, 1)):
        array = slope(shape, dtype)
        back = there_and_back(array, name)
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("count", [1, SMALL - 1, SMALL, SMALL + 1])
def test_few_values_come_back_rounded_from_the_first_that_are_packed_on(
    name: str, count: int
) -> None:
    for shape in ((1, count), (1, 1, 1, count), (1, 1, count, 1)):
        array = slope(shape, "float32")
        np.testing.assert_allclose(there_and_back(array, name), array, atol=0.5)


@pytest.mark.parametrize(("count", "rounded"), [(SMALL - 1, False), (SMALL, True)])
def test_what_is_small_is_not_rounded(count: int, rounded: bool) -> None:
    array = np.linspace(0, 1, count, dtype=np.float32).reshape(1, count)
    _, meta = find_codec("quant:2").encode(array)
    assert bool(meta[0] & AS_IT_LIES) is not rounded
    assert bool(np.any(there_and_back(array, "quant:2") != array)) is rounded


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", EXACT)
def test_shapes_without_two_axes_alike_come_back_exactly(name: str, shape: tuple[int, ...]) -> None:
    for dtype in ("uint8", "int8", "int16", "float32"):
        array = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
        np.testing.assert_array_equal(there_and_back(array, name), array)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ROUNDED)
def test_each_image_and_channel_of_such_shapes_has_its_own_range(
    name: str, shape: tuple[int, ...]
) -> None:
    """Images of quite different ranges, as those of requests that were put together are."""
    array = np.random.default_rng(2).random(shape, np.float32)
    scale = (10.0 ** np.arange(shape[0])).astype(np.float32).reshape(-1, *(1,) * (len(shape) - 1))
    back = there_and_back(array * scale, name)
    assert np.all(np.abs(back - array * scale) <= scale / 250)


def test_a_value_too_large_for_half_leaves_the_other_images_rounded() -> None:
    """Else an image would be answered otherwise alone than beside that one."""
    images = np.random.default_rng(0).standard_normal((3, 100)).astype(np.float32)
    images[1, 5] = 1e6
    together = there_and_back(images, "half")
    for number in range(3):
        alone = there_and_back(images[number : number + 1], "half")
        np.testing.assert_array_equal(together[number : number + 1], alone)
    np.testing.assert_array_equal(together[1], images[1])
    assert not np.array_equal(together[0], images[0])
