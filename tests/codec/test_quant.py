"""Rounding to a few bits: never further off than half a step, and never fooled."""

import numpy as np
import pytest
import xxhash
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shoal.codec.codecs import find_codec
from shoal.codec.frame import Frame, FrameHead, Packed, pack, unpack
from shoal.codec.parcel import AS_IT_LIES, SMALL, STORED
from shoal.codec.quant import BITS, BLOCK
from shoal.errors import FrameError

FLOAT32 = np.dtype("float32")
shapes = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=9)
values = hnp.arrays(
    np.float32, shapes, elements=st.floats(-1e6, 1e6, width=32), fill=st.floats(-8, 8, width=32)
)
layouts = st.sampled_from(["bytes", "bits", "planes"])
compressors = st.sampled_from(["none", "lz4", "zstd"])


def there_and_back(array, name):
    frame = pack({"a": array}, name)
    return unpack(Frame(frame.head, (bytes(frame.whole),)))["a"]


def largest_errors(array, bits, channel=False):
    """The largest error that is allowed for each value: half a step of its range."""
    rows = array.astype(np.float64)
    axes = tuple(range(1, array.ndim)) if array.ndim > 1 else None
    if channel and array.ndim > 2:
        axes = axes[1:]
    low, high = (f(rows, axis=axes, keepdims=True) for f in (np.min, np.max))
    slack = np.zeros_like(low)
    if channel and array.ndim > 2:  # its ends lie on 1/255 of the image's range, outwards
        whole = tuple(range(1, array.ndim))
        slack = 2 / 255 * np.ptp(rows, axis=whole, keepdims=True)
    lost_by_float32 = 4e-7 * np.abs(rows).max(initial=0)
    return ((high - low + slack) / (2**bits - 1) / 2) * (1 + 1e-5) + lost_by_float32


@settings(deadline=None, max_examples=120)
@given(values, st.sampled_from(BITS), layouts, compressors, st.booleans(), st.booleans())
def test_no_value_is_further_off_than_half_a_step(array, bits, layout, compressor, channel, zero):
    name = f"quant:{bits},{layout},{compressor}" + ",channel" * channel + ",zero" * zero
    back = there_and_back(array, name)
    assert back.shape == array.shape
    assert back.dtype == array.dtype
    if array.size:
        assert np.all(np.abs(back - array) <= largest_errors(array, bits, channel))


@settings(deadline=None, max_examples=60)
@given(values, st.sampled_from(BITS), st.booleans())
def test_zero_is_exact_where_the_range_straddles_it(array, bits, channel):
    assume(array.size)
    array.reshape(-1)[::3] = 0
    back = there_and_back(array, f"quant:{bits},zero" + ",channel" * channel)
    assert np.all(back[array == 0] == 0)


@pytest.mark.parametrize("channel", ["", ",channel"])
def test_zero_is_exact_at_the_ends_of_ranges(channel):
    array = np.zeros((1, 256, 10), np.float32)
    array[0, :, 3] = np.linspace(-93.7, 11.3, 256)
    for bits in BITS:
        back = there_and_back(array, f"quant:{bits},zero{channel}")
        assert np.all(back[array == 0] == 0)
        back = there_and_back(np.minimum(array, 0), f"quant:{bits},zero{channel}")
        assert np.all(back[array >= 0] == 0)


@pytest.mark.parametrize("bits", BITS)
def test_the_ends_of_the_range_are_met_and_the_grid_is_even(bits):
    array = np.linspace(-3, 5, 4000, dtype=np.float32).reshape(1, -1)
    back = there_and_back(array, f"quant:{bits}")
    levels = np.unique(back)
    assert len(levels) == 2**bits
    assert levels[[0, -1]].tolist() == pytest.approx([-3, 5])
    assert np.ptp(np.diff(levels)) < 1e-5


@pytest.mark.parametrize("laid", [lambda a: a[:, ::2], lambda a: a.T, lambda a: a.astype(">f4")])
def test_any_memory_layout_is_packed_alike(laid):
    array = laid(np.random.default_rng(1).random((40, 60), np.float32))
    contiguous = np.array(array, np.float32, order="C")
    np.testing.assert_array_equal(
        there_and_back(array, "quant:6"), contiguous_back := (there_and_back(contiguous, "quant:6"))
    )
    assert np.abs(contiguous_back - array).max() <= 1 / 126 * 1.001


