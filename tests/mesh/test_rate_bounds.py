"""Rates and frames at their bounds: how much just counts, and what is normal again after it."""

import math

import msgspec
import pytest
from tests.mesh.test_rate import MBIT, info

from shoal.errors import FrameError
from shoal.mesh.events import MAX_HEAD
from shoal.mesh.frames import (
    HEADER_BYTES,
    MAX_KNOWN,
    MAX_NEWS,
    MAX_WEIGHT,
    Kind,
    NodeSeen,
    read_header,
    read_news,
    write_header,
    write_news,
)
from shoal.mesh.place import MAX_PLACES, Place
from shoal.mesh.rate import LARGE_BYTES, LATE_BYTES, RateMeter
from shoal.mesh.uptake import LEAST_GROWTH, UNTOLD_BYTES, Uptake

NEVER = -math.inf

# -- rates


def test_just_enough_that_is_late_counts_and_the_round_trip_is_no_lateness() -> None:
    meter = RateMeter()
    meter.read(info(flying=LATE_BYTES), 10.0)
    meter.read(info(flying=LATE_BYTES - 4, unsent=4, quiet_s=1.01, unsaid_s=1.01), 11.01)
    assert meter.rate(11.01).bytes_per_s == pytest.approx(LATE_BYTES)


def test_what_waits_to_be_sent_is_late_as_well() -> None:
    meter = RateMeter()
    meter.read(info(flying=100_000, unsent=500_000), 10.0)
    meter.read(info(flying=100_000, unsent=500_000, quiet_s=2.01, unsaid_s=2.01), 12.01)
    assert meter.rate(12.01).bytes_per_s == pytest.approx(300_000)


def test_once_all_has_arrived_the_next_is_not_late_from_the_first_on() -> None:
    meter = RateMeter()
    meter.read(info(flying=600_000), 10.0)
    meter.read(info(flying=600_000, quiet_s=2.0, unsaid_s=2.0), 12.0)
    meter.read(info(flying=0, delivered=1_600_000), 12.1)
    meter.read(info(flying=600_000, delivered=1_600_000, quiet_s=0.01), 20.0)
    assert meter.rate(20.0).bytes_per_s == 100 * MBIT
    meter.read(info(flying=600_000, delivered=1_600_001, quiet_s=0.01), 25.0)
    meter.read(info(flying=600_000, delivered=1_600_001, quiet_s=0.1, unsaid_s=0.1), 25.09)
    assert meter.rate(25.09).bytes_per_s > 1_000_000, "late since something arrived, not before"


def test_a_rate_is_measured_anew_by_just_enough_that_arrived() -> None:
    meter = RateMeter()
    meter.read(info(delivered=1_000_000), 10.0)
    meter.read(info(delivered=1_000_000 + LATE_BYTES - 1), 20.0)
    assert meter.rate(20.0).age_s == pytest.approx(10.0)
    meter.read(info(delivered=1_000_000 + LATE_BYTES), 21.0)
    assert meter.rate(21.0).age_s == 0.0
    meter.read(info(delivered=1_000_000 + 2 * LATE_BYTES - 1), 30.0)
    assert meter.rate(30.0).age_s == pytest.approx(9.0)


def test_the_first_that_is_large_tells_its_own_rate_and_each_next_one_half() -> None:
    meter = RateMeter()
    meter.took(LARGE_BYTES, 0.5, 1.0)
    assert meter.rate(1.0).bytes_per_s == 2 * LARGE_BYTES
    meter.took(LARGE_BYTES, 0.25, 2.0)
    assert meter.rate(2.0).bytes_per_s == 3 * LARGE_BYTES
    assert meter.rate(5.0).age_s == 3.0


# -- who reads


