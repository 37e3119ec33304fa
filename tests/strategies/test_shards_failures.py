"""What is gone and what is kept when devices are lost."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.strategies.shards.dealing import Dealing, deal
from shoal.strategies.shards.failures import (
    Kept,
    compare,
    failure_sets,
    present,
    stand_in,
    worst_at,
)
from shoal.strategies.shards.importance import importance, means, norms, strength


def test_all_sets_up_to_a_size_that_leave_somebody() -> None:
    assert failure_sets(3, 1) == ((0,), (1,), (2,))
    assert failure_sets(3, 2) == ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
    assert failure_sets(3, 3) == failure_sets(3, 2)
    assert failure_sets(1, 1) == ()


def test_what_nobody_else_holds_is_filled() -> None:
    dealing = Dealing(((0, 3), (1,)), (2,))
    kept = present(dealing, (0,))
    assert kept.tolist() == [0, 1, 1, 0]
    assert stand_in(kept, np.array([5, 6, 7, 8], np.float32)).tolist() == [5, 0, 0, 8]
    assert stand_in(kept, None).tolist() == [0, 0, 0, 0]


def test_all_common_nothing_is_missing() -> None:
    assert present(deal([1.0] * 4, [1, 1, 1], 4), (0, 1)).tolist() == [1] * 4


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


def test_a_unit_matters_by_its_activation_and_by_who_reads_it() -> None:
    activations = np.array([[[1.0, -1.0], [3.0, 3.0]]])  # one image, two channels of two values
    active = strength(activations, 1, 2)
    assert active.tolist() == [1.0, 3.0]
    assert means(activations, 1).tolist() == [0.0, 3.0]
    read = norms(np.array([[3.0, 1.0], [3.0, 0.0]]), 1, 2)
    assert read.tolist() == [6.0, 1.0]
    assert importance(active, active, read).tolist() == [6 / 9, 3 / 9]


def test_without_images_the_weights_tell() -> None:
    assert importance(np.array([1.0, 3.0])).tolist() == [0.25, 0.75]
    assert importance(np.zeros(2)).tolist() == [0.5, 0.5]


def test_a_unit_of_several_channels_is_judged_by_all_of_them() -> None:
    activations = np.array([[1.0, 3.0, 0.0, 2.0]])
    assert strength(activations, 1, 2).tolist() == [2.0, 1.0]