@pytest.mark.parametrize("shape", [(1, 3, BLOCK), (2, BLOCK // 2 + 7), (1, 700, 13, 11)])
@pytest.mark.parametrize("channel", ["", ",channel"])
def test_tensors_larger_than_a_block_are_packed_in_several(shape, channel):
    array = np.random.default_rng(2).standard_normal(shape, np.float32)
    back = there_and_back(array, f"quant:5,bits{channel}")
    assert np.all(np.abs(back - array) <= largest_errors(array, 5, bool(channel)))


def test_an_image_comes_out_the_same_whatever_is_beside_it():
    rng = np.random.default_rng(3)
    first, second = rng.random((1, 4, 8, 8), np.float32), 50 * rng.random((1, 4, 8, 8), np.float32)
    for name in ("quant:4", "quant:4,channel,bits"):
        both = there_and_back(np.concatenate([first, second]), name)
        np.testing.assert_array_equal(both[:1], there_and_back(first, name))
        np.testing.assert_array_equal(both[1:], there_and_back(second, name))


def test_channels_with_ranges_of_their_own_are_nearer():
    array = np.random.default_rng(4).random((1, 8, 16, 16), np.float32)
    array *= np.array([100, 1, 1, 1, 1, 1, 1, 1], np.float32)[:, None, None]
    errors = {
        name: np.abs(there_and_back(array, name) - array)[:, 1:].max()
        for name in ("quant:4", "quant:4,channel")
    }
    assert errors["quant:4"] > 0.4
    assert errors["quant:4,channel"] < 0.07


@pytest.mark.parametrize("value", [0.0, -2.5, 1e36])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_constant_needs_no_more_than_its_value(value, dtype):
    if dtype == "float16":
        value = min(value, 60000.0)
    array = np.full((2, 5, 40), value, dtype)
    frame = pack({"a": array}, "quant:4,channel")
    assert frame.head.size == 16
    np.testing.assert_array_equal(unpack(frame)["a"], array)


def test_images_may_be_constant_alone():
    array = np.zeros((2, 100), np.float32)
    array[1] = np.linspace(0, 1, 100)
    back = there_and_back(array, "quant:8")
    assert np.all(back[0] == 0)
    assert np.abs(back[1] - array[1]).max() <= 1 / 510 * 1.001


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, -3e38])
@pytest.mark.parametrize("channel", ["", ",channel"])
def test_what_cannot_be_rounded_is_sent_as_it_is(bad, channel):
    array = np.linspace(0, 1, 200, dtype=np.float32).reshape(2, 2, 50)
    array[1, 1, 7] = bad
    frame = pack({"a": array}, f"quant:4{channel}")
    assert frame.head.tensors[0].meta[0] & AS_IT_LIES
    np.testing.assert_array_equal(unpack(frame)["a"], array)


def test_ranges_too_narrow_for_a_step_are_sent_as_they_are():
    for top in (1e-38, 1e-45):
        array = np.full(200, top, np.float32)
        array[::2] = 0
        assert array.any()
        np.testing.assert_array_equal(there_and_back(array, "quant:4"), array)
    array = np.linspace(0, 1e-38, 200, dtype=np.float32)
    np.testing.assert_array_equal(there_and_back(array, "quant:4"), array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(1000, dtype=np.int32),
        np.arange(1000) % 2 == 0,
        np.linspace(0, 1, 999),
        np.linspace(0, 1, SMALL - 1, dtype=np.float32),
        np.zeros((0, 9), np.float32),
        np.float32(2.5).reshape(()),
        np.linspace(0, 1, 200, dtype=np.float32).reshape(100, 2),
    ],
    ids=["integers", "truth", "float64", "few", "empty", "scalar", "ranges larger than values"],
)
@pytest.mark.parametrize("name", ["quant:2", "quant:8,channel,planes,lz4", "half", "lossless"])
def test_what_is_not_worth_rounding_is_exact(array, name):
    if name == "half" and array.dtype == np.float32 and array.size >= SMALL:
        pytest.skip("half rounds it")
    np.testing.assert_array_equal(there_and_back(array, name), array)


