"""What may be promised after so many images."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.plan.statistics import (
    images_needed,
    lower_bound,
    share_needed,
)


@pytest.mark.parametrize(
    ("good", "count", "confidence", "bound"),
    [
        # The two-sided 95 % interval of 81 in 263 is (0.2553, 0.3662), that of 15 in 148 is
        # (0.0624, 0.1605), that of 0 in 20 is (0, 0.1611), that of 1 in 29 is (0.0061, 0.1718):
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.975, 0.2553),
        (15, 148, 0.975, 0.0624),
        (0, 20, 0.975, 0.0),
        (1, 29, 0.975, 0.0061),
        # All good: count / (count + z^2).
        (300, 300, 0.95, 300 / (300 + 1.6448536**2)),
    ],
)
def test_the_lower_bound_has_the_published_values(good, count, confidence, bound):
    assert lower_bound(good, count, confidence) == pytest.approx(bound, abs=5e-5)


@given(st.integers(1, 2000), st.data())
def test_bounds_lie_about_the_share_and_move_with_confidence(count, data):
    good = data.draw(st.floats(0, count))
    share = good / count
    assert lower_bound(good, count, 0.5) == pytest.approx(share)
    assert 0 <= lower_bound(good, count, 0.99) <= lower_bound(good, count, 0.9) + 1e-12
    assert lower_bound(good, count, 0.9) <= share + 1e-12


def test_without_images_nothing_is_promised():
    assert lower_bound(0, 0) == 0.0


@given(st.floats(0.5, 0.999), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_so_many_images_are_needed_and_one_less_is_too_few(accuracy, confidence):
    count = int(images_needed(accuracy, confidence))
    assert lower_bound(count, count, confidence) >= accuracy - 1e-9
    assert count <= 1 or lower_bound(count - 1, count - 1, confidence) < accuracy + 1e-9


@given(st.integers(0, 2000), st.floats(0.01, 0.999), st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_the_share_that_is_needed_is_the_least_whose_bound_is_what_is_asked(
    count, accuracy, confidence
):
    needed = share_needed(accuracy, count, confidence)
    if needed > 1:
        assert lower_bound(count, count, confidence) < accuracy + 1e-9
        return
    good = math.ceil(needed * count - 1e-9)
    assert lower_bound(good, count, confidence) >= accuracy - 1e-9
    assert good == 0 or lower_bound(good - 1, count, confidence) < accuracy + 1e-9


@pytest.mark.parametrize(
    "draw",
    [
        lambda random, size: random.beta(9, 1, size),  # mean 0.9, mostly near 1
        lambda random, size: random.beta(0.09, 0.01, size),  # nearly 0 and 1 alone
        lambda random, size: np.where(random.random(size) < 0.1, 0.0, 1.0),
        lambda random, size: np.where(random.random(size) < 0.1, 0.05, random.random(size)),
        lambda random, size: random.integers(3, 11, size) / 10,
    ],
)
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_bound_of_graded_scores_holds_at_its_confidence(draw, confidence):
    """Ten thousand times the scores of 300 images: the bound is above the mean seldom enough, and
    for no scores more often than for right and wrong of the same mean."""
    random = np.random.default_rng(7)
    mean = draw(random, 10**6).mean()
    sums = draw(random, (10_000, 300)).sum(axis=1)
    alike = random.binomial(300, mean, 10_000)
    missed, of_shares = (
        np.mean([lower_bound(good, 300, confidence) > mean for good in each])
        for each in (sums, alike)
    )
    assert missed <= 1 - confidence + 0.02  # Wilson's own coverage is off by as much
    assert missed <= of_shares + 0.01


def test_no_number_of_images_promises_everything():
    assert share_needed(1.0, 10**6) == math.inf
    assert images_needed(1.0) == math.inf
