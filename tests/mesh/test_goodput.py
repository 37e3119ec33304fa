"""Goodput and round-trip time from messages that were sent anyway."""

import math
import statistics
from collections import deque
from collections.abc import Iterator
from itertools import repeat
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.mesh.goodput import SMOOTHING, Goodput, LinkRate

MBIT = 125_000.0


class Line:
    """A link of a given rate and delay: one message after another, acknowledged at once. The
    receiver's clock is ``ahead`` by so much, and the sender is ``late`` to hear of what comes."""

    def __init__(self, bytes_per_s: float, rtt_s: float, ahead: float | None = 1e3) -> None:
        self.bytes_per_s, self.rtt_s, self.ahead = bytes_per_s, rtt_s, ahead
        self.late: Iterator[float] = repeat(0.0)
        self.goodput = Goodput()
        self.now = self.free = 0.0
        self.seq = 0

    def send(self, *sizes: int) -> None:
        """Messages at once; time goes on until the last one is acknowledged."""
        acks = []
        for size in sizes:
            self.seq += 1
            self.goodput.left(self.seq, size, self.now)
            self.free = max(self.free, self.now) + size / self.bytes_per_s
            acks.append((self.seq, self.free + self.rtt_s / 2))
        for seq, at in acks:
            self.now = max(self.now, at + self.rtt_s / 2 + next(self.late))
            came = None if self.ahead is None else at + self.ahead
            self.goodput.arrived(seq, self.now, came)

    @property
    def rate(self) -> LinkRate:
        return self.goodput.rate(self.now)


def test_nothing_is_known_of_a_link_that_was_not_used() -> None:
    assert Goodput().rate(1.0) == LinkRate(0.0, 0.0)


@given(
    mbit=st.floats(1, 1000),
    rtt_ms=st.floats(0.1, 100),
    bursts=st.lists(st.lists(st.integers(50_000, 500_000), min_size=1, max_size=4), min_size=6),
    ahead=st.one_of(st.none(), st.floats(-1e4, 1e4)),
)
def test_rate_and_round_trip_are_those_of_the_link(
    mbit: float, rtt_ms: float, bursts: list[list[int]], ahead: float | None
) -> None:
    line = Line(mbit * MBIT, rtt_ms / 1e3, ahead)
    line.send(200)
    for sizes in bursts:
        line.send(*sizes)
    small_ms = 200 / line.bytes_per_s * 1e3
    assert line.rate.rtt_ms == pytest.approx(rtt_ms + small_ms)
    assert line.rate.bytes_per_s == pytest.approx(mbit * MBIT, rel=0.15)


def test_pauses_of_the_sender_do_not_make_a_link_slow() -> None:
    line = Line(10 * MBIT, 0.005)
    for _ in range(10):
        line.send(100)
        line.send(100_000)
        line.now += 1.0
    assert line.rate.bytes_per_s == pytest.approx(10 * MBIT, rel=0.02)


@pytest.mark.parametrize(("before", "after"), [(100, 2), (2, 100)])
def test_a_jump_is_believed_after_a_few_messages(before: float, after: float) -> None:
    line = Line(before * MBIT, 0.002)
    line.send(100)
    for _ in range(20):
        line.send(100_000)
    line.bytes_per_s = after * MBIT
    for _ in range(5):
        line.send(100_000)
    assert line.rate.bytes_per_s == pytest.approx(after * MBIT, rel=0.15)


def test_what_is_late_counts_before_it_arrives() -> None:
    line = Line(100 * MBIT, 0.0)
    for _ in range(5):
        line.send(125_000)
    line.goodput.left(99, 125_000, line.now)
    assert line.goodput.rate(line.now + 0.005).bytes_per_s == pytest.approx(100 * MBIT)
    late = 100 ** (1 - SMOOTHING)  # by now it is 1 Mbit/s: a sample as any other
    assert line.goodput.rate(line.now + 1.0).bytes_per_s == pytest.approx(late * MBIT)


def test_the_round_trip_is_the_least_of_the_last_seconds() -> None:
    line = Line(100 * MBIT, 0.050)
    line.send(10)
    line.rtt_s = 0.010
    line.send(10)
    assert line.rate.rtt_ms == pytest.approx(10, abs=0.1)
    line.rtt_s = 0.030
    line.send(10)
    assert line.rate.rtt_ms == pytest.approx(10, abs=0.1)
    line.now += 20
    line.send(10)
    assert line.rate.rtt_ms == pytest.approx(30, abs=0.1)


def test_small_messages_that_are_acknowledged_together_say_nothing_of_the_rate() -> None:
    line = Line(100 * MBIT, 0.001)
    line.send(100)
    for _ in range(5):
        line.send(100_000)
    for seq in range(10):
        line.goodput.left(100 + seq, 4000, line.now)
        line.now += 0.005
    line.goodput.arrived(109, line.now, None)
    assert line.rate.bytes_per_s == pytest.approx(100 * MBIT, rel=0.05)


