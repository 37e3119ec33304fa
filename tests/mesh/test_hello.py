"""Greetings say who calls whom, and what cannot be one is refused before it is believed."""

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import FrameError, VersionError
from shoal.mesh.hello import (
    MAX_HELLO,
    PREAMBLE_BYTES,
    VERSION,
    CallerHello,
    No,
    Refusal,
    Welcome,
    length,
    read_hello,
    read_reply,
    write_hello,
)
from shoal.mesh.place import MAX_PLACES, Place

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
lives = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
places = st.lists(
    st.builds(Place, st.sampled_from(["a", "10.0.0.1", "fe80::1%eth0"]), st.integers(1, 65535)),
    max_size=MAX_PLACES,
).map(tuple)
hellos = st.builds(
    CallerHello, names, names, lives, names, lives, st.integers(0, 2**63), st.booleans(), places
)
GOOD = CallerHello("c", "a", "1" * 16, "b", "2" * 16, 1, False, (Place("a", 1),))


def body(data):
    assert length(data[:PREAMBLE_BYTES]) == len(data) - PREAMBLE_BYTES
    return data[PREAMBLE_BYTES:]


@given(hellos)
def test_a_hello_survives_the_wire(hello):
    assert read_hello(body(write_hello(hello))) == hello


@given(st.sampled_from(No), st.text(max_size=100), names, lives)
def test_a_refusal_survives_the_wire(no, text, name, life):
    refusal = Refusal(no, text, name, life)
    read = read_reply(body(write_hello(refusal)))
    assert isinstance(read, Refusal)
    assert (read.no, read.name, read.incarnation) == (no, name, life)


def test_a_welcome_survives_the_wire():
    assert read_reply(body(write_hello(Welcome()))) == Welcome()


@pytest.mark.parametrize(
    "wrong",
    [
        msgspec.structs.replace(GOOD, **change)
        for change in [
            {"cluster": ""},
            {"name": "a/b"},
            {"target": "x" * 65},
            {"incarnation": "1"},
            {"life": "g" * 16},
            {"places": (Place("a", 0),)},
            {"places": (Place("", 1),)},
            {"places": (Place("a\n", 1),)},
            {"places": (Place("a", 1),) * (MAX_PLACES + 1)},
        ]
    ],
    ids=repr,
)
def test_a_hello_that_cannot_be_true_is_refused(wrong):
    with pytest.raises(FrameError, match="cannot be true"):
        read_hello(body(write_hello(wrong)))


@given(st.binary(max_size=200))
def test_noise_is_refused(noise):
    for read in (read_hello, read_reply):
        with pytest.raises(FrameError, match="cannot be"):
            read(noise)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x91" * 5000,  # nested
        msgspec.msgpack.encode(["c", "a", "1" * 16, "b", "2" * 16, 1, False, [], "more"]),
        msgspec.msgpack.encode(["c", "a", "1" * 16, "b", "2" * 16, 2**64 - 1, 3, []]),
        msgspec.msgpack.encode(["Refusal", "maybe", "text", "", ""]),
        msgspec.msgpack.encode(["Nothing"]),
        b"\xdd\xff\xff\xff\xff",  # four milliards of things
        b"\xc6\xff\xff\xff\xff",
    ],
    ids=range(7),
)
def test_what_is_well_written_and_makes_no_sense_is_refused(nonsense):
    for read in (read_hello, read_reply):
        try:
            said = read(nonsense)
        except FrameError:
            continue
        assert said == CallerHello("c", "a", "1" * 16, "b", "2" * 16, 1, False), (
            "fields to come are ok"
        )


def test_a_preamble_of_something_else_of_another_version_or_too_long_is_refused():
    good = write_hello(GOOD)
    with pytest.raises(FrameError, match="no node of Shoal"):
        length(b"HTTP/1.1 400 Bad Request")
    later = struct.pack("<4sHI", b"Shol", VERSION + 1, 10)
    with pytest.raises(VersionError, match=f"version {VERSION + 1} of the wire, this is version"):
        length(later)
    with pytest.raises(FrameError, match="are the limit"):
        length(struct.pack("<4sHI", b"Shol", VERSION, MAX_HELLO + 1))
    assert length(good[:PREAMBLE_BYTES] + b"whatever follows") == len(good) - PREAMBLE_BYTES


def test_what_a_stranger_says_of_why_is_shown_in_part_and_without_tricks():
    text = "\x1b[31mred\n" + "x" * 10_000
    said = read_reply(body(write_hello(Refusal(No.STRANGER, text, "\n" * 99, "x" * 99))))
    assert isinstance(said, Refusal)
    assert len(said.text) <= 300
    assert said.text.isprintable()
    assert said.name == said.incarnation == ""


def test_a_greeting_is_what_nodes_of_this_version_have_always_said():
    """Else those that are out there already would take each other for something else."""
    said = b"\x91\xa7Welcome"
    assert write_hello(Welcome()) == b"Shol" + b"\x01\x00" + bytes([len(said), 0, 0, 0]) + said