def test_a_range_that_was_fixed_cuts_off_what_lies_outside():
    array = np.linspace(-10, 10, 500, dtype=np.float32)[None]
    back = there_and_back(array, "quant:8,clip:-1:3")
    assert (back.min(), back.max()) == pytest.approx((-1, 3), abs=1e-5)
    inside = (array >= -1) & (array <= 3)
    assert np.abs(back - array)[inside].max() <= 4 / 255 / 2 * 1.001


def test_a_vector_may_hold_a_number_of_each_image_and_is_not_rounded():
    array = np.linspace(-10, 10, 500, dtype=np.float32)
    np.testing.assert_array_equal(there_and_back(array, "quant:2"), array)


def test_a_range_that_was_fixed_does_not_widen_one_that_is_narrower():
    array = np.linspace(0, 1, 500, dtype=np.float32)[None]
    np.testing.assert_array_equal(
        there_and_back(array, "quant:4,clip:-9:9"), there_and_back(array, "quant:4")
    )


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("zero", ["", ",zero"])
def test_values_far_outside_a_fixed_range_end_at_its_ends(bits, zero):
    array = np.full(100, 1e36, np.float32)
    array[::2] = -1e36
    array[:4] = (-0.3, 0.1, 0, 0.4)
    array = array[None]
    back = there_and_back(array, f"quant:{bits},clip:-0.3:0.4{zero}")
    step = 0.7 / (2**bits - 1)
    assert np.all(np.abs(back - np.clip(array, -0.3, 0.4)) <= step / 2 * 1.001)


def test_float16_is_rounded_too():
    array = np.linspace(0, 60000, 500, dtype=np.float16)[None]
    back = there_and_back(array, "quant:8")
    assert back.dtype == np.float16
    assert np.abs(back.astype(float) - array).max() <= 60000 / 510 + 32


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.float32, shapes, elements=st.floats(width=32)),
    st.sampled_from(["half", "half:none", "half:bytes,lz4"]),
)
def test_half_is_off_by_its_last_digit_at_most(array, name):
    back = there_and_back(array, name)
    for row, came in zip(np.atleast_1d(array), np.atleast_1d(back), strict=True):
        if array.size >= SMALL and np.all(np.abs(row) <= 65504):
            assert np.all(np.abs(came - row) <= np.maximum(np.abs(row) * 2.0**-11, 2.0**-25))
        else:
            np.testing.assert_array_equal(came, row)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["bool", "int8", "uint16", "float16", "float32", "float64"]).flatmap(
        lambda dtype: hnp.arrays(dtype, shapes)
    ),
    st.sampled_from(
        ["lossless", "lossless:bytes", "lossless:lz4", "lossless:none", "lossless:predict"]
    ),
)
def test_lossless_is_exact_to_the_bit(array, name):
    back = there_and_back(array, name)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


ONE_IMAGE = np.linspace(0, 1, 200, dtype=np.float32).reshape(1, 2, 100)


def ranges(low, high):
    return np.array([low, high], "<f4").tobytes()


