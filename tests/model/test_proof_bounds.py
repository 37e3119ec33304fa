"""Proofs of large outputs, of small numbers, and at the very bound."""

import numpy as np
import pytest

from shoal.model.proof import (
    APART,
    CLEAR,
    LABELS_APART,
    MOST_TOLERANCE,
    difference,
    disagreement,
    largest,
    spread,
    telling,
    tolerance,
)

BLOCK = 1 << 17
TINY = float(np.finfo(np.float32).tiny)


def large(places, size=2 * BLOCK + 5):
    """Ones, but for some places."""
    made = np.ones(size, np.float32)
    for place, value in places.items():
        made[place] = value
    return made


@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, 2 * BLOCK, 2 * BLOCK + 4])
def test_every_element_of_a_large_output_is_looked_at(place):
    plain, other = large({}), large({place: 3.0})
    assert largest(other) == 3.0
    assert difference(plain, other) == 2.0
    assert difference(other, plain) == pytest.approx(2 / 3)
    assert spread(plain, other) == 2.0
    assert difference(plain, large({place: np.nan})) == np.inf
    assert difference(large({place: np.inf}), large({place: -np.inf})) == np.inf
    assert difference(large({place: np.inf}), plain) == np.inf
    assert disagreement(plain, other) == pytest.approx(1 / len(plain))


def test_the_largest_difference_counts_wherever_it_is():
    first = large({0: 5.0, BLOCK: 2.0})
    assert difference(large({}), first) == 4.0
    assert spread(large({}), first) == 4.0
    assert difference(large({}), large({BLOCK: 5.0, 3: 2.0})) == 4.0


def test_nothing_finite_is_of_no_magnitude_and_what_is_not_finite_is_left_out():
    assert largest(np.array([np.nan, -np.inf])) == 0.0
    assert largest(np.array([])) == 0.0
    assert largest(np.array([-7.0, 3.0, np.inf])) == 7.0
    assert spread(np.array([1.0, np.inf]), np.array([2.0, 5.0])) == 1.0
    assert spread(np.array([1.0]), np.array([1.0, 2.0])) == np.inf


def test_differences_of_outputs_that_are_next_to_nothing_are_not_blown_up():
    zero = np.zeros(2, np.float32)
    small = np.array([0.0, TINY / 4], np.float32)
    assert difference(zero, small) == pytest.approx(0.25)
    assert difference(np.zeros(2, np.int64), np.array([0, 3])) == 3.0
    assert difference(np.array([0, 2]), np.array([0, 3])) == 0.5
    assert difference(zero, small, scale=TINY) == pytest.approx(0.25)


def test_unclear_elements_count_for_neither_side():
    unclear = np.array([True, False, False, False])
    first, second = np.array([9, 1, 2, 3]), np.array([1, 1, 2, 4])
    assert disagreement(first, second, unclear) == pytest.approx(1 / 3)
    assert spread(first, second, unclear) == 1.0
    assert disagreement(first, second) == 0.5
    assert disagreement(first, second, np.ones(4, bool)) == 0.0
    assert disagreement(np.array([]), np.array([])) == 0.0


def test_a_tolerance_grows_with_rounding_between_its_least_and_its_most():
    assert tolerance(0.0, least=1e-4) == 1e-4
    assert tolerance(1e-4, least=1e-4, times=2) == 2e-4
    assert tolerance(MOST_TOLERANCE) == MOST_TOLERANCE
    assert tolerance(0.0, least=1.0) == MOST_TOLERANCE
    assert tolerance(MOST_TOLERANCE / 8) == pytest.approx(MOST_TOLERANCE)


def test_outputs_tell_from_just_so_far_apart_on():
    first = np.array([0.0, 1.0])
    assert telling(first, first + APART, allowed=1.0) == (APART, "")
    ratio, why = telling(first, first + APART * 0.999, allowed=1.0)
    assert ratio == pytest.approx(APART * 0.999)
    assert "little more than rounding" in why
    assert telling(first, first, allowed=0.0)[1] == "is the same for all of them"
    count = round(1 / LABELS_APART)
    labels = np.zeros(count, np.int64)
    for others, tells in ((1, False), (2, True)):
        changed = labels.copy()
        changed[:others] = 7
        ratio, why = telling(labels, changed, 0.0, label=True)
        assert ratio == pytest.approx(others)
        assert (why == "") == tells


def test_just_enough_that_is_clear_tells():
    first, second = np.zeros(100), np.ones(100)
    for clear, why in ((round(CLEAR * 100), ""), (round(CLEAR * 100) - 1, "hangs by near ties")):
        unclear = np.arange(100) >= clear
        assert telling(first, second, 0.1, unclear=unclear)[1] == why


def test_one_of_the_two_that_is_no_number_or_empty_tells_nothing():
    number, none, full = np.array([1.0, 2.0]), np.array([1.0, np.nan]), np.array([np.inf, np.inf])
    assert telling(number, none, 0.1)[1] == telling(none, number, 0.1)[1] == "is not a number (NaN)"
    assert telling(number, full, 0.1)[1] == telling(full, number, 0.1)[1] == "is infinite"
    assert telling(number, np.array([1.0, np.inf]), 0.1)[1] == "is the same for all of them"
    assert telling(np.array([]), np.array([]), 0.1) == (0.0, "is empty")
    assert telling(np.array([]), number, 0.1)[1] == ""
