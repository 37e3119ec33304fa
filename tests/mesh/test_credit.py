"""Whatever the wire does, each message arrives once, in order, and little is held."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.mesh.credit import (
    ASK_S,
    MAX_ASK_S,
    MUCH_BYTES,
    SILENCE_S,
    SOUND_FOR_S,
    SOUND_S,
    SWIFT_PIECES,
    Receiver,
    Sender,
)


class Wire:
    """A sender and a receiver with an untrustworthy wire between them."""

    def __init__(self, window: int = 4, **limits: int) -> None:
        self.sender = Sender(window, **limits)
        self.receiver = Receiver(window)
        self.flying: list[tuple] = []  # both directions, in the order of departure
        self.got: list[int] = []
        self.untouched: list[int] = []  # taken and not settled
        self.now = 0.0

    def push(self, body: int) -> bool:
        taken = self.sender.push(b"", body, 8)
        self._launch(self.sender.take(self.now))
        return taken

    def arrive(self, frame: tuple) -> None:
        match frame:
            case ("data", seq, body):
                if self.receiver.expects(seq):
                    self.receiver.put(body, 8, self.now)
            case ("ask", number):
                self.receiver.asked(number, self.now)
                self._ack()
            case ("ack", received, settled, asked, came):
                self._launch(self.sender.on_ack(received, settled, asked, self.now, came))
                self._launch(self.sender.take(self.now))

    def take(self) -> None:
        if self.receiver.held:
            body = self.receiver.pop()
            self.got.append(body)
            self.untouched.append(body)

    def settle(self) -> None:
        if self.receiver.settle():
            self.untouched.pop(0)
            self._ack()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        number = self.sender.tick(self.now)
        if number is not None:
            self.flying.append(("ask", number))

    def finish(self) -> None:
        """The wire behaves from now on, and the node keeps up."""
        for _ in range(10_000):
            while self.flying:
                self.arrive(self.flying.pop(0))
            while self.receiver.held:
                self.take()
            while self.untouched:
                self.settle()
            if not self.flying:
                if not self.sender.waiting:
                    return
                self.pass_time(MAX_ASK_S)
        raise AssertionError("it does not come to rest")

    def _launch(self, parcels: list) -> None:
        self.flying += [("data", parcel.seq, parcel.body) for parcel in parcels]

    def _ack(self) -> None:
        self.flying.append(("ack", *self.receiver.tell(self.now)))


doings = st.lists(
    st.one_of(
        st.just(("push",)),
        st.tuples(st.sampled_from(["arrive", "lose", "copy"]), st.integers(0, 7)),
        st.just(("take",)),
        st.just(("settle",)),
        st.tuples(st.just("pass_time"), st.floats(0, 2)),
    ),
    min_size=40,  # or hypothesis tries hardly more than a handful
    max_size=150,
)


@settings(max_examples=150)
@given(doings, st.integers(1, 5))
def test_each_message_arrives_once_and_in_order_whatever_the_wire_does(doings, window):
    wire = Wire(window)
    pushed = 0
    for what, *how in doings:
        match what:
            case "push":
                assert wire.push(pushed)
                pushed += 1
            case "arrive" | "lose" | "copy":
                if wire.flying:
                    frame = wire.flying[how[0] % len(wire.flying)]
                    if what != "copy":
                        wire.flying.remove(frame)
                    if what != "lose":
                        wire.arrive(frame)
            case "pass_time":
                wire.pass_time(*how)
            case _:
                getattr(wire, what)()
        assert wire.got == list(range(len(wire.got)))
        assert len(wire.untouched) + wire.receiver.held <= window
    wire.finish()
    assert wire.got == list(range(pushed))
    assert wire.sender.queued_bytes == 0
    assert wire.sender.due(wire.now + 2 * SOUND_FOR_S) == math.inf


@given(doings, st.integers(1, 20), st.integers(1, 200))
def test_no_more_waits_than_was_allowed(doings, most, most_bytes):
    wire = Wire(max_waiting=most, max_waiting_bytes=most_bytes)
    for what, *how in doings:
        if what == "push":
            wire.push(0)
        elif what == "pass_time":
            wire.pass_time(*how)
        elif what in ("take", "settle"):
            getattr(wire, what)()
        elif wire.flying:
            wire.arrive(wire.flying.pop(0))
        assert wire.sender.waiting <= most
        assert wire.sender.queued_bytes <= max(most_bytes, 8)


@given(st.lists(st.tuples(*[st.integers(0, 12)] * 3), max_size=30))
def test_made_up_acknowledgements_do_no_harm(lies):
    wire = Wire()
    for body in range(8):
        wire.push(body)
    for lie in lies:
        wire.sender.on_ack(*lie, wire.now, wire.now)
        assert 0 <= wire.sender.waiting <= 8
        assert wire.sender.queued_bytes >= 0


def test_only_a_window_of_messages_is_on_its_way():
    wire = Wire(window=4)
    for body in range(10):
        wire.push(body)
    assert [frame[1] for frame in wire.flying] == [1, 2, 3, 4]
    for frame in wire.flying[:4]:
        wire.arrive(frame)
    wire.flying.clear()
    wire.take()
    wire.settle()
    wire.arrive(wire.flying.pop())
    assert wire.flying == [("data", 5, 4)]


def test_a_slow_receiver_is_asked_but_nothing_is_sent_again():
    wire = Wire()
    wire.push(0)
    for _ in range(40):
        wire.pass_time(1.0)
        while wire.flying:
            wire.arrive(wire.flying.pop(0))
    assert wire.sender.resent == 0
    assert wire.sender.waiting == 1  # received, not settled
    assert wire.sender.queued_bytes == 0  # and the body is no longer kept


def test_questions_become_rare_while_there_is_no_news():
    sender = Sender()
    sender.push(b"", None, None)
    sender.take(0.0)
    asked_at = [ms / 1000 for ms in range(60_000) if sender.tick(ms / 1000) is not None]
    pauses = [round(late - early, 3) for early, late in itertools.pairwise(asked_at)]
    assert pauses[:5] == [0.3, 0.6, 1.2, 2.4, 4.8]
    assert set(pauses[5:]) == {MAX_ASK_S}


def test_what_an_answer_does_not_know_is_sent_again_at_once():
    wire = Wire()
    for body in range(3):
        wire.push(body)
    wire.arrive(wire.flying[0])
    wire.flying.clear()  # the second and third are lost
    wire.pass_time(0.3)
    wire.arrive(wire.flying.pop())  # the question
    wire.arrive(wire.flying.pop())  # its answer
    assert wire.flying == [("data", 2, 1), ("data", 3, 2)]
    assert wire.sender.resent == 2


def test_settling_what_never_came_is_ignored():
    receiver = Receiver()
    assert not receiver.settle()
    receiver.put(object(), 8, 0.0)
    assert not receiver.settle()  # here, but not taken by the node yet
    receiver.pop()
    assert receiver.settle()
    assert not receiver.settle()


def settled(receiver: Receiver, count: int, size: int = 0) -> None:
    for _ in range(count):
        receiver.put(object(), size, 0.0)
        receiver.pop()
        receiver.settle()


def test_of_many_small_messages_most_cost_no_acknowledgement_of_their_own():
    receiver = Receiver(window=8)
    settled(receiver, 1)
    assert receiver.must_tell(1.0)  # nothing was said for long
    receiver.tell(1.0)
    settled(receiver, 3)
    assert receiver.owes
    assert not receiver.must_tell(1.001)
    settled(receiver, 1)
    assert receiver.must_tell(1.001)  # half a window
    receiver.tell(1.001)
    assert not receiver.owes
    assert not receiver.must_tell(9.0)
    settled(receiver, 1, MUCH_BYTES)
    assert receiver.must_tell(1.002)
    receiver.tell(1.002)
    settled(receiver, 1)
    assert not receiver.must_tell(1.002)
    assert receiver.must_tell(1.002 + 2 * SILENCE_S)


def test_what_the_transport_has_room_for_is_swift_until_it_is_received():
    sender = Sender(window=8)
    for _ in range(2):
        sender.push(b"", None, 400_000)
    sender.take(0.0)
    assert sender.swift
    sender.push(b"", None, 400_000)
    sender.take(0.0)
    assert not sender.swift  # 3 x 7 pieces
    sender.on_ack(2, 1, 0, 0.0, 0.0)
    assert sender.swift
    for _ in range(SWIFT_PIECES):
        sender.push(b"", None, 0)
    sender.take(0.0)
    assert sender.swift  # the window holds the others back


def test_a_transport_with_small_pieces_has_room_for_fewer_bytes() -> None:
    sender = Sender(window=8, piece_bytes=16_000)
    sender.push(b"", None, 200_000)
    sender.take(0.0)
    assert sender.swift
    sender.push(b"", None, 200_000)
    sender.take(0.0)
    assert not sender.swift  # 2 x 13 pieces


def test_a_line_that_was_just_used_is_sounded_while_it_is_quiet() -> None:
    sender = Sender()
    assert sender.sound(0.0) is None  # it was never used
    sender.push(b"m", None, None)
    sender.take(0.0)
    assert sender.sound(0.1) is None  # not quiet
    sender.on_ack(1, 1, 0, 0.2, 0.2)
    number = sender.sound(0.3)
    assert number == 1
    assert sender.sound(0.4) is None  # a moment ago
    sender.on_ack(1, 1, number, 0.35, 0.35)
    assert sender.goodput.rate(0.4).rtt_ms == pytest.approx(50)
    assert sender.sound(0.6) == 2
    assert sender.sound(2.0) is None  # not used for long


def test_a_sounding_that_is_overtaken_by_messages_says_nothing() -> None:
    sender = Sender()
    sender.push(b"m", None, 100_000)
    sender.take(0.0)
    sender.on_ack(1, 1, 0, 0.2, 0.2)
    number = sender.sound(0.3)
    sender.push(b"m", None, 100_000)
    sender.take(0.31)
    assert number is not None
    assert sender.on_ack(1, 1, number, 2.0, 2.0) == []
    assert sender.goodput.rate(2.0).rtt_ms == 0


def test_a_line_is_sounded_although_the_answer_to_a_question_was_lost() -> None:
    sender = Sender()
    assert sender.push(b"", None, 0)
    sender.take(0.0)
    assert sender.tick(0.4) == 1
    sender.on_ack(1, 1, 0, 0.5, 0.5)  # overtook the question, whose answer never comes
    assert sender.sound(0.6) == 2
    assert sender.on_ack(1, 1, 1, 0.7, 0.7) == []
    assert sender.on_ack(1, 1, 2, 0.8, 0.8) == []
    assert sender.goodput.rtt_s == pytest.approx(0.2)


def test_when_there_is_something_to_do_is_known():
    sender = Sender()
    assert sender.due(0.0) == math.inf
    sender.push(b"", None, 8)
    sender.take(1.0)
    assert sender.due(1.0) == 1.0 + ASK_S
    assert sender.tick(1.0 + ASK_S - 0.01) is None
    assert sender.tick(1.0 + ASK_S) == 1
    sender.on_ack(1, 1, 1, 1.4, 1.4)
    assert sender.due(1.4) <= 1.4  # the line is quiet, and may be sounded
    assert sender.sound(1.4) is not None
    assert sender.due(1.4) == 1.4 + SOUND_S
    assert sender.due(1.0 + SOUND_FOR_S + 0.01) == math.inf
