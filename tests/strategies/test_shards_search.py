"""The cheapest way through a network in which something is dealt."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from shoal.strategies.shards.search import Step, cheapest


def shown(way: tuple[Step[str], ...] | None) -> list[str]:
    assert way is not None
    return [step.what or f"{step.start}-{step.end}" for step in way]


def test_what_does_not_pay_one_device_runs() -> None:
    dealt = [Step(0, 4, 1.0, "a"), Step(4, 6, 9.0, "b"), Step(6, 8, 1.0, "c")]
    assert shown(cheapest(10, dealt, lambda start, end: 2.0 * (end - start))) == [
        "a",
        "4-6",
        "c",
        "8-10",
    ]


def test_a_long_region_stands_for_two_short_ones_where_that_is_cheaper() -> None:
    dealt = [Step(0, 4, 3.0, "a"), Step(4, 8, 3.0, "b"), Step(0, 8, 5.0, "ab")]
    assert shown(cheapest(8, dealt, lambda start, end: 100.0)) == ["ab"]
    dealt[-1] = Step(0, 8, 7.0, "ab")
    assert shown(cheapest(8, dealt, lambda start, end: 100.0)) == ["a", "b"]


def test_something_is_dealt_even_if_nothing_pays() -> None:
    dealt = [Step(0, 4, 50.0, "a"), Step(4, 6, 20.0, "b")]
    assert shown(cheapest(8, dealt, lambda start, end: float(end - start))) == ["0-4", "b", "6-8"]


def test_there_is_no_way_without_a_region() -> None:
    assert cheapest(8, [], lambda start, end: 1.0) is None


@st.composite
def networks(draw: st.DrawFn) -> tuple[int, list[Step[str]], list[float]]:
    last = draw(st.integers(2, 7))
    pairs = draw(st.lists(st.sampled_from(list(itertools.combinations(range(last + 1), 2)))))
    steps = [Step(a, b, draw(st.integers(0, 20)), f"{a}>{b}") for a, b in dict.fromkeys(pairs)]
    return last, steps, [draw(st.integers(0, 10)) for _ in range(last)]


@given(networks(), st.integers(0, 5))
def test_no_other_way_is_cheaper(
    network: tuple[int, list[Step[str]], list[float]], hop: int
) -> None:
    last, steps, node_ms = network

    def alone(start: int, end: int) -> float:
        return hop + sum(node_ms[start:end])

    def ways(place: int, just: bool) -> list[tuple[float, int]]:
        """Cost and number of regions of all ways from a place."""
        found = [(0.0, 0)] if place == last else []
        for step in steps:
            if step.start == place:
                found += [(cost + step.cost, n + 1) for cost, n in ways(step.end, True)]
        for end in range(place + 1, last + 1) if just else ():
            found += [(cost + alone(place, end), n) for cost, n in ways(end, False)]
        return found

    least = min((cost for cost, number in ways(0, True) if number), default=None)
    way = cheapest(last, steps, alone)
    assert (None if way is None else sum(step.cost for step in way)) == least
    if way is not None:
        assert [step.start for step in way] == [0, *(step.end for step in way[:-1])]
        assert way[-1].end == last
