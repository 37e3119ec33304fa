"""Random fault schedules: the same for the same seed, and survivable."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal_lab.faults import KINDS, Kill, Pace, Restart, random_faults

HOSTS = ("pi", "nano", "cloud")
LINKS = (("pi", "switch"), ("nano", "switch"))


def test_a_seed_always_gives_the_same_schedule() -> None:
    one = random_faults(HOSTS, LINKS, 300, seed=7)
    assert one == random_faults(HOSTS[::-1], LINKS[::-1], 300, seed=7)
    assert one != random_faults(HOSTS, LINKS, 300, seed=8)
    assert {type(fault) for fault in one} == set(KINDS.values()), "five minutes have everything"


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(1, 200), st.sets(st.sampled_from(sorted(KINDS))))
def test_faults_do_not_overlap_and_end_in_time(seed: int, seconds: float, kinds: set[str]) -> None:
    faults = random_faults(HOSTS, LINKS, seconds, seed, kinds)
    free_s = 0.0
    for fault in faults:
        follows_kill = isinstance(fault, Restart) and fault.for_s == 0
        assert follows_kill or fault.at_s >= free_s
        free_s = fault.at_s + (getattr(fault, "for_s", None) or 0.0)
        assert free_s <= seconds + 0.01
        assert getattr(fault, "host", "pi") in HOSTS
        assert getattr(fault, "link", LINKS[0]) in LINKS


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_who_was_killed_comes_back(seed: int) -> None:
    faults = random_faults(HOSTS, (), 120, seed, ["kill"])
    assert faults
    for killed, again in zip(faults[::2], faults[1::2], strict=True):
        assert isinstance(killed, Kill)
        assert again == Restart(at_s=again.at_s, host=killed.host)
        assert again.at_s > killed.at_s


def test_kinds_without_a_place_are_left_out() -> None:
    assert random_faults((), (), 100, seed=1) == ()
    assert {type(fault).__name__ for fault in random_faults((), LINKS, 300, seed=1)} == {
        "Cut",
        "Narrow",
        "Lossy",
    }


def test_the_pace_may_be_chosen() -> None:
    quick = Pace(lasts_s=(0.1, 0.2), calm_s=(0.1, 0.2))
    assert len(random_faults(HOSTS, LINKS, 60, 1, pace=quick)) > 100


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(KeyError):
        random_faults(HOSTS, LINKS, 60, 1, ["melt"])