def test_acknowledgements_that_come_in_a_bunch_make_no_link_fast() -> None:
    line = Line(10 * MBIT, 0.001)
    line.send(100)
    for _ in range(5):
        line.send(100_000)
        line.now += 0.1
    at = line.now
    for k in range(4):  # held up somewhere: all of them at once, the first one in time
        line.goodput.left(100 + k, 100_000, at)
    for k in range(4):
        line.goodput.arrived(100 + k, at + 0.32 + k * 1e-6, None)
    assert line.rate.bytes_per_s == pytest.approx(10 * MBIT, rel=0.9)


@pytest.mark.parametrize("size", [60_000, 150_000])
def test_a_sender_that_is_late_to_hear_of_what_came_does_not_take_that_for_the_link(
    size: int,
) -> None:
    line = Line(100 * MBIT, 0.001)
    chance = Random(7)
    line.late = iter(lambda: chance.uniform(0.002, 0.08), None)
    for _ in range(5):
        line.send(100)
        line.now += 0.3
    for _ in range(50):
        line.send(size)
        assert line.rate.bytes_per_s == pytest.approx(100 * MBIT, rel=0.1)


def test_clocks_that_drift_apart_do_little_harm() -> None:
    line = Line(100 * MBIT, 0.001)
    for k in range(600):
        line.send(100)
        line.send(100_000)
        line.now += 0.1
        line.ahead = 1e3 + 50e-6 * (line.now if k % 300 < 150 else -line.now)
        if k % 150 > 10:
            assert line.rate.bytes_per_s == pytest.approx(100 * MBIT, rel=0.15)


@pytest.mark.parametrize("came", [0.0, -1e300, 1e300])
def test_a_receiver_that_lies_of_when_something_came_makes_no_time_of_it(came: float) -> None:
    goodput, now = Goodput(), 0.0
    for seq in range(1, 20):
        goodput.left(seq, 100 if seq % 2 else 100_000, now)
        now += 0.01
        goodput.arrived(seq, now, came if seq % 3 else now)
    assert 100_000 / 0.011 <= goodput.rate(now).bytes_per_s < math.inf


@pytest.mark.parametrize("pause_s", [0.0, 0.005, 0.1])
def test_small_messages_behind_large_ones_do_not_say_how_long_the_way_is(pause_s: float) -> None:
    line = Line(10 * MBIT, 0.001)
    line.send(100)
    for _ in range(300):
        line.send(60_000, 200)
        line.now += pause_s
    assert line.rate.bytes_per_s == pytest.approx(10 * MBIT, rel=0.1)


@pytest.mark.parametrize("asleep_s", [0.008, 0.03])
def test_a_receiver_that_reads_several_at_once_makes_no_link_fast(asleep_s: float) -> None:
    """It sleeps half of the time, and what came meanwhile it finds all at once."""
    line = Line(100 * MBIT, 0.001, ahead=0.0)
    line.send(100)
    chance, free, waiting, found = Random(3), 0.0, deque(), []
    for seq in range(1000, 1400):
        line.goodput.left(seq, 60_000, line.now)
        free = max(free, line.now) + 60_000 / line.bytes_per_s
        period = 2 * asleep_s
        into = free % period
        came = free if into >= asleep_s else free - into + asleep_s
        waiting.append((seq, came))
        while len(waiting) >= 4:  # so many are under way
            done, at = waiting.popleft()
            line.now = max(line.now, at + 0.0005 + chance.uniform(0, 1e-4))
            line.goodput.arrived(done, line.now, at)
            found.append(line.rate.bytes_per_s / (100 * MBIT))
    assert 0.3 <= statistics.median(found) <= 1.6


def test_a_way_that_is_long_ago_is_known_no_more() -> None:
    """Clocks drift, and a line that is never quiet sends nothing small."""
    line = Line(100 * MBIT, 0.001)
    line.send(100)
    for _ in range(3000):
        line.ahead = 1e3 - 200e-6 * line.now
        line.send(100_000)
        line.now += 0.05
    assert line.rate.bytes_per_s == pytest.approx(100 * MBIT, rel=0.1)


def test_what_a_busy_device_adds_to_each_message_is_not_laid_to_the_link() -> None:
    line = Line(100 * MBIT, 0.001, ahead=None)
    for _ in range(10):
        line.goodput.trip(0.006, line.now)  # usually 6 ms, once 1 ms
    line.goodput.trip(0.001, line.now)
    line.rtt_s = 0.0055
    for _ in range(10):
        line.now += 0.1
        line.send(25_000)
    assert line.rate.bytes_per_s == pytest.approx(100 * MBIT, rel=0.5)
    assert line.rate.rtt_ms == pytest.approx(1.0)
