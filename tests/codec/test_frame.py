"""Frames: what goes in comes out, and no lie of a head is believed."""

import msgspec
import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shoal.codec.frame import (
    DTYPES,
    MAX_BYTES,
    MAX_DIMS,
    MAX_TENSORS,
    Frame,
    FrameHead,
    Packed,
    pack,
    unpack,
)
from shoal.errors import FrameError, UsageError

arrays = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda dtype: hnp.arrays(
        dtype, hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
    )
)
layouts = st.sampled_from(["as it is", "transposed", "every other", "reversed", "big-endian"])


def laid_out(array, layout):
    """The same kind of array, differently in memory."""
    if layout == "transposed":
        return array.T
    if layout == "every other" and array.ndim:
        return array[::2]
    if layout == "reversed" and array.ndim:
        return array[::-1]
    if layout == "big-endian":
        return array.astype(array.dtype.newbyteorder(">"))
    return array


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=12), st.tuples(arrays, layouts), max_size=5))
def test_what_is_packed_comes_out_again(given_arrays):
    tensors = {name: laid_out(*pair) for name, pair in given_arrays.items()}
    frame = pack(tensors)
    copy = Frame(frame.head, (bytes(frame.whole),))
    back = unpack(copy)
    assert list(back) == list(tensors)
    for name, array in tensors.items():
        assert back[name].dtype.name == array.dtype.name
        assert back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array)


def test_the_head_survives_the_wire():
    head = pack({"a": np.zeros((0, 3), np.int8), "b": np.ones(2)}).head
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(head), type=FrameHead) == head


def test_a_single_raw_tensor_is_neither_copied_going_in_nor_coming_out():
    array = np.zeros(8, np.float32)
    frame = pack({"a": array})
    array[0] = 5.0
    assert np.shares_memory(unpack(pack({"a": array}))["a"], array)
    assert frame.whole.cast("f")[0] == 5.0


HONEST = pack({"a": np.arange(6, dtype=np.float32), "b": np.arange(4, dtype=np.int8)})


def lying(index=0, **changes):
    """The honest frame with a lie about one tensor."""
    tensors = list(HONEST.head.tensors)
    tensors[index] = msgspec.structs.replace(tensors[index], **changes)
    head = msgspec.structs.replace(HONEST.head, tensors=tuple(tensors))
    return Frame(head, HONEST.payload)


LIES = {
    "a negative side": {"shape": (-6,)},
    "two negative sides": {"shape": (-2, -3)},
    "a side beyond all memory": {"shape": (1 << 62,)},
    "sides that overflow together": {"shape": (1 << 30, 1 << 30, 1 << 30)},
    "an empty side among huge ones": {"shape": (0, 1 << 62, 1 << 62)},
    "more dimensions than there are": {"shape": (1,) * (MAX_DIMS + 1)},
    "one element more": {"shape": (7,)},
    "one element less": {"shape": (5,)},
    "a wider dtype": {"dtype": "float64"},
    "an unknown dtype": {"dtype": "object"},
    "a dtype with a size of its own": {"dtype": "V999999999"},
    "a size that is too large": {"size": 25},
    "a negative size": {"size": -24},
    "a size beyond 64 bits": {"size": 1 << 70},
    "the name of another tensor": {"name": "b"},
    "an unknown codec": {"codec": "zip"},
    "a codec with a long name": {"codec": "x" * 100_000},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_lie_in_the_head_is_refused(lie):
    with pytest.raises(FrameError):
        unpack(lying(**lie))


def test_sizes_that_are_wrong_but_add_up_are_refused():
    first, second = HONEST.head.tensors
    tensors = (
        msgspec.structs.replace(first, size=first.size + 1),
        msgspec.structs.replace(second, size=second.size - 1),
    )
    with pytest.raises(FrameError, match="24 bytes came with 25"):
        unpack(Frame(FrameHead(tensors, HONEST.head.digest), HONEST.payload))


def test_a_damaged_payload_is_an_error_and_never_a_wrong_tensor():
    for at in (0, 13, HONEST.size - 1):
        damaged = bytearray(HONEST.whole)
        damaged[at] ^= 1
        with pytest.raises(FrameError, match="damaged on its way"):
            unpack(Frame(HONEST.head, (damaged,)))


@pytest.mark.parametrize("cut", [0, 1, 27])
def test_a_truncated_payload_is_refused(cut):
    with pytest.raises(FrameError, match=f"says 28 bytes and brings {cut}"):
        unpack(Frame(HONEST.head, (bytes(HONEST.whole)[:cut],)))


def test_many_small_tensors_cannot_unfold_to_more_than_the_limit():
    """A codec may unfold a few bytes to many: the shapes together are bounded, not each alone."""
    half = Packed("a", "int8", (MAX_BYTES // 2 + 1,), "raw", 0)
    head = FrameHead((half, msgspec.structs.replace(half, name="b")), 0)
    with pytest.raises(FrameError, match="unfolds to"):
        unpack(Frame(head, (b"",)))


def test_too_many_tensors_are_refused_on_both_sides():
    one = Packed("", "int8", (0,), "raw", 0)
    many = tuple(msgspec.structs.replace(one, name=str(k)) for k in range(MAX_TENSORS + 1))
    with pytest.raises(FrameError, match="257 tensors"):
        unpack(Frame(FrameHead(many, 0), (b"",)))
    with pytest.raises(UsageError, match="257 tensors"):
        pack({str(k): np.zeros(0) for k in range(MAX_TENSORS + 1)})


@pytest.mark.parametrize("dtype", ["complex64", "object", "<U3", "datetime64[s]"])
def test_dtypes_that_do_not_travel_are_refused_by_the_sender(dtype):
    with pytest.raises(UsageError, match="cannot be sent"):
        pack({"a": np.zeros(2, dtype)})


names = st.sampled_from(["a", "b", "", "a" * 300])
heads = st.builds(
    FrameHead,
    st.lists(
        st.builds(
            Packed,
            names,
            st.sampled_from([*sorted(DTYPES), "object", ""]),
            st.lists(
                st.one_of(st.integers(0, 5), st.integers(-(1 << 63), (1 << 63) - 1)), max_size=4
            ).map(tuple),
            st.sampled_from(["raw", "raw:x", "zip", ":", ""]),
            st.one_of(st.integers(0, 40), st.integers(-(1 << 63), (1 << 63) - 1)),
            st.binary(max_size=8),
        ),
        max_size=4,
    ).map(tuple),
    st.integers(0, (1 << 64) - 1),
)


@settings(max_examples=150, deadline=None)
@given(heads, st.binary(max_size=64), st.booleans())
def test_any_head_is_read_or_refused(head, payload, honest_digest):
    if honest_digest:
        head = msgspec.structs.replace(head, digest=xxhash.xxh3_64_intdigest(payload))
    try:
        tensors = unpack(Frame(head, (payload,)))
    except FrameError:
        return
    assert sum(array.nbytes for array in tensors.values()) == len(payload)
