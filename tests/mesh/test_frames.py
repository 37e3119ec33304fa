"""Frames say what they carry, and lies are refused before memory is taken."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import FrameError
from shoal.mesh.events import MAX_BODY, MAX_HEAD
from shoal.mesh.frames import (
    HEADER_BYTES,
    MAX_KNOWN,
    MAX_NEWS,
    MAX_WEIGHT,
    NO_BODY,
    Header,
    Kind,
    NodeSeen,
    read_header,
    read_news,
    write_header,
    write_news,
)
from shoal.mesh.place import MAX_PLACES, Place

headers = st.builds(
    lambda kind, head, body, part: Header(kind, head, body, int(part * (body or 0))),
    st.sampled_from([Kind.MESSAGE, Kind.PIECE]),
    st.integers(0, MAX_HEAD),
    st.none() | st.integers(0, MAX_BODY),
    st.floats(0, 1),
)
NODE = NodeSeen("n", "1" * 16, (Place("a", 1),))


@given(headers)
def test_a_header_survives_the_wire(header):
    wire = write_header(header.kind, header.head, header.body, header.piece)
    assert len(wire) == HEADER_BYTES
    assert read_header(wire + b"what follows", MAX_BODY) == header


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
def test_noise_is_refused(noise):
    with pytest.raises(FrameError):
        read_header(noise, MAX_BODY)


@given(headers, st.data())
def test_a_damaged_header_is_refused_or_is_another(header, data):
    wire = bytearray(write_header(header.kind, header.head, header.body, header.piece))
    at = data.draw(st.integers(0, HEADER_BYTES - 1).filter(lambda at: at != 3))  # 3 is padding
    wire[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(FrameError):
        assert read_header(wire, MAX_BODY) != header


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (write_header(Kind.MESSAGE, MAX_HEAD + 1), "can be"),
        (write_header(Kind.MESSAGE, 0, 1001, 0), "1000 can be"),
        (write_header(Kind.MESSAGE, 0, NO_BODY - 1, 0), "can be"),
        (write_header(Kind.MESSAGE, 0, 10, 11), "11 of them here"),
        (write_header(Kind.MESSAGE, 0, None, 1), "1 of them here"),
        (write_header(Kind.PIECE, 0, 1001, 1), "can be"),
        (write_header(Kind.NEWS, MAX_NEWS + 1), "can be"),
        (write_header(Kind.WEIGHT, 0, MAX_WEIGHT + 1, MAX_WEIGHT + 1), "can be"),
        (b"sH" + write_header(Kind.PING)[2:], "no frame"),
        (b"Sh\x63" + write_header(Kind.PING)[3:], "unknown kind 99"),
        (b"Sh\x00" + write_header(Kind.PING)[3:], "unknown kind 0"),
    ],
)
def test_lies_are_refused(header, message):
    with pytest.raises(FrameError, match=message):
        read_header(header, max_body=1000)


def test_an_empty_body_is_not_no_body():
    assert read_header(write_header(Kind.MESSAGE, 1, 0, 0), 10).body == 0
    assert read_header(write_header(Kind.MESSAGE, 1, None, 0), 10).body is None


def test_news_survive_the_wire():
    wire = write_news([NODE, NodeSeen("m", "2" * 16, ())])
    header = read_header(wire, MAX_BODY)
    assert (header.kind, header.head) == (Kind.NEWS, len(wire) - HEADER_BYTES)
    assert read_news(wire[HEADER_BYTES:]) == [NODE, NodeSeen("m", "2" * 16, ())]


@pytest.mark.parametrize("count", [MAX_KNOWN, 3 * MAX_KNOWN])
@pytest.mark.parametrize("size", [1, 250])
def test_more_news_than_can_be_told_are_told_in_part(count, size):
    node = NodeSeen("n" * 64, "1" * 16, (Place("h" * size, 1),) * MAX_PLACES)
    wire = write_news([node] * count)
    assert read_header(wire, MAX_BODY).head <= MAX_NEWS
    assert 0 < len(read_news(wire[HEADER_BYTES:])) <= MAX_KNOWN


@pytest.mark.parametrize(
    "lie",
    [
        NodeSeen("a/b", "1" * 16, (Place("a", 1),)),
        NodeSeen("n", "xyz", (Place("a", 1),)),
        NodeSeen("n", "1" * 16, (Place("a", 0),)),
        NodeSeen("n", "1" * 16, (Place("", 1),)),
        NodeSeen("n", "1" * 16, (Place("a\x1b", 1),)),
        NodeSeen("n", "1" * 16, (Place("a", 1),) * (MAX_PLACES + 1)),
    ],
    ids=repr,
)
def test_news_of_what_cannot_be_are_left_out(lie):
    assert read_news(msgspec.msgpack.encode([lie, NODE])) == [NODE]


@given(st.binary(max_size=200))
def test_news_that_cannot_be_read_are_refused(noise):
    with contextlib.suppress(FrameError):
        assert read_news(noise) == []


@pytest.mark.parametrize("nonsense", [b"\x91" * 5000, b"\xdd\xff\xff\xff\xff", b"\x93\x01\x02\x03"])
def test_news_that_would_take_much_memory_or_depth_are_refused(nonsense):
    with pytest.raises(FrameError, match="cannot be read"):
        read_news(nonsense)
