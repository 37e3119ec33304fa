"""Heads of messages: what is sent is read, anything else is refused and harms nobody."""

import contextlib
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime import tiny

from shoal.codec.frame import FrameHead, Packed
from shoal.core.messages import (
    MAX_IMAGES,
    PROTOCOL,
    Answered,
    Busy,
    Holding,
    Install,
    Itinerary,
    Leave,
    Load,
    Moved,
    Refused,
    Resume,
    StageTrace,
    Task,
    Trial,
    Why,
)
from shoal.errors import FrameError, VersionError
from shoal.runtime import wire

ITINERARY = Itinerary("book", "plan", (("a",), ("b",)))
TASK = Task("g", "1", 3, 1, 0, "g", 100.0, itinerary=ITINERARY)
MESSAGES = [
    TASK,
    Answered("g", "1", 3, 1, "plan", 1, "b", trace=(StageTrace(0, "a", 0.1, 2.0, 64),)),
    Answered("g", "1", 3, 1, "plan", 1, "b", trace=(StageTrace(0, "a", run_ms=2.0),)),
    Refused("g", "1", 3, 1, 0, Why.OVERLOADED, "no room", ("b",)),
    Holding(("ab" * 16,)),
    Busy(Load(3, 1, 0, 2.5)),
    wire.Fetch(7, "ab" * 32, 1 << 40, 5),
    wire.Chunk(7, -1),
    wire.Ping(0),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("frame", [None, FrameHead((Packed("x", "int8", (2,), "raw", 2),), 5)])
def test_what_is_encoded_is_decoded(message, frame):
    assert wire.decode(wire.encode(message, frame)) == wire.Envelope(message, frame)


def test_a_playbook_travels_whole(net):
    install = Install(tiny.pipeline(net))
    assert wire.decode(wire.encode(install)).message == install


@pytest.mark.parametrize("version", [0, PROTOCOL + 1, 255])
def test_another_version_is_told_from_garbage(version):
    head = bytes((version,)) + wire.encode(TASK)[1:]
    with pytest.raises(VersionError, match=f"speaks protocol {version}, this is protocol"):
        wire.decode(head)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        bytes((PROTOCOL,)),
        wire.encode(TASK)[:-1],
        wire.encode(TASK) + b"\x00",
        bytes((PROTOCOL,)) + msgspec.msgpack.encode({"message": 1}),
        bytes((PROTOCOL,)) + msgspec.msgpack.encode([["Nonsense", 1], None]),
        bytes((PROTOCOL,)) + msgspec.msgpack.encode([["Task", "g", "1", "three"], None]),
        bytes((PROTOCOL,)) + b"\x92\x93\xa5Fetch\x01\xa2\xff\xfe\x00\x00",
        bytes((PROTOCOL,)) + b"\xdd\xff\xff\xff\xff",
        bytes((PROTOCOL,)) + b"\x91" * 100_000,
    ],
    ids=[
        "empty",
        "version only",
        "cut",
        "longer",
        "map",
        "unknown",
        "type",
        "text",
        "length",
        "deep",
    ],
)
def test_garbage_is_refused(head):
    with pytest.raises(FrameError):
        wire.decode(head)


def test_settings_nested_without_end_are_refused(net):
    """Only the settings of a policy may hold anything."""
    deep = b"\x81\xa1x" * 5000 + b"\xc0"
    head = wire.encode(Install(tiny.anywhere(net, "a")))
    settings_at = head.index(b"\xa8settings") + len(b"\xa8settings")
    assert head[settings_at : settings_at + 1] == b"\x80"
    with pytest.raises(FrameError):
        wire.decode(head[:settings_at] + deep + head[settings_at + 1 :])


@pytest.mark.parametrize("images", [0, -1, MAX_IMAGES + 1])
def test_a_task_of_no_or_too_many_images_is_refused(images):
    task = msgspec.structs.replace(
        TASK, itinerary=msgspec.structs.replace(ITINERARY, images=images)
    )
    with pytest.raises(FrameError, match=f"of {images} images"):
        wire.decode(wire.encode(task))


@pytest.mark.parametrize("budget_ms", [math.nan, math.inf, -math.inf])
def test_a_time_that_is_no_time_is_refused(budget_ms):
    task = msgspec.structs.replace(TASK, budget_ms=budget_ms)
    resume = Resume("g", "1", 3, 1, 0, budget_ms, ITINERARY)
    for message in (task, resume):
        with pytest.raises(FrameError, match="that is no time"):
            wire.decode(wire.encode(message))


@pytest.mark.parametrize(
    "message",
    [
        msgspec.structs.replace(TASK, stage=-1),
        Resume("g", "1", 3, 1, -1, 100.0, ITINERARY),
        Refused("g", "1", 3, 1, -1, Why.OVERLOADED),
        Moved("g", "1", 3, 1, -1, ()),
        Trial("g", "1", 3, 1, -1),
        Leave("g", "1", 3, 1, -1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_stage_that_cannot_be_is_refused(message):
    with pytest.raises(FrameError, match="stage"):
        wire.decode(wire.encode(message))


@pytest.mark.parametrize("load", [Load(-1), Load(0, 0, 0, math.nan), Load(0, 0, 0, -1.0)])
def test_a_load_that_cannot_be_is_refused(load):
    with pytest.raises(FrameError, match="a load that cannot be"):
        wire.decode(wire.encode(Busy(load)))


@pytest.mark.parametrize("parts", [("",) * ((1 << 16) + 1), ("x" * 201,)])
def test_more_parts_than_a_device_can_hold_are_refused(parts):
    with pytest.raises(FrameError, match="more parts than"):
        wire.decode(wire.encode(Holding(parts)))


def test_a_playbook_that_cannot_be_followed_is_refused(net):
    good = tiny.pipeline(net)
    hollow = msgspec.structs.replace(good, parts={})
    with pytest.raises(FrameError, match="cannot be followed"):
        wire.decode(wire.encode(Install(hollow)))


def test_a_playbook_under_the_id_of_another_is_refused(net):
    """Else a device would serve one gateway by the playbook of another."""
    mine, theirs = tiny.pipeline(net), tiny.anywhere(net, "a")
    forged = msgspec.structs.replace(theirs, id=mine.id)
    with pytest.raises(FrameError, match="not what its id"):
        wire.decode(wire.encode(Install(forged)))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=80))
def test_random_bytes_never_raise_anything_else(body):
    with pytest.raises(FrameError):
        wire.decode(bytes((PROTOCOL,)) + body)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(MESSAGES), st.data())
def test_one_changed_byte_is_read_or_refused(message, data):
    head = bytearray(wire.encode(message))
    at = data.draw(st.integers(1, len(head) - 1))
    head[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FrameError):
        wire.decode(bytes(head))
