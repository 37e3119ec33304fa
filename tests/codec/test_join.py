"""Slices from several devices become one tensor again."""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.codec import join as joining
from shoal.codec.join import join
from shoal.errors import InputError
from shoal.model.spec import TensorSpec
from shoal.plan.plan import Join, Slice


def channel_join(slices, *, count, fill=(0.0,), shape=(None, None, 2, 3), axis=1, dtype="float32"):
    whole = tuple(count if k == axis else size for k, size in enumerate(shape))
    return Join(
        op="channels",
        tensor=TensorSpec("features", dtype, whole),
        slices={name: Slice(tuple(channels)) for name, channels in slices.items()},
        axis=axis,
        fill=fill,
    )


def cut_out(whole, how):
    return {name: np.take(whole, part.channels, axis=how.axis) for name, part in how.slices.items()}


@st.composite
def joins(draw):
    count = draw(st.integers(1, 12))
    devices = [f"d{k}" for k in range(draw(st.integers(1, 4)))]
    channels = st.lists(st.integers(0, count - 1), unique=True, max_size=count)
    fill = draw(st.sampled_from([(0.0,), (7.5,), tuple(float(c) for c in range(count))]))
    axis = draw(st.sampled_from([1, 2, 3]))
    shape = tuple(None if k == 0 else 2 + k for k in range(4))
    how = channel_join(
        {name: draw(channels) for name in devices}, count=count, fill=fill, axis=axis, shape=shape
    )
    live = draw(st.lists(st.sampled_from(devices), unique=True, min_size=1))
    return how, live, draw(st.integers(1, 3))


@given(joins())
@settings(deadline=None)
def test_each_channel_is_the_first_live_copy_or_the_fill(case):
    how, live, batch = case
    shape = tuple(batch if size is None else size for size in how.tensor.shape)
    random = np.random.default_rng(1)
    given_by = {
        name: random.standard_normal(
            [len(part.channels) if k == how.axis else size for k, size in enumerate(shape)]
        ).astype(np.float32)
        for name, part in how.slices.items()
        if name in live
    }
    joined = join(given_by, how)
    assert joined.shape == shape
    assert joined.dtype == np.float32
    for channel in range(shape[how.axis]):
        found = joined.take(channel, axis=how.axis)
        holder = next(
            (n for n in how.slices if n in live and channel in how.slices[n].channels), None
        )
        if holder is None:
            fill = how.fill[channel] if len(how.fill) > 1 else how.fill[0]
            assert np.all(found == np.float32(fill))
        else:
            place = how.slices[holder].channels.index(channel)
            assert np.array_equal(found, given_by[holder].take(place, axis=how.axis))


@given(joins())
@settings(deadline=None)
def test_slices_cut_out_of_a_tensor_give_it_back_where_they_cover_it(case):
    how, live, batch = case
    shape = tuple(batch if size is None else size for size in how.tensor.shape)
    whole = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    slices = {name: array for name, array in cut_out(whole, how).items() if name in live}
    covered = sorted({c for name in live for c in how.slices[name].channels})
    joined = join(slices, how)
    assert np.array_equal(np.take(joined, covered, how.axis), np.take(whole, covered, how.axis))


@given(st.integers(1, 5), st.integers(1, 3), st.data())
@settings(deadline=None)
def test_a_sum_adds_what_came(count, batch, data):
    names = [f"d{k}" for k in range(count)]
    how = Join(
        op="sum",
        tensor=TensorSpec("logits", "float32", (None, 4)),
        slices={name: Slice() for name in names},
    )
    live = data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
    slices = {name: np.full((batch, 4), 10.0**k, np.float32) for k, name in enumerate(live)}
    kept = {name: array.copy() for name, array in slices.items()}
    assert np.array_equal(join(slices, how), sum(slices.values()))
    assert all(np.array_equal(slices[name], kept[name]) for name in live)  # untouched


def test_sums_of_single_numbers_are_added_too():
    how = Join("sum", TensorSpec("t", "float32", ()), {"a": Slice(), "b": Slice()})
    assert join({"a": np.array(1.0, np.float32), "b": np.array(2.0, np.float32)}, how) == 3.0


HALVES = channel_join({"left": (0, 1), "right": (2, 3)}, count=4)


def half(batch=1, channels=2, dtype=np.float32):
    return np.ones((batch, channels, 2, 3), dtype)


@pytest.mark.parametrize(
    ("slices", "complaint"),
    [
        ({}, "nothing to join"),
        ({"stranger": half()}, "holds none of it"),
        ({"left": half(channels=3)}, r"\[1, 3, 2, 3\], expected float32 \[1, 2, 2, 3\]"),
        ({"left": half(), "right": half(batch=2)}, "expected"),
        ({"left": half(dtype=np.float64)}, "float64"),
        ({"left": np.float32(3)}, "expected"),
    ],
)
def test_a_slice_that_lies_is_refused(slices, complaint):
    with pytest.raises(InputError, match=complaint):
        join(slices, HALVES)


def test_each_set_of_givers_is_worked_out_once(monkeypatch):
    monkeypatch.setattr(joining, "_kept", OrderedDict())
    first = join({"left": half()}, HALVES)
    assert np.array_equal(first, join({"left": half()}, HALVES))
    assert len(joining._kept) == 1
    join({"left": half(), "right": half()}, HALVES)
    assert len(joining._kept) == 2


def test_the_last_are_kept_and_no_more(monkeypatch):
    monkeypatch.setattr(joining, "_kept", OrderedDict())
    monkeypatch.setattr(joining, "MOST_KEPT", 2)
    for slices in ({"left": half()}, {"right": half()}, {"left": half(), "right": half()}):
        join(slices, HALVES)
    assert [givers for _, givers, _ in joining._kept] == [("right",), ("left", "right")]


def test_joins_that_look_alike_do_not_share_what_is_kept():
    other = channel_join({"left": (2, 3), "right": (0, 1)}, count=4)
    slices = {"left": half() * 1, "right": half() * 2}
    assert join(slices, HALVES)[0, :, 0, 0].tolist() == [1, 1, 2, 2]
    assert join(slices, other)[0, :, 0, 0].tolist() == [2, 2, 1, 1]