BODY = bytes(200)
LIES = {
    "no flags": ("quant:4,none", b"", ranges(0, 1) + BODY),
    "two bytes of flags": ("quant:4,none", b"\2\2", ranges(0, 1) + BODY),
    "flags that do not exist": ("quant:4,none", b"\x82", ranges(0, 1) + BODY),
    "nothing at all": ("quant:4,none", b"\2", b""),
    "half a range": ("quant:4,none", b"\2", ranges(0, 1)[:5]),
    "a range without values": ("quant:4,none", b"\2", ranges(0, 1)),
    "a value too few": ("quant:4,none", b"\2", ranges(0, 1) + BODY[1:]),
    "a value too many": ("quant:4,none", b"\2", ranges(0, 1) + BODY + b"\0"),
    "a value of more bits": ("quant:4,none", b"\2", ranges(0, 1) + BODY[1:] + b"\x10"),
    "values for a constant": ("quant:4,none", b"\2", ranges(1, 1) + BODY),
    "a range that ends before it begins": ("quant:4,none", b"\2", ranges(1, 0) + BODY),
    "a range too narrow": ("quant:4,zero,predict,none", b"\2", ranges(-1e-45, 0) + BODY),
    "a range without an end": ("quant:4,none", b"\2", ranges(0, np.inf) + BODY),
    "a constant without end": ("quant:4,none", b"\2", ranges(np.inf, np.inf)),
    "a range that is no number": ("quant:4,none", b"\2", ranges(np.nan, np.nan) + BODY),
    "compressed by none": ("quant:4,none", b"\0", ranges(0, 1) + BODY),
    "garbage for Zstandard": ("quant:4", b"\0", ranges(0, 1) + BODY),
    "garbage for LZ4": ("quant:4,lz4", b"\0", ranges(0, 1) + b"\xf0" + BODY),
    "a channel that ends before it begins": (
        "quant:4,channel,none", b"\2", ranges(0, 1) + b"\0\1\1\0" + BODY,
    ),
    "as it lies, too short": ("quant:4", b"\3", BODY),
    "as it lies, garbage": ("quant:4", b"\1", BODY),
    "half of something else": ("half", b"\6", BODY),
    "lossless garbage": ("lossless", b"\0", BODY),
}  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 3, 0, 5), (0, 3, 5, 5), (1, 1, 2, 2)])
def test_few_values_always_come_as_they_lie(shape):
    data = zstandard.compress(bytes(int(np.prod(shape))))
    with pytest.raises(FrameError, match="as it lies"):
        find_codec("lossless:predict").decode(memoryview(data), b"\0", np.dtype("uint8"), shape)


@pytest.mark.parametrize(("name", "meta", "data"), LIES.values(), ids=LIES.keys())
def test_a_lie_is_refused(name, meta, data):
    with pytest.raises(FrameError):
        find_codec(name).decode(memoryview(data), meta, FLOAT32, ONE_IMAGE.shape)


def test_integers_cannot_have_been_rounded():
    with pytest.raises(FrameError, match="never rounded"):
        find_codec("quant:4").decode(memoryview(BODY), b"\2", np.dtype("int8"), (200,))


def test_a_liar_cannot_make_float16_warn():
    data = ranges(0, 1e37) + bytes([15] * 200)
    codec = find_codec("quant:4,none")
    back = codec.decode(memoryview(data), b"\2", np.dtype("float16"), (1, 200))
    assert np.all(np.isinf(back))


NAMES = st.sampled_from(
    [
        "quant:4,bits",
        "quant:3,channel,planes,lz4",
        "quant:8,zero,none",
        "quant:2,channel,none",
        "half",
        "half:bytes,lz4",
        "half:none",
        "lossless",
        "lossless:lz4",
        "lossless:predict",
        "quant:3,predict,lz4",
    ]
)


@settings(deadline=None, max_examples=200)
@given(
    NAMES,
    st.binary(max_size=300),
    st.integers(0, 400),
    st.integers(0, 7),
    st.sampled_from(["float32", "float16", "int8", "bool"]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=8),
)
def test_any_bytes_are_unpacked_or_refused(name, noise, kept, flags, dtype, shape):
    """The honest bytes up to some place, then noise, under any flags, shape and dtype."""
    honest = bytes(memoryview(find_codec(name).encode(ONE_IMAGE)[0]))
    data = honest[:kept] + noise
    packed = Packed("a", dtype, shape, name, len(data), bytes([flags]))
    frame = Frame(FrameHead((packed,), xxhash.xxh3_64_intdigest(data)), (data,))
    try:
        back = unpack(frame)["a"]
    except FrameError:
        return
    assert back.shape == shape
    assert back.dtype.name == dtype


def test_stored_is_said_when_compressing_does_not_help():
    noise = np.random.default_rng(5).random((1, 300), np.float32)
    meta = pack({"a": noise}, "quant:8,lz4").head.tensors[0].meta
    assert meta == bytes([STORED])
