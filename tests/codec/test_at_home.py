"""What is the same for all holders stays with each: the others are not sent it, and it is counted
once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.codec.join import join
from shoal.errors import InputError
from shoal.model.spec import TensorSpec
from shoal.plan.plan import Join, Slice

COUNT = 6
GATEWAY = ""
"""It holds nothing, and is given all of each slice."""


def draw_case(draw, op):
    names = [f"d{k}" for k in range(draw(st.integers(1, 4)))]
    holder = draw(st.sampled_from(names))
    lost = draw(st.lists(st.sampled_from(names), unique=True).map(set)) - {holder}
    taker = draw(st.sampled_from([holder, GATEWAY]))
    axis = draw(st.sampled_from([1, 2]))
    shape = tuple(None if k == 0 else COUNT if k == axis else 2 for k in range(4))
    return names, taker, lost, axis, TensorSpec("t", "float32", shape), draw(st.integers(1, 3))


@st.composite
def channels(draw):
    names, taker, lost, axis, tensor, batch = draw_case(draw, "channels")
    order = draw(st.permutations(range(COUNT)))
    stays = draw(st.integers(0, COUNT))
    common = tuple(order[COUNT - stays :])
    dealt = {name: tuple(order[k : COUNT - stays : len(names)]) for k, name in enumerate(names)}
    slices = {name: Slice((*mine, *common), stays) for name, mine in dealt.items()}
    how = Join("channels", tensor, slices, axis, tuple(-1.0 - c for c in range(COUNT)))
    return how, taker, lost, batch


def sent(whole, how, name):
    size = whole.shape[how.axis] - how.slices[name].stays
    return whole[(*(slice(None),) * how.axis, slice(size))]


@given(channels())
@settings(deadline=None)
def test_a_taker_has_what_is_common_although_nobody_sends_it(case):
    how, taker, lost, batch = case
    shape = [batch if size is None else size for size in how.tensor.shape]
    truth = np.random.default_rng(1).random(shape, np.float32)
    wholes = {name: truth.take(part.channels, how.axis) for name, part in how.slices.items()}
    given_by = {
        name: whole if taker in (name, GATEWAY) else sent(whole, how, name)
        for name, whole in wholes.items()
        if name not in lost
    }
    away = {
        c for name in lost for c in how.slices[name].channels[: -how.slices[name].stays or None]
    }
    expected = truth.copy()
    for channel in away:
        expected[(*(slice(None),) * how.axis, channel)] = -1.0 - channel
    np.testing.assert_array_equal(join(given_by, how), expected)


@st.composite
def sums(draw):
    names, taker, lost, axis, tensor, batch = draw_case(draw, "sum")
    stand_in = tuple(float(k) for k in range(COUNT))
    slices = {
        name: Slice(stays=COUNT, stand_in=draw(st.sampled_from([(), stand_in]))) for name in names
    }
    return Join("sum", tensor, slices, axis), taker, lost, batch


@given(sums())
@settings(deadline=None)
def test_what_is_common_is_added_once_and_something_stands_in_for_what_is_missing(case):
    how, taker, lost, batch = case
    shape = [batch if size is None else size for size in how.tensor.shape]
    random = np.random.default_rng(2)
    own = {name: random.random(shape, np.float32) for name in how.slices}
    common = random.random(shape, np.float32)
    given_by = {
        name: np.concatenate([mine, common], how.axis) if taker in (name, GATEWAY) else mine
        for name, mine in own.items()
        if name not in lost
    }
    expected = common.copy()
    for name, part in how.slices.items():
        if name not in lost:
            expected += own[name]
        elif part.stand_in:
            column = np.asarray(part.stand_in, np.float32)
            expected += column.reshape(-1, *(1,) * (len(shape) - how.axis - 1))
    np.testing.assert_allclose(join(given_by, how), expected, rtol=1e-5)


@pytest.mark.parametrize("op", ["channels", "sum"])
def test_who_lacks_its_own_slice_cannot_join_those_of_others(op):
    spec = TensorSpec("t", "float32", (None, 4))
    part = {"a": Slice((0, 1, 3), 1), "b": Slice((2, 3), 1)} if op == "channels" else None
    how = Join(op, spec, part or {"a": Slice(stays=4), "b": Slice(stays=4)})
    given_by = {"b": np.ones((1, 1 if op == "channels" else 4), np.float32)}
    with pytest.raises(InputError, match="must have its own"):
        join(given_by, how)
