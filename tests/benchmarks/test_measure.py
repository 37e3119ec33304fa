import gc
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_benchmarks.measure import Samples, interleaved, quiet_collector, samples, turns

floats = st.floats(0.001, 1e6)


def test_percentiles_lie_between_neighbours() -> None:
    three = Samples((30.0, 10.0, 20.0))
    assert three.median == 20.0
    assert three.percentile(0) == 10.0
    assert three.percentile(100) == 30.0
    assert three.percentile(75) == 25.0


@given(st.lists(floats, min_size=1))
def test_the_median_lies_within_the_spread(values: list[float]) -> None:
    low, high = samples(values).spread
    assert low <= samples(values).median <= high


@given(st.lists(floats, min_size=1, max_size=20))
def test_ratios_are_taken_round_by_round(values: list[float]) -> None:
    slow = samples([value * 2 for value in values])
    assert slow.over(samples(values)).spread == pytest.approx((2.0, 2.0))


def test_no_samples_are_no_measurement() -> None:
    with pytest.raises(ValueError, match="at least one"):
        samples([])


@given(st.integers(0, 4), st.integers(0, 20), st.integers())
def test_each_has_a_turn_in_each_round_and_no_round_repeats_the_one_before(
    names: int, rounds: int, seed: int
) -> None:
    orders = list(turns(range(names), rounds, seed))
    assert len(orders) == rounds
    assert all(sorted(order) == list(range(names)) for order in orders)
    if names > 1:
        assert all(order != after for order, after in pairwise(orders))
    assert orders == list(turns(range(names), rounds, seed))


def test_variants_run_in_turn_and_the_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    times = interleaved(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=8, warm_up=2
    )
    assert len(calls) == 2 * (8 + 2)
    rounds = [set(calls[at : at + 2]) for at in range(0, len(calls), 2)]
    assert all(both == {"a", "b"} for both in rounds)
    assert len({tuple(calls[at : at + 2]) for at in range(4, len(calls), 2)}) == 2  # both orders
    assert len(times["a"].values) == len(times["b"].values) == 8


def test_times_are_in_milliseconds() -> None:
    slept = interleaved({"sleep": lambda: time.sleep(0.01)}, rounds=3, warm_up=0)["sleep"]
    assert slept.median >= 10


def test_the_collector_is_as_before_after_a_failure() -> None:
    assert gc.isenabled()

    def fail() -> None:
        with quiet_collector():
            assert not gc.isenabled()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert gc.isenabled()
