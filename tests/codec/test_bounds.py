"""Heads of frames, images and joins at their bounds, and along every axis."""

import numpy as np
import pytest
import xxhash

from shoal.codec import join as joins
from shoal.codec.codecs import find_codec
from shoal.codec.frame import Frame, FrameHead, Packed, pack, unpack
from shoal.codec.grid import FINEST, LARGEST, Grid, find_ranges
from shoal.codec.images import LONGEST_SIDE, Shape, images_in
from shoal.codec.join import join
from shoal.codec.layout import lay, pick, size_of
from shoal.codec.parcel import AS_IT_LIES, STORED
from shoal.codec.slices import Join, Slice
from shoal.errors import FrameError, InputError, UsageError
from shoal.model.spec import TensorSpec

GIB = 1 << 30

# -- heads


def frame(*tensors: Packed, payload: bytes = b"") -> Frame:
    return Frame(FrameHead(tensors, xxhash.xxh3_64_intdigest(payload)), (payload,))


def packed(name: str, shape: tuple[int, ...], dtype: str = "uint8", size: int = 0) -> Packed:
    return Packed(name, dtype, shape, "raw", size)


def test_as_many_tensors_as_can_be_sent_are_read() -> None:
    arrays = {f"t{k}": np.full(1, k % 256, np.uint8) for k in range(256)}
    made = pack(arrays)
    back = unpack(Frame(made.head, (bytes(made.whole),)))
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[name], arrays[name]) for name in arrays)
    with pytest.raises(UsageError, match="257 tensors"):
        pack({**arrays, "more": arrays["t0"]})
    with pytest.raises(FrameError, match="257 tensors"):
        unpack(frame(*(packed(f"t{k}", (0,)) for k in range(257))))


