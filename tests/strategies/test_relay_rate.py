"""Whether a rate can be held: with which thresholds, and what is said of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.strategies.relay.rate import FULL, Can, surest, told

THRESHOLDS = st.tuples(*[st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0, 2.0])] * 2)


def looser_is_quicker(thresholds: tuple[float, ...]) -> Can:
    """100 images/s where nobody leaves, and twice as many where all do; the sure are right."""
    mean = sum(min(1.0, each) for each in thresholds) / len(thresholds)
    return Can(thresholds, 100 * (2 - mean), 0.8 + 0.1 * mean, "device a")


def bounded(thresholds: tuple[float, ...]) -> Can:
    return Can(thresholds, 100.0, 0.9, "device gate")


@given(THRESHOLDS, st.floats(1.0, 400.0), st.floats(0.0, 1.0))
def test_the_surest_that_hold_it_are_taken(
    planned: tuple[float, ...], rate: float, loosest: float
) -> None:
    found = surest(rate, planned, loosest, looser_is_quicker)
    if looser_is_quicker(planned).holds(rate):
        assert found.thresholds == planned
    for threshold, of in zip(found.thresholds, planned, strict=True):
        assert threshold == of or loosest <= threshold <= max(1.0, of)
    if found.holds(rate) and found.thresholds != planned:
        assert found.load(rate) > FULL - 0.02, "surer ones would do"


def test_thresholds_that_bring_nothing_are_not_loosened() -> None:
    found = surest(200.0, (0.9, 0.8), 0.3, bounded)
    assert found.thresholds == (0.9, 0.8)
    text = told(200.0, found, found, "rate")
    assert text.startswith("200 images/s cannot be held: thresholds 0.900, 0.800 let 100.0 be done")
    assert "90.0 with short queues, bounded by device gate; the rest is refused" in text


def test_with_accuracy_fixed_it_is_told_what_the_other_would_do() -> None:
    planned = looser_is_quicker((1.0, 2.0))
    following = surest(120.0, planned.thresholds, 0.3, looser_is_quicker)
    assert not planned.holds(120.0)
    assert following.holds(120.0)
    text = told(120.0, planned, following, "accuracy")
    assert "thresholds 1.000, never let 100.0 be done" in text
    assert "with --fixed rate it is held" in text
    assert told(120.0, planned, following, "rate").startswith("120 images/s can be held, at a load")
