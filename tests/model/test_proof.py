"""When two answers are the same, and when that tells anything."""

import numpy as np
import pytest

from shoal.model.proof import (
    APART,
    HALF_AMPLIFIED,
    ROUGH_TOLERANCE,
    difference,
    disagreement,
    telling,
    tolerance,
)


def array(*values, dtype="float32"):
    return np.array(values, dtype=dtype)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (array(1, 2), array(1, 2), 0),
        (array(1, 2), array(1, 2.5), 0.25),
        (array(0, 0), array(0, 0), 0),
        (array(1, np.nan), array(1, np.nan), 0),
        (array(1, np.inf), array(1, np.inf), 0),
        (array(1, np.inf), array(1, -np.inf), np.inf),
        (array(1, np.nan), array(1, 2), np.inf),
        (array(1, 2), array(1, np.nan), np.inf),
        (array(np.nan), array(np.nan), 0),
        (array(1), array(1, 2), np.inf),
        (array(1), array(1, dtype="float64"), np.inf),
        (array(), array(), 0),
        (array(200, dtype="uint8"), array(100, dtype="uint8"), 0.5),
        (array(True), array(False), 1),
        (array(0, dtype="int64"), array(1, dtype="int64"), 1),
        (array(0.5, 1, dtype="float16"), array(0.5, 1, dtype="float16"), 0),
    ],
)
def test_a_difference_is_relative_to_the_largest_value(a, b, expected):
    assert difference(a, b) == pytest.approx(expected)


def test_a_difference_may_be_relative_to_what_the_output_is_elsewhere():
    assert difference(array(0, 1e-6), array(0, 2e-6), scale=1.0) == pytest.approx(1e-6)


def test_elements_that_hang_by_a_near_tie_may_be_anything():
    unclear = np.array([False, True])
    assert difference(array(1, 2), array(1, 9), unclear=unclear) == 0
    assert difference(array(1, 2), array(2, 9), unclear=unclear) == pytest.approx(0.5)
    assert disagreement(array(3, 4), array(3, 20), unclear) == 0
    assert disagreement(array(3, 4), array(7, 4), unclear) == 1


def test_of_labels_it_counts_how_many_are_others_not_how_far():
    labels = array(*range(10), dtype="int64")
    for other in (4, 90):
        assert disagreement(labels, array(0, 1, 2, other, *range(4, 10), dtype="int64")) == 0.1
    assert disagreement(labels, labels.astype("int32")) == np.inf
    assert disagreement(labels, labels[1:]) == np.inf


def test_networks_that_amplify_rounding_are_allowed_more_but_never_much():
    assert tolerance(0.0) == tolerance(1e-6) == 1e-4
    assert tolerance(1e-3) == pytest.approx(8e-3)
    assert tolerance(1e-3, times=HALF_AMPLIFIED) == pytest.approx(4e-3)
    assert tolerance(0.0, ROUGH_TOLERANCE) == 2e-2
    assert tolerance(1.0) == tolerance(float("inf")) == 5e-2


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (array(0, 0), array(0, 0), "the same for all"),
        (array(1, 2), array(1, 2), "the same for all"),
        (array(np.nan, np.nan), array(np.nan, np.nan), "not a number"),
        (array(1, np.nan), array(2, np.nan), "not a number"),
        (array(np.inf), array(np.inf), "infinite"),
        (array(1, 2), array(1, 2.01), "little more than rounding"),
    ],
)
def test_outputs_that_are_alike_or_no_numbers_tell_nothing(first, second, reason):
    ratio, why = telling(first, second, allowed=0.01)
    assert ratio < APART
    assert reason in why


def test_outputs_for_two_inputs_tell_if_no_answer_would_pass_for_both():
    ratio, why = telling(array(1, 2), array(1, 3), allowed=0.01)
    assert (ratio, why) == (pytest.approx(100), "")
    assert telling(array(1, -np.inf), array(2, -np.inf), allowed=0.01)[0] == pytest.approx(100)


def test_labels_that_all_hang_by_near_ties_tell_nothing():
    labels, others = np.arange(100), np.arange(100)[::-1]
    assert telling(labels, others, 0.0, label=True)[0] > APART
    unclear = np.arange(100) > 5
    assert telling(labels, others, 0.0, label=True, unclear=unclear) == (0.0, "hangs by near ties")