@pytest.mark.parametrize(
    "room", [0, 1, LEAST_GROWTH, 2 * LEAST_GROWTH, 2 * LEAST_GROWTH + 2, 1 << 24]
)
def test_a_system_that_makes_more_room_by_itself_is_no_evidence(room: int) -> None:
    uptake = Uptake()
    uptake.asked(info(delivered=500, room=room))
    most = 500 + room + max(room // 2, LEAST_GROWTH)
    assert uptake.read_at(info(delivered=most, room=room), 1.0) == NEVER
    assert uptake.read_at(info(delivered=most + 1, room=room), 2.0) == 2.0


def test_room_that_is_none_is_not_room_that_is_not_told() -> None:
    told, untold = Uptake(), Uptake()
    told.asked(info(delivered=0, room=0))
    untold.asked(info(delivered=0, room=None))
    for delivered in (LEAST_GROWTH + 1, UNTOLD_BYTES + UNTOLD_BYTES // 2):
        assert untold.read_at(info(delivered=delivered, room=None), 1.0) == NEVER
    assert told.read_at(info(delivered=LEAST_GROWTH + 1, room=0), 1.0) == 1.0
    more = UNTOLD_BYTES + UNTOLD_BYTES // 2 + 1
    assert untold.read_at(info(delivered=more, room=None), 2.0) == 2.0


# -- frames


def test_a_frame_is_what_nodes_of_this_version_have_always_sent() -> None:
    none = b"\xff" * 8
    assert write_header(Kind.PING) == b"Sh\x03\0" + bytes(4) + none + bytes(4)
    said = write_header(Kind.MESSAGE, 1, 0x0203, 4)
    assert said == b"Sh\x01\0" + b"\x01\0\0\0" + b"\x03\x02" + bytes(6) + b"\x04\0\0\0"
    assert [kind.value for kind in Kind] == [1, 2, 3, 4, 5, 6]
    assert {kind.name for kind in Kind} == {"MESSAGE", "PIECE", "PING", "PONG", "NEWS", "WEIGHT"}


@pytest.mark.parametrize(
    ("fields", "max_body"),
    [
        ((Kind.MESSAGE, MAX_HEAD, 1000, 1000), 1000),
        ((Kind.MESSAGE, 0, 0, 0), 0),
        ((Kind.PIECE, 0, 1000, 1000), 1000),
        ((Kind.NEWS, MAX_NEWS), 1000),
        ((Kind.WEIGHT, 0, MAX_WEIGHT, MAX_WEIGHT), 1 << 30),
        ((Kind.WEIGHT, 0, 1000, 0), 1000),
    ],
)
def test_the_largest_that_can_be_is_read(fields: tuple[int, ...], max_body: int) -> None:
    header = read_header(write_header(*fields), max_body)
    assert (header.kind, header.head, header.body, header.piece) == (*fields, None, 0)[:4]


@pytest.mark.parametrize(
    ("fields", "max_body"),
    [
        ((Kind.MESSAGE, MAX_HEAD + 1, 1000, 1000), 1000),
        ((Kind.MESSAGE, 0, 1, 0), 0),
        ((Kind.PIECE, MAX_HEAD + 1, 10, 10), 1000),
        ((Kind.NEWS, MAX_NEWS + 1), 1000),
        ((Kind.WEIGHT, 0, MAX_WEIGHT + 1, 1), 1 << 30),
        ((Kind.WEIGHT, 0, 1001, 1), 1000),
        ((Kind.MESSAGE, 0, 0, 1), 1000),
    ],
)
def test_one_byte_more_is_refused(fields: tuple[int, ...], max_body: int) -> None:
    with pytest.raises(FrameError, match="can be"):
        read_header(write_header(*fields), max_body)


def test_the_bounds_are_those_that_other_nodes_know() -> None:
    """What is larger than they take is refused there, and the connection with it."""
    assert (MAX_NEWS, MAX_WEIGHT, MAX_KNOWN) == (262_144, 262_144, 1024)
    assert HEADER_BYTES == 20


def test_as_many_nodes_as_can_be_are_told_and_as_many_places() -> None:
    nodes = [NodeSeen(f"n{k}", "1" * 16, (Place("a", 1),)) for k in range(MAX_KNOWN + 1)]
    told = read_news(write_news(nodes)[HEADER_BYTES:])
    assert told == nodes[:MAX_KNOWN]
    assert read_news(msgspec.msgpack.encode(nodes)) == nodes[:MAX_KNOWN]
    many = NodeSeen("n", "1" * 16, (Place("a", 1),) * MAX_PLACES)
    assert read_news(write_news([many])[HEADER_BYTES:]) == [many]


def test_of_news_that_are_too_large_as_many_are_told_as_half_and_half_again_leave() -> None:
    node = NodeSeen("n" * 64, "1" * 16, (Place("h" * 250, 1),) * MAX_PLACES)
    size = len(msgspec.msgpack.encode(node))
    told = read_news(write_news([node] * 1000)[HEADER_BYTES:])
    assert MAX_NEWS / 2 - size < len(told) * size <= MAX_NEWS
