"""The relay's packets, without any network: what goes in comes out later, or never."""

import os
from collections.abc import Iterator

import pytest

from shoal_lab.relay import MOST_WAITING, Direction


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    os.set_blocking(ends[1], False)
    yield ends
    for end in ends:
        os.close(end)


def arrived(pipe: tuple[int, int]) -> bytes:
    try:
        return os.read(pipe[0], 1 << 20)
    except BlockingIOError:
        return b""


def test_a_packet_arrives_after_the_delay_and_not_before(pipe: tuple[int, int]) -> None:
    way = Direction(pipe[1], delay_s=0.010, loss=0.0, seed=1)
    way.take(b"a", now=100.000)
    way.take(b"b", now=100.002)
    way.deliver(100.0099)
    assert arrived(pipe) == b""
    way.deliver(100.0101)
    assert arrived(pipe) == b"a"
    way.deliver(100.0121)
    assert arrived(pipe) == b"b"
    assert (way.passed, way.dropped) == (2, 0)


def test_a_shorter_delay_lets_nobody_overtake(pipe: tuple[int, int]) -> None:
    way = Direction(pipe[1], delay_s=0.1, loss=0.0, seed=1)
    way.take(b"a", now=0.0)
    way.delay_s = 0.001
    way.take(b"b", now=0.01)
    way.deliver(0.05)
    assert arrived(pipe) == b""
    way.deliver(0.1001)
    assert arrived(pipe) == b"ab"


def test_losses_are_as_many_as_asked_and_the_same_for_a_seed(pipe: tuple[int, int]) -> None:
    def lost(seed: int) -> list[int]:
        way = Direction(pipe[1], delay_s=1.0, loss=0.2, seed=seed)
        for number in range(5000):
            way.take(number.to_bytes(2), now=0.0)
        kept = {int.from_bytes(packet) for _, packet in way.waiting}
        assert way.dropped == 5000 - len(kept)
        return sorted(set(range(5000)) - kept)

    assert 900 < len(lost(1)) < 1100
    assert lost(1) == lost(1) != lost(2)


def test_more_packets_than_a_link_holds_are_dropped(pipe: tuple[int, int]) -> None:
    way = Direction(pipe[1], delay_s=10.0, loss=0.0, seed=1)
    for _ in range(MOST_WAITING + 5):
        way.take(b"x", now=0.0)
    assert (len(way.waiting), way.dropped) == (MOST_WAITING, 5)


def test_a_packet_for_an_end_that_is_gone_is_lost() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    os.close(reader)
    way = Direction(writer, delay_s=0.0, loss=0.0, seed=1)
    way.take(b"x", now=0.0)
    way.deliver(1.0)
    assert (way.passed, way.dropped) == (0, 1)
