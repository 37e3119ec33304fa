"""When to learn how fast, and when to stop."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from shoal_train.schedule import best_epoch, has_stalled, warm_up_then_cosine


def test_the_rate_rises_then_falls_to_nothing() -> None:
    assert warm_up_then_cosine(0.0) == 0.0
    assert warm_up_then_cosine(0.075) == pytest.approx(0.5)
    assert warm_up_then_cosine(0.15) == pytest.approx(1.0)
    assert warm_up_then_cosine(0.575) == pytest.approx(0.5)
    assert warm_up_then_cosine(1.0) == pytest.approx(0.0)


@given(some.floats(0, 1))
def test_the_rate_is_always_a_share(done: float) -> None:
    factor = warm_up_then_cosine(done)
    assert 0 <= factor <= 1
    assert math.isfinite(factor)


def test_of_equal_epochs_the_first_is_the_best() -> None:
    assert best_epoch([0.1, 0.5, 0.5, 0.2]) == 2


def test_stalled_means_that_long_without_a_better_score() -> None:
    scores = [0.1, 0.5, 0.4, 0.5]
    assert not has_stalled([], 1)
    assert not has_stalled(scores, 3)
    assert has_stalled(scores, 2)
    assert not has_stalled([*scores, 0.6], 2)
