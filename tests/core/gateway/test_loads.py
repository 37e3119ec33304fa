"""Parts that kill who loads them."""

import pytest

from shoal.core.gateway.loads import MAX_KNOWN, SPARED_MOST_S, SPARED_S, Loads


@pytest.fixture
def loads() -> Loads:
    return Loads()


def die(loads: Loads, life: str, now: float = 0.0, part: str = "p") -> None:
    loads.begun("a", part, life)
    loads.died("a", life, now)


def test_a_device_that_died_twice_of_a_part_is_spared_it_for_a_while(loads: Loads) -> None:
    die(loads, "a1")
    assert loads.barred("a", ["p", "q"], 0.0) == {}
    die(loads, "a2", 100.0)
    barred = loads.barred("a", ["p", "q"], 100.0)
    assert barred.keys() == {"p"}
    assert "a died twice while loading part p" in barred["p"]
    assert "for 10 minutes" in barred["p"]
    assert loads.barred("b", ["p"], 100.0) == {}, "another device may have more memory"
    assert loads.barred("a", ["p"], 100.0 + SPARED_S) == {}


def test_each_further_death_spares_it_for_twice_as_long(loads: Loads) -> None:
    now = 0.0
    for life in range(12):
        die(loads, f"a{life}", now)
        longest = max(
            (
                after
                for after in (SPARED_S * 2**k for k in range(12))
                if loads.barred("a", ["p"], now + after - 1)
            ),
            default=0.0,
        )
        expected = 0.0 if life == 0 else min(SPARED_MOST_S, SPARED_S * 2 ** (life - 1))
        assert longest == expected
        now += longest
    assert "12 times" in loads.barred("a", ["p"], now - 1)["p"]


def test_what_was_loaded_well_is_forgiven(loads: Loads) -> None:
    die(loads, "a1")
    loads.begun("a", "p", "a2")
    loads.ended("a", ["p"])
    die(loads, "a2")
    assert loads.barred("a", ["p"], 0.0) == {}


def test_a_device_that_ends_while_it_loads_nothing_has_not_died_of_it(loads: Loads) -> None:
    for life in ("a1", "a2", "a3"):
        loads.begun("a", "p", life)
        loads.ended("a")
        loads.died("a", life, 0.0)
    loads.begun("a", "p", "a4")
    loads.died("a", "a3", 0.0)  # what is said of an earlier life
    assert loads.barred("a", ["p"], 0.0) == {}


def test_it_is_known_whether_a_life_of_a_device_is_loading(loads: Loads) -> None:
    assert not loads.at_it("a", "a1")
    loads.begun("a", "p", "a1")
    assert loads.at_it("a", "a1")
    assert not loads.at_it("a", "a2")
    assert not loads.at_it("b", "")


def test_what_is_remembered_is_bounded(loads: Loads) -> None:
    for k in range(3 * MAX_KNOWN):
        loads.begun(f"d{k}", "p", "1")
        if k % 2:
            loads.died(f"d{k}", "1", 0.0)
    assert len(loads) <= 2 * MAX_KNOWN