@pytest.mark.parametrize("shape", [(), (1,) * 16, (0,), (GIB, 0)])
def test_the_last_shape_that_can_be_is_read(shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    assert unpack(frame(packed("a", shape, size=size), payload=bytes(size)))["a"].shape == shape


@pytest.mark.parametrize(
    ("complaint", "tensors"),
    [
        ("impossible shape", [packed("a", (1,) * 17)]),
        ("impossible shape", [packed("a", (0, -1))]),
        ("impossible shape", [packed("a", (GIB + 1, 0))]),
        ("negative size", [packed("a", (1,), size=-1), packed("b", (1,), size=1)]),
        ("a tensor twice", [packed("a", (0,)), packed("a", (0,))]),
        ("unknown dtype", [packed("a", (0,), "complex64")]),
        ("unfolds to 1073741825 bytes", [packed("a", (GIB,)), packed("b", (1,))]),
        ("unfolds to 1073741828 bytes", [packed("a", (GIB // 4 + 1,), "float32")]),
        ("says 0 bytes and brings 1", []),
        ("says 1 bytes and brings 0", [packed("a", (1,), size=1)]),
    ],
)
def test_the_first_that_cannot_be_is_refused(complaint: str, tensors: list[Packed]) -> None:
    payload = b"x" if "brings 1" in complaint else b""
    with pytest.raises(FrameError, match=complaint):
        unpack(frame(*tensors, payload=payload))


def test_a_frame_that_unfolds_to_just_as_much_as_may_be_is_looked_at() -> None:
    """What comes is too short for it, and that is what is said."""
    with pytest.raises(FrameError, match="a raw tensor of 1073741824 bytes came with 0"):
        unpack(frame(packed("a", (GIB,))))


def test_several_tensors_are_checked_by_one_digest_and_each_begins_where_the_last_ends() -> None:
    arrays = {
        "a": np.arange(5, dtype=np.uint8),
        "empty": np.zeros((0, 3), np.float32),
        "b": np.arange(6, dtype=np.int16).reshape(2, 3),
    }
    made = pack(arrays)
    assert made.size == made.head.size == len(made.whole) == 17
    back = unpack(Frame(made.head, (bytes(made.whole),)))
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    damaged = bytearray(made.whole)
    damaged[-1] ^= 1
    with pytest.raises(FrameError, match="damaged"):
        unpack(Frame(made.head, (bytes(damaged),)))


def test_flags_are_those_that_exist() -> None:
    data = memoryview(bytes(4))
    stored = bytes((AS_IT_LIES | STORED,))
    assert find_codec("png").decode(data, stored, np.dtype("uint8"), (4,)).tolist() == [0] * 4
    for meta in (b"", b"\x04", b"\x00\x00"):
        with pytest.raises(FrameError, match="flags that do not exist"):
            find_codec("png").decode(data, meta, np.dtype("uint8"), (4,))


@pytest.mark.parametrize("layout", ["bytes", "bits", "planes"])
@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [1, 7, 8, 9, 15, 16, 64, 65])
def test_numbers_of_any_width_and_count_come_back_from_as_many_bytes_as_are_said(
    layout: str, bits: int, count: int
) -> None:
    numbers = (np.arange(count) * 37 % (1 << bits)).astype(np.uint8)
    numbers[-1] = (1 << bits) - 1
    laid = lay(numbers, bits, layout)
    assert laid.nbytes == size_of(count, bits, layout)
    assert laid.nbytes == (count if layout == "bytes" else bits * ((count + 7) // 8))
    np.testing.assert_array_equal(pick(laid, count, bits, layout), numbers)


# -- images


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((2, 3, 5, 7), Shape(2, 3, 5, 7, True)),
        ((2, 5, 7, 3), Shape(2, 3, 5, 7, False)),
        ((3, 5, 7), Shape(1, 3, 5, 7, True)),
        ((5, 15, 1), Shape(1, 1, 5, 15, False)),
        ((1, 8, 8), Shape(1, 1, 8, 8, True)),
        ((8, 8), Shape(1, 1, 8, 8, True)),
        ((3, 8, 3), Shape(1, 3, 8, 3, True)),
        ((7, 9), None),
        ((63, 1), None),
        ((64, 1), Shape(1, 1, 64, 1, True)),
        ((64,), None),
        ((2, 2, 3, 5, 7), None),
        ((2, 4, 5, 7), None),
        ((1, LONGEST_SIDE, 1), Shape(1, 1, LONGEST_SIDE, 1, True)),
        ((1, LONGEST_SIDE + 1, 1), None),
        ((1, 1, LONGEST_SIDE + 1), None),
    ],
)
def test_what_shapes_are_images(shape: tuple[int, ...], found: Shape | None) -> None:
    assert images_in(shape) == found


@pytest.mark.parametrize(
    "shape", [(3, 3, 20, 31), (2, 20, 31, 3), (3, 20, 31), (20, 31), (4, 1, 9, 31)]
)
def test_images_of_all_shapes_come_back_each_in_its_place(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, np.uint8)
    array[...] = np.arange(array.size).reshape(shape) // 7 % 251
    data, meta = find_codec("png").encode(array)
    assert meta == bytes((STORED,)), "or nothing is tried here"
    back = find_codec("png").decode(memoryview(bytes(data)), meta, array.dtype, shape)
    np.testing.assert_array_equal(back, array)
    for broken in (data[:-1], bytes(data) + b"x", data[:3]):
        with pytest.raises(FrameError):
            find_codec("png").decode(memoryview(bytes(broken)), meta, array.dtype, shape)


def test_an_image_that_is_larger_as_a_file_goes_as_it_lies() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 1, 8, 8)).astype(np.uint8)
    _, meta = find_codec("png").encode(noise)
    assert meta[0] & AS_IT_LIES


# -- joins


def joined(
    axis: int, shape: tuple[int | None, ...], slices: dict[str, tuple[int, ...]], **more: object
) -> Join:
    tensor = TensorSpec("t", "float32", shape)
    return Join("channels", tensor, {k: Slice(v) for k, v in slices.items()}, axis=axis, **more)  # type: ignore[arg-type]


WHOLE = np.arange(2 * 4 * 3 * 5, dtype=np.float32).reshape(2, 4, 3, 5)


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("per_channel", [False, True])
def test_slices_are_joined_and_holes_filled_along_any_axis(axis: int, per_channel: bool) -> None:
    count = WHOLE.shape[axis]
    first, last = (count - 1, 0), tuple(range(1, count - 1))
    fill = tuple(-1.0 - k for k in range(count)) if per_channel else (-1.0,)
    how = joined(axis, (None, 4, 3, 5), {"a": first, "b": (*last, 0)}, fill=fill)
    given = {"a": WHOLE.take(first, axis), "b": WHOLE.take((*last, 0), axis) + 0}
    given["b"] = given["b"].copy()
    given["b"].swapaxes(0, axis)[-1] = 99.0  # the copy of a channel that a has as well
    np.testing.assert_array_equal(join(given, how), WHOLE)
    expected = WHOLE.copy()
    for channel in last:
        expected.swapaxes(0, axis)[channel] = fill[channel] if per_channel else -1.0
    np.testing.assert_array_equal(join({"a": given["a"]}, how), expected)


@pytest.mark.parametrize("channels", [(0, 2), (2, 0), (1, 2, 3), (3, 2, 1), (0, 3, 1), (2,)])
def test_channels_in_any_order_go_where_they_belong(channels: tuple[int, ...]) -> None:
    rest = tuple(k for k in range(4) if k not in channels)
    how = joined(1, (None, 4, 3, 5), {"a": channels, "b": rest})
    given = {"a": WHOLE[:, list(channels)], "b": WHOLE[:, list(rest)]}
    np.testing.assert_array_equal(join(given, how), WHOLE)


@pytest.mark.parametrize(
    "array",
    [
        WHOLE[:, :1],
        WHOLE[:, :2].astype(np.float64),
        WHOLE[:, :2, :2],
        WHOLE[:, :2, 0],
        np.zeros((), np.float32),
    ],
)
def test_a_slice_that_does_not_fit_is_refused(array: np.ndarray) -> None:
    how = joined(1, (None, 4, 3, 5), {"a": (0, 1), "b": (2, 3)})
    for given in ({"a": array}, {"a": WHOLE[:, :2], "b": array}):
        with pytest.raises(InputError, match="expected float32"):
            join(given, how)
    with pytest.raises(InputError, match="no slice"):
        join({}, how)
    with pytest.raises(InputError, match="'c' gave a slice"):
        join({"c": WHOLE[:, :2]}, how)


def test_what_is_remembered_of_joins_is_bounded_and_right() -> None:
    names = [f"d{k}" for k in range(8)]
    spec = TensorSpec("t", "float32", (None, 8))
    how = Join("channels", spec, {name: Slice((k,)) for k, name in enumerate(names)})
    for number in range(1, 256):
        here = [k for k in range(8) if number >> k & 1]
        given = {names[k]: np.full((1, 1), k + 1.0, np.float32) for k in here}
        expected = [k + 1.0 if k in here else 0.0 for k in range(8)]
        assert join(given, how).tolist() == [expected]
    for _ in range(300):
        join({"d0": np.ones((1, 1), np.float32)}, Join("channels", spec, how.slices))
    assert len(joins._kept) <= joins.MOST_KEPT


def test_a_sum_adds_what_came_and_leaves_the_slices_alone() -> None:
    how = Join("sum", TensorSpec("t", "float32", (None, 2)), {name: Slice() for name in "abc"})
    given = {name: np.full((1, 2), k, np.float32) for k, name in enumerate("abc", 1)}
    assert join(given, how).tolist() == [[6.0, 6.0]]
    assert join({"c": given["c"]}, how).tolist() == [[3.0, 3.0]]
    assert given["a"].tolist() == [[1.0, 1.0]]


def test_how_many_and_who_suffice() -> None:
    spec, slices = TensorSpec("t", "float32", (None, 4)), {name: Slice() for name in "abc"}
    two = Join("sum", spec, slices, least=2)
    assert [two.enough(names) for names in ("", "a", "ab", "abc")] == [False, False, True, True]
    none = Join("sum", spec, slices, least=0)
    assert [none.enough(names) for names in ("", "a")] == [False, True]
    some = Join("sum", spec, slices, least=1, suffice=(("a", "b"), ("c",)))
    assert [some.enough(names) for names in ("a", "b", "ab", "c", "bc")] == [
        *(False, False),
        *(True, True, True),
    ]


def test_the_finest_step_that_has_an_inverse_is_used_and_no_finer_one() -> None:
    finest = np.float32(FINEST)
    assert Grid(np.array([[0, finest]], "<f4"), 1, zero=False).usable
    assert not Grid(np.array([[0, np.nextafter(finest, np.float32(0))]], "<f4"), 1, False).usable
    assert Grid(np.array([[5, 5]], "<f4"), 1, zero=False).usable, "what is constant has no step"


def test_the_largest_values_have_a_range_and_larger_ones_have_none() -> None:
    largest = np.float32(LARGEST)
    larger = np.nextafter(largest, np.float32(np.inf))
    assert Grid(np.array([[-largest, largest]], "<f4"), 255, zero=False).usable
    for low, high in ((-larger, 0), (0, larger), (1, 0), (np.nan, 1)):
        with pytest.raises(FrameError, match="impossible range"):
            Grid(np.array([[low, high]], "<f4"), 255, zero=False)
    assert find_ranges(np.array([[1, largest]], np.float32), None) is not None
    assert find_ranges(np.array([[1, larger]], np.float32), None) is None


def test_slices_along_an_axis_without_a_size_of_its_own_cannot_be_joined() -> None:
    how = joined(0, (None, 4), {"a": (0, 1), "b": (2, 3)})
    with pytest.raises(InputError, match="axis 0 of 't' has no fixed size"):
        join({"a": np.zeros((2, 4), np.float32), "b": np.zeros((2, 4), np.float32)}, how)
