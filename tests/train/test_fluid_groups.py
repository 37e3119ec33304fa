"""Groups, the sub-networks they make, and who takes turns when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import UnsupportedModelError, UsageError
from shoal_train.fluid.groups import (
    KINDS,
    MAX_DEVICES,
    divide,
    split_channels,
    sub_networks,
    trained_sets,
)

widths = st.lists(st.integers(1, 9), min_size=2, max_size=MAX_DEVICES)


@given(channels=st.integers(8, 200), widths=widths)
def test_channels_are_dealt_out_whole_and_near_to_the_widths(
    channels: int, widths: list[int]
) -> None:
    sizes = split_channels(channels, widths, "conv")
    assert sum(sizes) == channels
    assert min(sizes) >= 1
    if channels >= 20 * sum(widths):
        for size, width in zip(sizes, widths, strict=True):
            assert abs(size - channels * width / sum(widths)) <= 1


def test_groups_that_do_not_divide_the_channels_differ_by_one() -> None:
    assert split_channels(10, (1, 1, 1, 1), "conv") == (2, 3, 3, 2)
    assert split_channels(7, (2, 1, 1), "conv") == (4, 1, 2)


def test_too_few_channels_are_refused_with_the_layers_name() -> None:
    with pytest.raises(UnsupportedModelError, match=r"layer stem has 3 channels.*fewer groups"):
        split_channels(3, (1, 1, 1, 1), "stem")


def test_two_devices_have_the_quarters_of_the_paper() -> None:
    division = divide(2)
    assert division.owners == ((0, 1), (2, 3))
    names = {sub.name: sub.groups for sub in sub_networks(division)}
    assert names == {
        "L25": (0,),
        "L50": (0, 1),
        "C75": (0, 1, 2),
        "U25": (2,),
        "U50": (2, 3),
        "C100": (0, 1, 2, 3),
    }
    assert set(division.served()) == {(0, 1), (2, 3), (0, 1, 2, 3)}


def test_unequal_devices_are_named_by_their_share() -> None:
    names = [sub.name for sub in sub_networks(divide("3:1"))]
    assert names == ["L38", "L75", "C88", "U12", "U25", "C100"]


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_with_more_devices_every_set_of_them_has_a_sub_network(count: int) -> None:
    division = divide(count)
    subs = sub_networks(division)
    assert len(subs) == 2**count - 1
    assert {sub.groups for sub in subs} == set(division.served())
    assert len({sub.name for sub in subs}) == len(subs)
    assert subs[-1].groups == division.everything


def test_few_sub_networks_have_private_values_and_many_share_them_by_size() -> None:
    assert len({sub.affine for sub in sub_networks(divide(4))}) == 15
    assert len({sub.affine for sub in sub_networks(divide(8))}) == 8
    assert len({sub.statistics for sub in sub_networks(divide(8))}) == 255


@pytest.mark.parametrize(
    ("kind", "count"), [("static", 1), ("dynamic", 4), ("slimmable", 4), ("fluid", 6)]
)
def test_what_a_kind_does_not_train_borrows_from_the_full_network(kind: str, count: int) -> None:
    division = divide(2)
    subs = sub_networks(division, kind)  # type: ignore[arg-type]
    assert len(trained_sets(division, kind)) == count  # type: ignore[arg-type]
    own = [sub for sub in subs if sub.affine == sub.statistics == sub.name]
    assert len(own) == count
    assert {sub.affine for sub in subs if sub not in own} <= {"C100"}


@pytest.mark.parametrize(
    "wrong", ["1", "9", "0", "-3", "2.5", "many", "1:0", "1:nan", "1:x", 1, (1.0,), "1:inf"]
)
def test_groups_that_make_no_sense_are_refused(wrong: object) -> None:
    with pytest.raises(UsageError):
        divide(wrong)  # type: ignore[arg-type]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match=", ".join(KINDS)):
        sub_networks(divide(2), "solid")  # type: ignore[arg-type]
