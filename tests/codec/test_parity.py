"""Codes: any of their slices, as many as there are blocks, give all."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.codec.join import join
from shoal.codec.parity import MOST_SLICES, chosen, condition, rows_of
from shoal.codec.slices import Join, Slice
from shoal.errors import InputError
from shoal.model.spec import TensorSpec

CODES = [(n, k) for n in range(1, MOST_SLICES + 1) for k in range(1, n + 1)]


@pytest.mark.parametrize(("slices", "blocks"), CODES)
def test_any_slices_are_well_conditioned_and_the_first_are_the_blocks(slices, blocks):
    rows = rows_of(slices, blocks)
    assert np.array_equal(np.array(rows[:blocks]), np.eye(blocks))
    worst = 0.0
    for some in itertools.combinations(rows, blocks):
        worst = max(worst, float(np.linalg.cond(np.array(some))))
    assert worst < 45
    assert condition(rows) == pytest.approx(worst)


def test_a_single_parity_slice_is_the_sum():
    assert rows_of(4, 3)[-1] == (1.0, 1.0, 1.0)
    assert rows_of(3, 1) == ((1.0,),) * 3


@pytest.mark.parametrize(("slices", "blocks"), [(0, 0), (2, 0), (2, 3), (MOST_SLICES + 1, 2)])
def test_of_other_numbers_there_is_no_code(slices, blocks):
    with pytest.raises(InputError, match=f"no code of {blocks} blocks in {slices}"):
        rows_of(slices, blocks)


def test_rows_that_do_not_give_all_have_no_condition():
    assert condition(((1.0, 0.0), (2.0, 0.0), (0.0, 1.0))) == np.inf


def test_blocks_themselves_come_before_parity():
    rows = rows_of(4, 2)
    assert chosen([rows[3], rows[2], rows[1], rows[0]]) == (2, 3)
    assert chosen([rows[3], rows[1], rows[2]]) == (1, 0)


def how(slices, blocks, count, *, stays=0, axis=1, dtype="float32"):
    shape = [None, 2, 3, 2]
    shape[axis] = count + stays
    rows = rows_of(slices, blocks)
    return Join(
        op="coded",
        tensor=TensorSpec("t", dtype, tuple(shape)),
        slices={f"d{k}": Slice(stays=stays, code=row) for k, row in enumerate(rows)},
        axis=axis,
        least=blocks,
        block=-(-count // blocks),
    )


def slices_of(truth, join_):
    """What each holder has."""
    first = np.moveaxis(truth, join_.axis, 0).astype(np.float64)
    stays = join_.slices["d0"].stays
    coded, rest = first[: len(first) - stays], first[len(first) - stays :]
    padded = np.zeros((join_.block * join_.least, *coded.shape[1:]))
    padded[: len(coded)] = coded
    blocks = padded.reshape(join_.least, join_.block, *coded.shape[1:])
    return {
        name: np.moveaxis(
            np.concatenate([np.tensordot(part.code, blocks, 1), rest]), 0, join_.axis
        ).astype(truth.dtype)
        for name, part in join_.slices.items()
    }


def sent(array, join_):
    most = array.shape[join_.axis] - join_.slices["d0"].stays
    return array[(*(slice(None),) * join_.axis, slice(most))]


@given(st.sampled_from(CODES), st.integers(1, 17), st.integers(0, 3), st.sampled_from([1, 2, 3]),
       st.data())  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_any_slices_are_the_tensor(code, count, stays, axis, data):
    slices, blocks = code
    join_ = how(slices, blocks, count, stays=stays, axis=axis)
    shape = [3 if size is None else size for size in join_.tensor.shape]
    truth = np.random.default_rng(data.draw(st.integers(0, 9))).standard_normal(shape)
    truth = truth.astype(np.float32)
    wholes = slices_of(truth, join_)
    names = data.draw(st.permutations(list(wholes)))
    there = names[: data.draw(st.integers(blocks, slices))]
    taker = data.draw(st.sampled_from(there))
    came = {name: wholes[name] if name == taker else sent(wholes[name], join_) for name in there}
    found = join(came, join_)
    assert found.dtype == truth.dtype
    assert np.abs(found - truth).max() < 1e-4 * np.abs(truth).max()
    if all(f"d{block}" in there for block in range(blocks)):
        assert np.array_equal(found, truth)


def test_too_few_slices_are_refused():
    join_ = how(4, 3, 7)
    wholes = slices_of(np.ones((1, 7, 3, 2), np.float32), join_)
    with pytest.raises(InputError, match="2 slices of 't' came, and it takes 3"):
        join({name: wholes[name] for name in ("d0", "d3")}, join_)
    assert join_.enough({"d0", "d3", "d1"})
    assert not join_.enough({"d0", "d3"})


def test_a_slice_of_another_shape_is_refused():
    join_ = how(3, 2, 7, stays=2)
    wholes = slices_of(np.ones((1, 9, 3, 2), np.float32), join_)
    with pytest.raises(InputError, match="from 'd1' is float32"):
        join({"d0": wholes["d0"], "d1": wholes["d1"][:, :3]}, join_)
    with pytest.raises(InputError, match="no slice of 't' is whole"):
        join({name: sent(wholes[name], join_) for name in ("d0", "d1")}, join_)


def test_terms_that_cancel_do_not_run_over():
    join_ = how(3, 2, 2)
    truth = np.full((1, 2, 3, 2), 3e38, np.float32)
    truth[0, 1] = -3e38
    wholes = slices_of(truth, join_)
    assert np.array_equal(join({"d1": wholes["d1"], "d2": wholes["d2"]}, join_), truth)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_kept_where_it_is_and_never_spread(bad):
    join_ = how(3, 2, 4)
    truth = np.ones((1, 4, 3, 2), np.float32)
    wholes = slices_of(truth, join_)
    truth[0, 0, 0, 0] = bad
    wholes["d0"], wholes["d1"] = truth[:, :2], truth[:, 2:]
    alive = join({"d0": wholes["d0"], "d1": wholes["d1"]}, join_)
    assert np.array_equal(alive, truth, equal_nan=True)
    with pytest.raises(InputError, match="not finite"):
        join({"d0": wholes["d0"], "d2": wholes["d2"]}, join_)


def test_half_precision_is_told_as_well_as_it_can_hold():
    join_ = how(4, 3, 9, dtype="float16")
    truth = np.random.default_rng(0).standard_normal((2, 9, 3, 2)).astype(np.float16)
    wholes = slices_of(truth, join_)
    found = join({name: wholes[name] for name in ("d0", "d2", "d3")}, join_)
    assert found.dtype == np.float16
    assert np.abs(found - truth).max() < 5e-3 * np.abs(truth).max()
