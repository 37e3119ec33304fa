"""Kept outputs: the newest of each request, within a bound of bytes."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from shoal.core.worker.attempts import RequestKey
from shoal.core.worker.kept import MAX_KEPT, Kept, Output


def output(size: int = 10, **changes: object) -> Output:
    made = Output("book", "p", 0, 1, ("t4",), object(), size, "raw", (), (), expires=9.0)
    return replace(made, **changes)  # type: ignore[arg-type]


def of(number: int, gateway: str = "g", incarnation: str = "g1") -> RequestKey:
    return gateway, incarnation, number


def test_the_newest_output_of_a_request_takes_the_place_of_the_older() -> None:
    kept = Kept(100)
    kept.put(of(1), output(60))
    newer = output(70, stage=1)
    kept.put(of(1), newer)
    assert kept.get(of(1)) is newer
    assert (len(kept), kept.bytes) == (1, 70)


def test_when_it_is_full_the_oldest_go_first() -> None:
    kept = Kept(100)
    for number in range(3):
        kept.put(of(number), output(40))
    assert kept.get(of(0)) is None
    assert kept.get(of(1)) is not None
    assert kept.bytes == 80


def test_what_is_larger_than_all_room_is_not_kept_and_throws_nobody_out() -> None:
    kept = Kept(100)
    kept.put(of(0), output(90))
    kept.put(of(1), output(101))
    assert kept.get(of(1)) is None
    assert kept.get(of(0)) is not None
    kept.put(of(0), output(101))
    assert kept.get(of(0)) is None, "the older output of the request is out of date all the same"
    assert kept.bytes == 0


def test_outputs_of_no_bytes_are_bounded_too() -> None:
    kept = Kept(100)
    for number in range(MAX_KEPT + 5):
        kept.put(of(number), output(0))
    assert len(kept) == MAX_KEPT


def test_what_was_passed_on_to_a_device_is_found() -> None:
    kept = Kept(100)
    kept.put(of(0), output(to=("b",)))
    kept.put(of(1), output(to=("b", "c")))
    kept.put(of(2), output(to=("c",)))
    assert [key for key, _ in kept.passed_to("b")] == [of(0), of(1)]
    assert kept.passed_to("d") == []


def test_a_gateway_that_leaves_or_restarts_frees_what_was_kept_for_it() -> None:
    kept = Kept(100)
    kept.put(of(0), output())
    kept.put(of(0, incarnation="g2"), output())
    kept.put(of(0, "h", "h1"), output())
    kept.drop_owner("g", but="g2")
    assert kept.get(of(0)) is None
    assert kept.get(of(0, incarnation="g2")) is not None
    kept.drop_owner("g")
    kept.drop(of(0))
    assert (len(kept), kept.bytes) == (1, 10)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 60)), max_size=40))
def test_the_bytes_are_those_of_what_is_there(calls: list[tuple[bool, int, int]]) -> None:
    kept = Kept(100)
    for put, number, size in calls:
        if put:
            kept.put(of(number), output(size))
        else:
            kept.drop(of(number))
        there = [held for k in range(6) if (held := kept.get(of(k)))]
        assert kept.bytes == sum(held.size for held in there) <= 100
        assert len(kept) == len(there)
