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


def test_what_saves_most_for_a_byte_comes_first() -> None:
    found = replicate(LAYERS, loss, lambda common: loss(common) <= 4.0)
    assert (found.common, found.enough) == ((0, 0, 4), True)
    found = replicate(LAYERS, loss, lambda common: loss(common) <= 3.0)
    assert (found.common, found.enough) == ((8, 0, 4), True)


def test_what_has_no_room_is_left() -> None:
    found = replicate(LAYERS, loss, lambda common: loss(common) <= 0, lambda c: c[1] <= 2)
    assert (found.common, found.enough) == ((8, 2, 4), False)
    assert found.loss == loss(found.common)


def test_in_the_end_all_is_common() -> None:
    found = replicate(LAYERS, loss, lambda common: False)
    assert found.common == (8, 8, 4)


def test_nothing_is_added_to_what_is_enough() -> None:
    assert replicate(LAYERS, loss, lambda common: True).common == (0, 0, 0)


def test_where_gains_only_fall_few_are_worked_out() -> None:
    """Each layer's gain is known to be constant here, so after the first round only the best one
    is looked at: fewer calls than a greedy search that tries all layers each time."""
    asked: list[Common] = []

    def counted(common: Common) -> float:
        asked.append(common)
        return loss(common)

    replicate(LAYERS, counted, lambda common: False)
    steps = 8 + 8 + 4
    assert len(asked) < steps * len(LAYERS)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.data())
def test_with_separate_layers_no_cheaper_step_was_left(
    units: list[int], data: st.DataObject
) -> None:
    """Where layers lose independently and ever less, greedy is as good as anything of its bytes."""
    falls = [sorted((data.draw(st.integers(0, 50)) for _ in range(n)), reverse=True) for n in units]
    layers = [Layer(n, 1.0) for n in units]

    def left(common: Common) -> float:
        return sum(sum(fall[count:]) for fall, count in zip(falls, common, strict=True))

    wanted = data.draw(st.integers(0, 100))
    found = replicate(layers, left, lambda common: left(common) <= wanted)
    same = [
        common
        for common in itertools.product(*(range(n + 1) for n in units))
        if sum(common) < sum(found.common)
    ]
    assert all(left(common) > wanted for common in same)


def test_uniform_is_the_same_share_of_each() -> None:
    assert uniform(LAYERS, 0.5) == (4, 4, 2)
