"""Recordings as bytes: what is written is read, and nothing else passes for one."""

from __future__ import annotations

import contextlib
import itertools

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given
from tests.core.alone import LoneGateway, LoneWorker, of
from tests.core.toys import every, leaving, one, plan, playbook

from shoal.core.actions import Run
from shoal.core.events import LinkMeasured, Submitted, Vanished
from shoal.core.log import Step
from shoal.core.messages import Why
from shoal.core.recording import MAX_ENTRY, End, Entry, RecordingHead, begin, decode, encode
from shoal.errors import RecordingError

BOOK = playbook(
    plan("ab", leaving(one(0, 6, "a")), one(6, 12, "b")),
    plan("c", every(0, 6, "abc"), one(6, 12, "c")),
)


def life() -> list[Entry]:
    """All that happens to a gateway and then, as if it were the same node, to a worker."""
    gateway, worker, steps = LoneGateway(BOOK), LoneWorker(BOOK), list[Step]()
    gateway.node.log.tap = worker.node.log.tap = steps.append
    gateway.take(LinkMeasured("a", 1e6, 1.0, 0.0, at_least=True))
    gateway.take(Submitted(0, "body", 1000.0))
    gateway.take(Vanished("a", "a1"))
    gateway.appears("a", "a2")
    (run,) = of(Run, worker.task(0, "ab"))
    worker.ran(run, sure=0.95)
    worker.task(1, "none")
    return [RecordingHead(gateway.node.origin, "0.1.0"), *steps, End("because")]


LIFE = life()
FIRST = begin(LIFE[0])
BYTES = FIRST + b"".join(map(encode, LIFE[1:]))


def test_what_is_written_is_read() -> None:
    read = list(decode([BYTES]))
    assert read == LIFE
    kinds = {type(entry.event).__name__ for entry in read if isinstance(entry, Step)}
    assert kinds == {"LinkMeasured", "Submitted", "Vanished", "Appeared", "Arrived", "Ran"}


@given(st.lists(st.integers(0, len(BYTES)), max_size=5))
def test_in_whatever_pieces_it_comes(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(BYTES)]
    pieces = [BYTES[a:b] for a, b in itertools.pairwise(ends)]
    assert list(decode(pieces)) == LIFE


@given(st.integers(0, len(BYTES) - 1))
def test_one_that_breaks_off_holds_what_was_written(length: int) -> None:
    try:
        read = list(decode([BYTES[:length]]))
    except RecordingError:
        assert length < len(FIRST)
    else:
        assert read == LIFE[: len(read)]
        assert len(read) < len(LIFE)


@given(st.integers(0, len(BYTES) - 1), st.integers(1, 255))
def test_one_that_is_damaged_is_refused_or_read_as_entries(place: int, flip: int) -> None:
    """Whatever the bytes say, nothing else is raised."""
    damaged = bytearray(BYTES)
    damaged[place] ^= flip
    with contextlib.suppress(RecordingError):
        for entry in decode([bytes(damaged)]):
            assert isinstance(entry, RecordingHead | Step | End)


@pytest.mark.parametrize("data", [b"", b"\n", b"PK\x03\x04" + bytes(200)])
def test_something_else_is_no_recording(data: bytes) -> None:
    with pytest.raises(RecordingError, match="no recording"):
        list(decode([data]))


def test_one_of_another_format_is_refused_by_name() -> None:
    with pytest.raises(RecordingError, match=r"it is in format 9 .*, this Shoal plays format 2 "):
        list(decode([BYTES.replace(b"format 2", b"format 9", 1)]))


def test_what_takes_no_memory_is_believed_to_take_none() -> None:
    huge = FIRST + (MAX_ENTRY + 1).to_bytes(4, "big") + b"x"
    with pytest.raises(RecordingError, match=f"entry 2 .* {MAX_ENTRY + 1} bytes"):
        list(decode([huge]))


def test_steps_before_the_header_or_another_header_are_refused() -> None:
    twice = FIRST + encode(LIFE[0])
    with pytest.raises(RecordingError, match="entry 2 is out of place"):
        list(decode([twice]))


def test_enumerations_are_themselves_again() -> None:
    """Words and numbers on the way, they are compared by what they are."""
    refusals = [
        action.message.why
        for entry in decode([BYTES])
        if isinstance(entry, Step)
        for action in entry.actions
        if hasattr(action, "message") and hasattr(action.message, "why")
    ]
    assert refusals == [Why.UNKNOWN_PLAN]
    assert all(isinstance(why, Why) for why in refusals)


def test_a_header_is_all_that_a_node_is_made_of() -> None:
    header = LIFE[0]
    assert isinstance(header, RecordingHead)
    assert msgspec.structs.asdict(header.origin).keys() == {"info", "worker", "gateway"}
    assert header.origin.info.incarnation == "g1"
