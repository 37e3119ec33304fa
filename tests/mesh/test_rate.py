"""What a link carries, told from what the system says of its connection, and from when."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.mesh.rate import LARGE_BYTES, LATE_BYTES, LinkRate, RateMeter, TcpInfo

MBIT = 125_000.0


def info(mbit: float = 100.0, **facts: object) -> TcpInfo:
    usual = {
        "delivery_rate": mbit * MBIT,
        "app_limited": False,
        "delivered": 1_000_000,
        "unsent": 0,
        "flying": 0,
        "rtt_s": 0.01,
        "min_rtt_s": 0.008,
        "quiet_s": 0.0,
        "unsaid_s": 0.0,
    }
    return TcpInfo(**{**usual, **facts})


def test_nothing_is_known_of_a_line_that_was_not_used():
    rate = RateMeter().rate(5.0)
    assert rate == LinkRate(0.0, 0.0, math.inf, False)


def test_the_system_knows_the_rate_and_the_least_round_trip():
    meter = RateMeter()
    meter.read(info(100, quiet_s=0.25), 10.0)
    rate = meter.rate(10.5)
    assert rate.bytes_per_s == 100 * MBIT
    assert rate.rtt_ms == pytest.approx(8.0)
    assert rate.age_s == pytest.approx(0.75)
    assert not rate.at_least


def test_a_rate_of_which_the_sender_was_the_limit_says_so():
    meter = RateMeter()
    meter.read(info(2, app_limited=True), 10.0)
    assert meter.rate(10.0).at_least
    meter.read(info(90, app_limited=False, delivered=2_000_000), 11.0)
    assert not meter.rate(11.0).at_least


def test_a_rate_grows_old_while_nothing_is_delivered():
    meter = RateMeter()
    meter.read(info(quiet_s=0.0), 10.0)
    meter.read(info(quiet_s=5.0), 15.0)
    assert meter.rate(15.0).age_s == pytest.approx(5.0)
    meter.read(info(quiet_s=0.1, delivered=1_010_000), 20.0)
    assert meter.rate(20.0).age_s == pytest.approx(0.1)


def test_a_question_now_and_then_makes_no_rate_young():
    meter = RateMeter()
    meter.read(info(), 10.0)
    for second in range(100):
        meter.read(info(delivered=1_000_000 + 20 * second), 10.0 + second)
        assert meter.rate(10.0 + second).age_s == pytest.approx(second)


@pytest.mark.parametrize("calm_s", [0.2, 10.0, 3600.0])
def test_what_is_sent_after_a_calm_is_not_late_as_long_as_the_calm_was(calm_s):
    """Nothing was said for long because nothing was sent."""
    meter = RateMeter()
    meter.read(info(quiet_s=0.0), 10.0)
    meter.read(info(flying=600_000, quiet_s=calm_s, unsaid_s=0.0), 10.0 + calm_s)
    assert meter.rate(10.0 + calm_s).bytes_per_s == 100 * MBIT


def test_what_is_late_counts_before_it_arrives():
    meter = RateMeter()
    meter.read(info(), 10.0)
    meter.read(info(flying=600_000), 10.0)
    meter.read(info(flying=600_000, quiet_s=0.03, unsaid_s=0.03), 10.03)
    assert meter.rate(10.03).bytes_per_s == 100 * MBIT, "it may be on its way yet"
    meter.read(info(flying=600_000, quiet_s=1.01, unsaid_s=1.01), 11.01)
    late = meter.rate(11.01)
    assert late.bytes_per_s == pytest.approx(600_000 / 1.0)
    assert (late.age_s, late.at_least) == (0.0, False)


def test_what_is_sent_again_meanwhile_does_not_make_it_less_late():
    meter = RateMeter()
    rates = []
    for tenths in range(1, 40):
        again_s = (tenths % 4) / 10  # the system tries it again
        now = 10.0 + tenths / 10
        meter.read(info(flying=600_000, quiet_s=tenths / 10, unsaid_s=again_s), now)
        rates.append(meter.rate(now).bytes_per_s)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 200_000


def test_what_is_late_and_arrives_is_as_the_system_says():
    meter = RateMeter()
    meter.read(info(flying=600_000), 10.0)
    meter.read(info(flying=600_000, quiet_s=2.0, unsaid_s=2.0), 12.0)
    assert meter.rate(12.0).bytes_per_s < 400_000
    meter.read(info(3, flying=500_000, delivered=1_100_000), 12.1)
    assert meter.rate(12.1).bytes_per_s == 3 * MBIT
    meter.read(info(3, flying=0, delivered=1_600_000, quiet_s=60.0, unsaid_s=60.0), 80.0)
    assert meter.rate(80.0).bytes_per_s == 3 * MBIT


def test_a_little_that_is_late_says_nothing():
    meter = RateMeter()
    meter.read(info(flying=LATE_BYTES - 1), 10.0)
    meter.read(info(flying=LATE_BYTES - 1, quiet_s=5.0, unsaid_s=5.0), 15.0)
    assert meter.rate(15.0).bytes_per_s == 100 * MBIT


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e10), st.booleans(), st.integers(0, 1000), st.integers(0, 1 << 20),
            st.integers(0, 1 << 20), st.floats(0, 10), st.floats(0, 1e6), st.floats(0, 1e6),
            st.floats(0, 10),
        ),
        max_size=20,
    )
)  # fmt: skip
def test_whatever_the_system_says_a_rate_is_a_rate(facts):
    meter, now, delivered = RateMeter(), 1e7, 0
    for rate, limited, more, unsent, flying, rtt, quiet, unsaid, passes in facts:
        now, delivered = now + passes, delivered + more
        meter.read(TcpInfo(rate, limited, delivered, unsent, flying, rtt, rtt, quiet, unsaid), now)
        told = meter.rate(now)
        assert 0 <= told.bytes_per_s <= rate
        assert told.age_s >= 0


# -- where the system says nothing ----------------------------------------------------------------


def test_the_time_in_which_the_system_takes_what_is_large_tells_a_rate():
    meter = RateMeter()
    for second in range(10):
        meter.took(1_000_000, 0.1, float(second))
    rate = meter.rate(12.0)
    assert rate.bytes_per_s == pytest.approx(10_000_000)
    assert (rate.rtt_ms, rate.age_s) == (0.0, 3.0)
    assert rate.at_least


def test_what_is_small_tells_none():
    meter = RateMeter()
    meter.took(LARGE_BYTES - 1, 1e-6, 1.0)
    assert meter.rate(1.0).bytes_per_s == 0.0


def test_a_rate_by_the_clock_follows_a_jump_within_a_few_messages():
    meter = RateMeter()
    for _ in range(10):
        meter.took(1_000_000, 0.01, 0.0)
    for _ in range(6):
        meter.took(1_000_000, 1.0, 0.0)
    assert meter.rate(0.0).bytes_per_s < 3_000_000
    meter.took(1_000_000, 0.0, 0.0)
    assert meter.rate(0.0).bytes_per_s < math.inf
