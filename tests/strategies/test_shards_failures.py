"""What is kept when devices are lost, and which units matter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.model.dtypes import Array
from shoal.model.shards import Op, Point, Region, Run, Width
from shoal.model.spec import TensorSpec
from shoal.strategies.shards.failures import Kept, Sample, failure_sets, one_by_one, worst_at
from shoal.strategies.shards.importance import alone, importance
from shoal.task import Classifier, Judge
from shoal.task.agreement import NOTHING
from shoal.task.segmenter import Segmenter


def test_all_sets_up_to_a_size_that_leave_somebody() -> None:
    assert failure_sets(3, 1) == ((0,), (1,), (2,))
    assert failure_sets(3, 2) == ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
    assert failure_sets(3, 3) == failure_sets(3, 2)
    assert failure_sets(3, 0) == failure_sets(1, 1) == ()


ROW = TensorSpec("y", "float32", (None, 4))


def asked(whole: Array, labels: Sequence[int] | None = None) -> Sample:
    """Images that a classifier answers so."""
    told = None if labels is None else tuple(labels)
    return Sample.of(np.zeros(len(whole)), told, Classifier.of([ROW]), {"y": whole})


def compare(whole: Array, found: Array, labels: Sequence[int] | None = None) -> Kept:
    return asked(whole, labels).compare(one_by_one({"y": found}, len(found)))


def test_without_labels_the_same_class_is_good() -> None:
    expected = np.eye(4)[[0, 1, 2, 3]]
    found = np.eye(4)[[0, 1, 2, 0]]
    kept = compare(expected, found)
    assert (kept.good, kept.count, kept.share) == (3, 4, 0.75)
    assert kept.apart > 0
    assert compare(expected, expected) == Kept(4, 4, 0.0)
    assert asked(expected).whole == Kept(4, 4)


def test_with_labels_only_what_was_right_counts() -> None:
    expected = np.eye(4)[[0, 1, 2, 3]]
    found = np.eye(4)[[0, 1, 3, 0]]
    kept = compare(expected, found, [0, 1, 2, 2])
    assert (kept.good, kept.count) == (2, 3)
    assert asked(expected, [0, 1, 2, 2]).whole == Kept(3, 3)


def test_nothing_that_counts_promises_nothing() -> None:
    kept = compare(np.eye(4)[:2], np.eye(4)[:2], [1, 0])
    assert (kept.count, kept.bound(0.95)) == (0, 0.0)


def test_scores_are_graded_and_what_says_nothing_does_not_count() -> None:
    task = Segmenter.of([], [TensorSpec("y", "float32", (None, 1, 2, 2))])
    whole = np.zeros((3, 1, 2, 2), np.float32)
    found = whole.copy()
    whole[0, 0, 0] = found[0, 0, 0, 0] = 1  # half of the mask
    found[2, 0, 0] = 1  # where there is nothing
    sample = Sample.of(np.zeros(3), None, task, {"y": whole})
    kept = sample.compare(one_by_one({"y": found}, 3))
    assert (kept.good, kept.count, kept.apart) == (0.5, 2, 0.75)
    assert sample.whole == Kept(1, 1)


def test_mean_and_worst_by_how_many_are_lost() -> None:
    kept = [Kept(9, 10), Kept(7, 10), Kept(5, 10)]
    assert worst_at([1, 1, 2], kept) == {1: (pytest.approx(0.8), 0.7), 2: (0.5, 0.5)}


def numbered(count: int, labels: Sequence[int] | None) -> Sample:
    """Images that are their own numbers, and so are their judges."""
    judges = tuple(Judge(True, lambda found: NOTHING, number) for number in range(count))
    told = None if labels is None else tuple(labels)
    return Sample(np.arange(count, dtype=np.float32), told, judges)


@given(st.integers(0, 40), st.integers(1, 20))
def test_halves_share_no_image_and_lose_none(count: int, most: int) -> None:
    first, second = numbered(count, range(count)).halves(most)
    assert len(first) <= most
    assert len(second) >= len(first) - 1
    assert sorted([*first.images, *second.images]) == list(range(count))
    for half in (first, second):
        assert half.labels == tuple(half.images) == tuple(judge.top1 for judge in half.judges)


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_each_half_has_its_share_of_every_class(classes: int) -> None:
    count = 24 * classes
    in_turn = tuple(k % classes for k in range(count))
    for most in (count, 6 * classes):
        first, second = numbered(count, in_turn).halves(most)
        for half in (first, second):
            assert half.labels is not None
            assert set(np.bincount(half.labels, minlength=classes)) == {len(half) // classes}


def test_halves_do_not_follow_a_rhythm_of_images_without_labels() -> None:
    for half in numbered(400, None).halves(400):
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
