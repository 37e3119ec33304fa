"""How much is held by all: as little as keeps the promise."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from shoal.strategies.shards.replicate import Common, Layer, replicate, uniform

LAYERS = [Layer(8, 10.0), Layer(8, 1000.0), Layer(4, 10.0)]


def loss(common: Common) -> float:
    """The second layer matters most, but each unit of it is a hundred times as large."""
    return sum(
        weight * (1 - count / layer.units)
        for weight, count, layer in zip((1.0, 3.0, 2.0), common, LAYERS, strict=True)
    )


def test_what_costs_least_for_what_it_saves_goes_first() -> None:
    assert replicate(LAYERS, loss, lambda common: loss(common) <= 3.0) == (8, 0, 4)
    assert replicate(LAYERS, loss, lambda common: loss(common) <= 4.0) == (0, 0, 4)


def test_a_step_that_breaks_the_promise_is_not_taken_and_others_are() -> None:
    assert replicate(LAYERS, loss, lambda common: loss(common) <= 2.8) == (7, 1, 4)


def test_what_has_no_room_goes_whatever_it_costs() -> None:
    assert replicate(LAYERS, loss, lambda common: False, lambda c: c[1] <= 2) == (8, 2, 4)


def test_the_promise_is_asked_for_at_long_strides() -> None:
    asked: list[Common] = []

    def keeps(common: Common) -> bool:
        asked.append(common)
        return loss(common) <= 3.2

    assert replicate(LAYERS, loss, keeps) == (7, 0, 4)
    assert len(asked) <= 4 + 3 + 3


def test_a_promise_that_nothing_keeps_takes_all() -> None:
    assert replicate(LAYERS, loss, lambda common: False) == (8, 8, 4)


def test_where_nothing_is_promised_nothing_is_common() -> None:
    assert replicate(LAYERS, loss, lambda common: True) == (0, 0, 0)


def test_where_costs_only_rise_few_are_worked_out() -> None:
    asked: set[Common] = set()

    def counted(common: Common) -> float:
        asked.add(common)
        return loss(common)

    replicate(LAYERS, counted, lambda common: True)
    steps = 8 + 8 + 4
    assert len(asked) < 2 * steps


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.data())
def test_where_layers_lose_apart_nothing_smaller_keeps_the_promise(
    units: list[int], data: st.DataObject
) -> None:
    """Each layer's units matter ever less, so the cheapest of all steps is the right one."""
    falls = [sorted((data.draw(st.integers(0, 50)) for _ in range(n)), reverse=True) for n in units]

    def left(common: Common) -> float:
        return sum(sum(fall[count:]) for fall, count in zip(falls, common, strict=True))

    wanted = data.draw(st.integers(0, 100))
    found = replicate([Layer(n, 1.0) for n in units], left, lambda common: left(common) <= wanted)
    assert left(found) <= wanted
    smaller = (
        common
        for common in itertools.product(*(range(n + 1) for n in units))
        if sum(common) < sum(found)
    )
    assert all(left(common) > wanted for common in smaller)


def test_uniform_is_the_same_share_of_each() -> None:
    assert uniform(LAYERS, 0.5) == (4, 4, 2)
