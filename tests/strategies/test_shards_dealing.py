"""Who holds which filters."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.strategies.shards.dealing import (
    Dealing,
    by_importance,
    counts,
    deal,
    deal_in_classes,
    deal_in_turn,
)

importances = st.lists(st.floats(0, 10), max_size=70)
shares = st.lists(st.floats(0.01, 10), min_size=1, max_size=8)


def owners(dealing: Dealing) -> list[int]:
    """How many devices hold each unit that is not common."""
    held = list(itertools.chain(*dealing.dealt))
    return [held.count(unit) for unit in range(dealing.units) if unit not in dealing.common]


def test_the_figure_of_the_paper() -> None:
    """Five filters n5 > n4 > ... > n1 on three devices, the best one for all, classes of two."""
    dealing = deal_in_classes([1, 2, 3, 4, 5], devices=3, common=1, size=2)
    held = [{unit + 1 for unit in (*units, *dealing.common)} for units in dealing.dealt]
    assert held == [{5, 4, 2}, {5, 3, 1}, {5, 4, 2}]


def test_classes_are_dealt_forth_and_back() -> None:
    dealing = deal([8, 7, 6, 5, 4, 3, 2, 1], [1, 1])
    assert dealing.dealt == ((0, 3, 4, 7), (1, 2, 5, 6))


@given(importances, shares, st.integers(0, 80))
def test_every_unit_has_one_owner_or_is_common(
    importance: list[float], shares: list[float], common: int
) -> None:
    dealing = deal(importance, shares, common)
    assert owners(dealing) == [1] * (len(importance) - len(dealing.common))
    assert len(dealing.common) == min(common, len(importance))
    assert set(dealing.common) == set(by_importance(importance)[: len(dealing.common)])
    assert dealing.units == len(importance)


@given(importances, shares)
def test_at_no_place_in_the_order_has_a_device_a_unit_more_or_less_than_its_share(
    importance: list[float], shares: list[float]
) -> None:
    """So each class of importance is spread over the devices by their shares."""
    dealing = deal(importance, shares)
    ranked = by_importance(importance)
    for device, held in enumerate(dealing.dealt):
        assert abs(len(held) - len(ranked) * shares[device] / sum(shares)) < 1 + 1e-9
        rate = len(held) / max(1, len(ranked))
        for place in range(len(ranked) + 1):
            assert abs(len(set(ranked[:place]) & set(held)) - place * rate) < 1


@given(st.integers(1, 8), st.integers(0, 9))
def test_equal_devices_get_one_of_each_class(devices: int, classes: int) -> None:
    dealing = deal(list(range(devices * classes)), [1.0] * devices)
    ranked = by_importance(list(range(devices * classes)))
    for number in range(classes):
        members = set(ranked[number * devices : (number + 1) * devices])
        assert [len(members & set(held)) for held in dealing.dealt] == [1] * devices


@given(importances, st.integers(1, 8), st.integers(0, 5), st.integers(1, 10))
def test_in_classes_every_unit_is_held(
    importance: list[float], devices: int, common: int, size: int
) -> None:
    dealing = deal_in_classes(importance, devices, common, size)
    assert dealing.units == len(importance)
    assert all(count >= 1 for count in owners(dealing))
    most = math.ceil((len(importance) - len(dealing.common)) / size) * math.ceil(size / devices)
    assert all(len(set(held)) == len(held) <= most for held in dealing.dealt)


@given(st.integers(1, 60), st.integers(2, 8))
def test_without_replication_a_lost_device_loses_its_share(units: int, devices: int) -> None:
    dealing = deal([1.0] * units, [1.0] * devices)
    lost = [len(dealing.missing([device])) for device in range(devices)]
    assert sum(lost) == units
    assert max(lost) - min(lost) <= 1


@given(st.integers(1, 60), st.integers(2, 8))
def test_with_all_common_nothing_is_missing_until_all_are_lost(units: int, devices: int) -> None:
    dealing = deal([1.0] * units, [1.0] * devices, units)
    assert dealing.missing(range(1, devices)) == ()
    assert dealing.missing(range(devices)) == tuple(range(units))


def test_in_turn_is_a_stretch_for_each() -> None:
    assert deal_in_turn(7, [1, 1, 1]).dealt == ((0, 1, 2), (3, 4), (5, 6))


@pytest.mark.parametrize(
    ("total", "shares", "found"),
    [(10, [1, 1, 1], (4, 3, 3)), (10, [3, 1], (8, 2)), (5, [0, 1], (0, 5)), (0, [1, 2], (0, 0))],
)
def test_counts_follow_shares(total: int, shares: list[float], found: tuple[int, ...]) -> None:
    assert counts(total, shares) == found
