"""Attempts: what is stale is not worked on, and what is remembered of it is bounded."""

from shoal.core.worker.attempts import Attempts, RequestKey


def of(number: int, incarnation: str = "g1") -> RequestKey:
    return "g", incarnation, number


def test_an_older_attempt_and_a_stage_that_was_run_are_stale() -> None:
    attempts = Attempts()
    assert not attempts.stale(of(3), 1, 0)
    assert not attempts.note(of(3), 1)
    attempts.done(of(3), 1, 1)
    assert attempts.stale(of(3), 1, 0)
    assert attempts.stale(of(3), 1, 1)
    assert not attempts.stale(of(3), 1, 2)
    assert attempts.note(of(3), 2), "an older attempt was known"
    assert attempts.stale(of(3), 1, 2)
    assert not attempts.stale(of(3), 2, 0), "a newer attempt begins at its own beginning"


def test_attempts_of_one_request_say_nothing_of_another_or_of_another_life() -> None:
    attempts = Attempts()
    attempts.note(of(3), 5)
    assert not attempts.stale(of(4), 1, 0)
    assert not attempts.stale(of(3, "g2"), 1, 0)


def test_an_older_attempt_that_is_noted_late_changes_nothing() -> None:
    attempts = Attempts()
    attempts.note(of(1), 2)
    attempts.done(of(1), 2, 0)
    assert not attempts.note(of(1), 1)
    attempts.done(of(1), 1, 7)
    assert attempts.superseded(of(1), 1)
    assert not attempts.superseded(of(1), 2)
    assert not attempts.stale(of(1), 2, 1)


def test_what_is_settled_is_over_and_told_once() -> None:
    attempts = Attempts()
    for number in (2, 5, 9):
        attempts.note(of(number), 1)
    assert attempts.settle(("g", "g1"), 6) == [2, 5]
    assert attempts.settle(("g", "g1"), 6) == []
    assert attempts.settle(("g", "g1"), 3) == [], "it never goes back"
    assert attempts.settled(("g", "g1")) == 6
    assert attempts.stale(of(4), 99, 99)
    assert attempts.superseded(of(4), 99)
    assert not attempts.stale(of(9), 1, 0)
    assert len(attempts) == 1


def test_a_single_request_can_be_over() -> None:
    attempts = Attempts()
    attempts.note(of(7), 1)
    attempts.over(of(7))
    assert attempts.stale(of(7), 50, 3)
    assert not attempts.stale(of(6), 1, 0)
    assert attempts.settle(("g", "g1"), 8) == [7]
    assert len(attempts) == 0
    attempts.over(of(7))
    assert len(attempts) == 0, "what is settled needs no note of its own"


def test_of_each_gateway_the_latest_requests_are_remembered_and_of_gateways_the_latest() -> None:
    attempts = Attempts(limit=10, owners=2)
    for number in range(50):
        attempts.note(of(number), 1)
    assert len(attempts) == 10
    assert attempts.superseded(of(49), 0)
    for life in ("g2", "g3"):
        attempts.note(of(0, life), 1)
    assert len(attempts) == 2, "the first life made room for the third"
