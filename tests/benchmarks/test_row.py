import math

import pytest

from shoal_benchmarks.environment import environment
from shoal_benchmarks.measure import Samples
from shoal_benchmarks.row import number, row


@pytest.mark.parametrize(
    ("value", "goal", "met"),
    [
        (1.05, "<= 1.05", True),
        (1.06, "<= 1.05", False),
        (0.9, ">= 0.90", True),
        (0.89, ">= 0.90", False),
        (0, "= 0", True),
        (1, "= 0", False),
        (math.nan, "<= 1", False),
        (math.nan, ">= 1", False),
    ],
)
def test_met_follows_from_value_and_goal(value: float, goal: str, met: bool) -> None:
    assert row("x", value, "ms", goal).met is met


def test_without_a_goal_nothing_is_met_or_missed() -> None:
    assert row("baseline", 3.0, "ms").met is None


def test_samples_give_median_and_spread() -> None:
    made = row("x", Samples(tuple(float(n) for n in range(11))), "ms", "<= 5")
    assert (made.value, made.spread, made.met) == (5.0, (1.0, 9.0), True)


def test_an_unknown_comparison_is_a_mistake_of_the_bench() -> None:
    with pytest.raises(KeyError):
        row("x", 1.0, "ms", "about 3")


def test_the_environment_is_one_line_with_what_a_reader_needs() -> None:
    line = environment()
    assert "\n" not in line
    for word in ("cores", "Python", "onnxruntime", "UTC", "commit"):
        assert word in line


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (31564, "31,564"), (1.0384, "1.038"), (0.051234, "0.05123"), (12345.6, "12,346"),
     (math.nan, "nan")],
)  # fmt: skip
def test_numbers_are_short_and_plain(value: float, text: str) -> None:
    assert number(value) == text
