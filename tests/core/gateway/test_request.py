"""A request in its gateway's hands, and the bound on how long its attempts may take."""

from hypothesis import given
from hypothesis import strategies as st
from tests.core.toys import pipeline

from shoal.core.gateway.request import MAX_FAULT, MAX_FAULTS, MAX_TRIES, Request, RoundTrip


def test_before_anything_was_answered_the_forecast_says_how_long_to_wait() -> None:
    trip = RoundTrip(floor_s=0.1)
    assert trip.timeout(0.2) == 2.5
    assert trip.timeout(100.0) == 30.0
    assert trip.timeout(0.2, slack_s=0.5) == 3.0


def test_what_goes_on_without_a_silent_device_takes_so_much_longer_and_no_more() -> None:
    trip = RoundTrip(floor_s=0.5)
    for _ in range(50):
        trip.observe(0.1)
    assert trip.timeout(0.2) == 0.5
    assert 0.2 <= trip.timeout(0.2, slack_s=0.1) < 0.25


def test_after_steady_answers_the_bound_comes_close_to_them() -> None:
    trip = RoundTrip(floor_s=0.1)
    for _ in range(50):
        trip.observe(0.4)
    assert 0.4 <= trip.timeout(0.0) < 0.45
    assert trip.timeout(1.0) == 2.0, "never under twice the forecast"


def test_answers_that_vary_widen_the_bound() -> None:
    trip = RoundTrip(floor_s=0.1)
    for k in range(50):
        trip.observe(0.2 + 0.4 * (k % 2))
    assert 1.0 < trip.timeout(0.0) < 1.6


@given(st.lists(st.floats(0.0, 1e4), max_size=30), st.floats(0.0, 1e3))
def test_the_bound_stays_within_its_limits(times: list[float], forecast: float) -> None:
    trip = RoundTrip(floor_s=0.5, ceiling_s=30.0)
    for seconds in times:
        trip.observe(seconds)
    assert 0.5 <= trip.timeout(forecast) <= 30.0


def test_a_new_attempt_starts_clean_and_the_latest_are_remembered() -> None:
    request = Request(0, "body", admitted=0.0, deadline=1.0)
    assert not request.in_flight
    plan = pipeline("ab", "a", "b")
    for k in range(MAX_TRIES + 3):
        request.begin("book", plan, 0, float(k))
        request.out.add("a")
        request.failed = True
    request.begin("book", plan, 0, 99.0)
    assert request.in_flight
    assert (request.out, request.failed, request.attempt) == (set(), False, MAX_TRIES + 4)
    assert len(request.tries) == MAX_TRIES
    assert request.tries[request.attempt].began == 99.0


def test_the_last_few_faults_are_remembered_each_once_and_cut_short() -> None:
    request = Request(0, "body", admitted=0.0, deadline=1.0)
    for k in range(20):
        request.fault(f"fault {k}")
        request.fault(f"fault {k}")
    assert request.faults == [f"fault {k}" for k in range(20 - MAX_FAULTS, 20)]
    request.fault("x" * 10_000)
    assert len(request.faults[-1]) == MAX_FAULT
