"""Frames say what they carry, and lies are refused before anything is copied."""

import contextlib
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import FrameError
from shoal.mesh.frames import (
    MAX_ATTACHMENT,
    NO_BODY,
    VERSION,
    Ack,
    Ask,
    Data,
    Pairing,
    decode,
    encode,
)

lives = st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")
counts = st.integers(0, 2**63)
times = st.floats(allow_nan=False, allow_infinity=False)
pairings = st.builds(Pairing, lives, lives, counts)
frames = st.one_of(
    st.builds(Data, pairings, counts, st.binary(max_size=64), st.none() | st.integers(0, 1 << 20)),
    st.builds(Ack, pairings, counts, counts, counts, times),
    st.builds(Ask, pairings, counts),
)
PAIRING = Pairing("0" * 15 + "1", "0" * 15 + "2", 3)


def payload_bytes(frame):
    return (frame.size or 0) if isinstance(frame, Data) else 0


@given(frames)
def test_a_frame_survives_the_wire(frame):
    assert decode(encode(frame), payload_bytes(frame)) == frame


@given(st.binary(max_size=200), st.integers(0, 100))
def test_noise_is_refused(noise, size):
    with pytest.raises(FrameError):
        decode(noise, size)


@given(frames, st.data())
def test_a_damaged_frame_is_refused_or_is_another_frame(frame, data):
    wire = bytearray(encode(frame))
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(FrameError):
        assert decode(bytes(wire), payload_bytes(frame)) != frame


@pytest.mark.parametrize(
    ("attachment", "size", "message"),
    [
        (encode(Data(PAIRING, 1, b"", 100)), 99, "announces 100 bytes and brings 99"),
        (encode(Data(PAIRING, 1, b"", 100)), 0, "announces 100 bytes and brings 0"),
        (encode(Data(PAIRING, 1, b"", None)), 5, "announces None bytes and brings 5"),
        (encode(Data(PAIRING, 1, b"", NO_BODY - 1)), 0, "brings 0"),
        (encode(Data(PAIRING, 1, b"", 2000)), 2000, "outside the limits"),
        (encode(Data(PAIRING, 1, bytes(MAX_ATTACHMENT), None)), 0, "outside the limits"),
        (encode(Ack(PAIRING, 1, 1, 1, 1.0)) + b"x", 0, "without a message brings bytes"),
        (encode(Ack(PAIRING, 1, 1, 1, 1.0))[:-1], 0, "without a message brings bytes"),
        (encode(Ask(PAIRING, 1)), 1, "without a message brings bytes"),
        (b"", 0, "outside the limits"),
    ],
)
def test_lies_about_size_are_refused(attachment, size, message):
    with pytest.raises(FrameError, match=message):
        decode(attachment, size, max_body=1000)


def test_a_frame_of_another_version_is_refused():
    wire = bytearray(encode(Ask(PAIRING, 1)))
    struct.pack_into("B", wire, 2, VERSION + 1)
    with pytest.raises(FrameError, match="version"):
        decode(bytes(wire), 0)


def test_an_empty_body_is_not_no_body():
    assert decode(encode(Data(PAIRING, 1, b"h", 0)), 0).size == 0
    assert decode(encode(Data(PAIRING, 1, b"h", None)), 0).size is None


@pytest.mark.parametrize("came", [math.nan, math.inf, -math.inf])
def test_a_time_that_is_none_is_refused(came):
    with pytest.raises(FrameError, match="came at"):
        decode(encode(Ack(PAIRING, 1, 1, 1, came)), 0)
