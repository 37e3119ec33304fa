"""Timers: at most one time per key, in order, in bounded memory."""

import math

from hypothesis import given
from hypothesis import strategies as st

from shoal.core.shared.timers import Timers


def test_what_is_due_comes_once_and_earliest_first() -> None:
    timers: Timers[str] = Timers()
    timers.set("late", 3.0)
    timers.set("early", 1.0)
    timers.set("soon", 2.0)
    assert timers.next() == 1.0
    assert list(timers.due(0.999)) == []
    assert list(timers.due(2.0)) == ["early", "soon"]
    assert list(timers.due(2.0)) == []
    assert (timers.next(), len(timers)) == (3.0, 1)


def test_setting_a_key_again_moves_it_both_ways() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.set("a", 5.0)
    assert timers.next() == 5.0
    assert list(timers.due(4.0)) == []
    timers.set("a", 2.0)
    assert list(timers.due(4.0)) == ["a"]
    assert list(timers.due(9.0)) == [], "the time before the move does not ring"


def test_a_cleared_key_and_one_due_at_infinity_never_ring() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.clear("a")
    timers.clear("never set")
    timers.set("b", 1.0)
    timers.set("b", math.inf)
    assert "b" not in timers
    assert timers.next() is None
    assert list(timers.due(1e9)) == []


def test_what_is_not_taken_is_still_set() -> None:
    timers: Timers[str] = Timers()
    for at, key in enumerate("abc"):
        timers.set(key, float(at))
    assert next(timers.due(9.0)) == "a"  # and whoever took it failed
    assert list(timers.due(9.0)) == ["b", "c"]


def test_what_is_set_meanwhile_is_for_the_next_time() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    for key in timers.due(9.0):
        timers.set(key, 2.0)
    assert list(timers.due(9.0)) == ["a"]


def test_memory_follows_the_keys_not_the_calls() -> None:
    timers: Timers[int] = Timers()
    for at in range(10_000):
        timers.set(at % 3, float(at))
    assert len(timers) == 3
    assert len(timers._heap) < 100


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.none() | st.integers(0, 9)), max_size=60),
    st.integers(0, 9),
)
def test_timers_do_what_a_plain_map_would(calls: list[tuple[str, int | None]], now: int) -> None:
    timers: Timers[str] = Timers()
    plain: dict[str, int] = {}
    for key, at in calls:
        if at is None:
            timers.clear(key)
            plain.pop(key, None)
        else:
            timers.set(key, at)
            plain[key] = at
    assert timers.next() == min(plain.values(), default=None)
    due = list(timers.due(now))
    assert sorted(due) == sorted(key for key, at in plain.items() if at <= now)
    assert [plain[key] for key in due] == sorted(plain[key] for key in due)
    assert len(timers) == len(plain) - len(due)
