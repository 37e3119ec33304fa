"""What is kept when devices are lost, and which units matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.model.shards import Op, Point, Region, Run, Width
from shoal.model.spec import TensorSpec
from shoal.strategies.shards.failures import Kept, Sample, compare, failure_sets, worst_at
from shoal.strategies.shards.importance import alone, importance


def test_all_sets_up_to_a_size_that_leave_somebody() -> None:
    assert failure_sets(3, 1) == ((0,), (1,), (2,))
    assert failure_sets(3, 2) == ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
    assert failure_sets(3, 3) == failure_sets(3, 2)
    assert failure_sets(3, 0) == failure_sets(1, 1) == ()


def test_without_labels_the_same_class_is_good() -> None:
    expected = np.eye(4)[[0, 1, 2, 3]]
    found = np.eye(4)[[0, 1, 2, 0]]
    kept = compare(expected, found)
    assert (kept.good, kept.count, kept.share) == (3, 4, 0.75)
    assert kept.apart > 0
    assert compare(expected, expected) == Kept(4, 4, 0.0)


def test_with_labels_only_what_was_right_counts() -> None:
    expected = np.eye(4)[[0, 1, 2, 3]]
    found = np.eye(4)[[0, 1, 3, 0]]
    kept = compare(expected, found, [0, 1, 2, 2])
    assert (kept.good, kept.count) == (2, 3)


def test_nothing_that_counts_promises_nothing() -> None:
    kept = compare(np.eye(2), np.eye(2), [1, 0])
    assert (kept.count, kept.bound(0.95)) == (0, 0.0)


def test_mean_and_worst_by_how_many_are_lost() -> None:
    kept = [Kept(9, 10), Kept(7, 10), Kept(5, 10)]
    assert worst_at([1, 1, 2], kept) == {1: (pytest.approx(0.8), 0.7), 2: (0.5, 0.5)}


@given(st.integers(0, 40), st.integers(1, 20))
def test_halves_share_no_image_and_lose_none(count: int, most: int) -> None:
    numbers = np.arange(count, dtype=np.float32)
    sample = Sample(numbers, tuple(range(count)), numbers)
    first, second = sample.halves(most)
    assert len(first) <= most
    assert len(second) >= len(first) - 1
    assert sorted([*first.images, *second.images]) == list(range(count))
    for half in (first, second):
        assert half.labels == tuple(half.images) == tuple(half.right)


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_each_half_has_its_share_of_every_class(classes: int) -> None:
    count = 24 * classes
    numbers = np.arange(count, dtype=np.float32)
    in_turn = tuple(k % classes for k in range(count))
    for most in (count, 6 * classes):
        first, second = Sample(numbers, in_turn, numbers).halves(most)
        for half in (first, second):
            assert half.labels is not None
            assert set(np.bincount(half.labels, minlength=classes)) == {len(half) // classes}


def test_halves_do_not_follow_a_rhythm_of_images_without_labels() -> None:
    numbers = np.arange(400, dtype=np.float32)
    for half in Sample(numbers, None, numbers).halves(400):
        assert 0.4 < np.mean(half.images % 2) < 0.6


def region(op: Op, *runs: Run) -> tuple[Region, Width]:
    """One that has units of the width w at one point."""
    entries = sum(run.entries for run in runs)
    spec = TensorSpec("t", "float32", (None, entries))
    width = Width("w", sum(run.units for run in runs if run.width == "w"), 1.0, 1.0)
    point = Point(spec, 1, runs)
    made = Region(0, 1, op, spec, spec, 1, (width,), (point,), (), 0, 0)
    return made, width


def test_a_unit_of_channels_matters_by_how_far_it_is_off_where_it_is_missing() -> None:
    made, width = region(Op.CHANNELS, Run("", 1, 1), Run("w", 2, 2))
    found = importance(made, width, {"t": np.array([9.0, 3.0, 4.0, 0.0, 15.0])}, None)
    assert found.tolist() == [5 / 20, 15 / 20]


def test_a_unit_of_a_sum_matters_by_what_it_adds() -> None:
    made, width = region(Op.SUM, Run("w", 3, 1))
    weights = np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    found = importance(
        made, width, {"t": np.array([4.0, 1.0, 7.0])}, lambda rows: rows["t"] @ weights
    )
    assert found.tolist() == [4 / 9, 5 / 9, 0.0]


def test_where_nothing_matters_all_units_are_alike() -> None:
    made, width = region(Op.CHANNELS, Run("w", 4, 1))
    assert importance(made, width, {"t": np.zeros(4)}, None).tolist() == [0.25] * 4


def test_each_unit_has_its_own_row() -> None:
    made, width = region(Op.CHANNELS, Run("w", 2, 2), Run("", 1, 1))
    rows = alone(made.points[0], width, np.arange(1.0, 6.0))
    assert rows.tolist() == [[1, 2, 0, 0, 0], [0, 0, 3, 4, 0]]
