"""What every kind of link does."""

import math
import os
import threading
import time

import pytest

from shoal.errors import FrameError, NameTakenError, UsageError
from shoal.mesh import credit
from shoal.mesh.credit import MAX_WAITING, WINDOW
from shoal.mesh.link import MAX_HEAD, PeerDown, PeerUp, Received


def say_all(link, to, messages):
    """Send, and when there is no room for more, wait for it."""
    for message in messages:
        deadline = time.monotonic() + 60
        while not link.send(to, message):
            assert time.monotonic() < deadline, "no room for a long time"
            time.sleep(0.001)


def test_a_message_arrives_as_it_was_sent(fleet):
    a, b = fleet.pair()
    assert a.link.send("b", b"head", b"body")
    b.wait(lambda: b.heard() == [Received("a", b"head", b"body")])
    a.wait(lambda: a.link.waiting("b") == 0)


@pytest.mark.parametrize(
    "body", [None, b"", bytearray(b"xyz"), memoryview(b"wxyz")[1:], memoryview(b"abcd")[::-1]]
)
def test_any_contiguous_buffer_or_none_can_be_a_body(fleet, body):
    a, b = fleet.pair()
    a.link.send("b", b"", body)
    b.wait(lambda: len(b.heard()) == 1)
    assert b.heard()[0].body == (None if body is None else bytes(body))


def test_a_buffer_may_change_once_it_is_sent(fleet):
    a, b = fleet.pair(settles=False)
    buffer = bytearray(b"x" * 1000)
    for at in range(10):
        buffer[0] = at
        a.link.send("b", b"", buffer)
    b.settles = True
    for _ in range(WINDOW):
        b.link.settle("a")
    b.wait(lambda: len(b.heard()) == 10)
    assert [message.body[0] for message in b.heard()] == list(range(10))


def test_a_thousand_messages_each_way_arrive_once_and_in_order(fleet):
    a, b = fleet.pair()
    messages = [b"%d" % number for number in range(1000)]
    back = threading.Thread(target=say_all, args=(b.link, "a", messages))
    back.start()
    say_all(a.link, "b", messages)
    back.join()
    b.wait(lambda: len(b.heard()) >= 1000, 30)
    a.wait(lambda: len(a.heard()) >= 1000, 30)
    assert [message.head for message in b.heard()] == messages
    assert [message.head for message in a.heard()] == messages
    a.wait(lambda: a.link.waiting("b") == b.link.waiting("a") == 0)
    stats = b.link.stats()
    assert (stats.sent, stats.received, stats.resent) == (1000, 1000, 0)


@pytest.mark.parametrize("count", [12])
def test_large_bodies_arrive_whole(fleet, count):
    a, b = fleet.pair()
    bodies = [os.urandom(3_000_000) for _ in range(count)]
    for body in bodies:
        assert a.link.send("b", b"", body)
    b.wait(lambda: len(b.heard()) == count, 30)
    assert [message.body for message in b.heard()] == bodies


def test_a_very_large_body_arrives_whole(fleet):
    a, b = fleet.pair()
    body = os.urandom(1_000_000) * 50
    assert a.link.send("b", b"", body)
    b.wait(lambda: len(b.heard()) == 1, 30)
    assert b.heard()[0].body == body


def test_what_is_too_large_is_refused(fleet):
    a, _ = fleet.pair()
    with pytest.raises(FrameError, match="over the limits"):
        a.link.send("b", bytes(MAX_HEAD + 1))


def test_credits_stop_a_sender_until_its_messages_are_settled(fleet):
    a, b = fleet.pair(settles=False)
    say_all(a.link, "b", [b"%d" % number for number in range(WINDOW + 6)])
    b.wait(lambda: len(b.heard()) == WINDOW)
    time.sleep(0.1)
    assert len(b.heard()) == WINDOW
    assert a.link.waiting("b") == WINDOW + 6
    for done in range(1, 7):
        b.link.settle("a")
        b.wait(lambda done=done: len(b.heard()) == WINDOW + done)
    a.wait(lambda: a.link.waiting("b") == WINDOW)


def test_what_is_owed_after_a_calm_is_told_soon(fleet, monkeypatch):
    """Not when the clock looks the next time, which is long ahead: it is woken."""
    a, b = fleet.pair(settles=False)
    say_all(a.link, "b", [b"1", b"2"])
    b.wait(lambda: len(b.heard()) == 2)
    monkeypatch.setattr(credit, "SILENCE_S", 60.0)
    woken = []
    monkeypatch.setattr(b.link, "_chore", woken.append)
    b.link.settle("a")  # the first thing that it says for long
    woken.clear()
    b.link._tick_at = math.inf
    b.link.settle("a")
    assert len(woken) == 1


def test_too_much_for_one_peer_is_refused_and_other_peers_are_not_held_up(fleet):
    a, b = fleet.pair(settles=False)
    c = fleet.join("c")
    a.wait_for_peer("c")
    c.wait_for_peer("a")
    sent = 0
    while a.link.send("b", b""):
        sent += 1
    assert sent == MAX_WAITING
    say_all(a.link, "c", [b"%d" % number for number in range(200)])
    c.wait(lambda: len(c.heard()) == 200)
    assert len(b.heard()) == WINDOW


def test_a_message_that_finds_no_room_comes_again(fleet):
    a, b = fleet.pair()
    b.room = 2
    say_all(a.link, "b", [b"%d" % number for number in range(6)])
    b.wait(lambda: len(b.heard()) == 2)
    time.sleep(0.1)
    assert len(b.heard()) == 2
    b.room = None
    b.wait(lambda: len(b.heard()) == 6)
    assert [message.head for message in b.heard()] == [b"%d" % number for number in range(6)]


def test_a_sink_that_fails_is_logged_and_does_not_stop_the_link(fleet, caplog):
    a = fleet.join("a")
    link = fleet.make("b")
    heard = []

    def sink(event):
        heard.append(event)
        raise ValueError("a fault of the node")

    link.start(sink)
    a.wait_for_peer("b")
    say_all(a.link, "b", [b""] * 3 * WINDOW)
    a.wait(lambda: len(heard) == 1 + 3 * WINDOW)
    a.wait(lambda: a.link.waiting("b") == 0)
    assert "the sink of b failed at PeerUp" in caplog.text


def test_a_sink_may_use_the_link(fleet):
    a = fleet.join("a")
    link = fleet.make("echo")

    def sink(event):
        if isinstance(event, Received):
            link.settle(event.sender)
            link.send(event.sender, event.head, event.body)
        return True

    link.start(sink)
    a.wait_for_peer("echo")
    for number in range(50):
        a.link.send("echo", b"%d" % number, b"x")
    a.wait(lambda: len(a.heard()) == 50)


def test_nothing_is_sent_to_those_who_are_not_there(fleet):
    a = fleet.join("a")
    assert not a.link.send("nobody", b"")
    assert a.link.waiting("nobody") == 0
    a.link.settle("nobody")


def test_peers_see_each_other_come_and_go(fleet):
    a, b = fleet.pair()
    c = fleet.join("c")
    for ear in (a, b):
        ear.wait_for_peer("c")
    c.wait_for_peer("a", "b")
    assert c.link.peers() == {"a": a.link.incarnation, "b": b.link.incarnation}
    c.link.close()
    for ear in (a, b):
        ear.wait(lambda ear=ear: len(ear.seen("c")) == 2)
        life = c.link.incarnation
        assert ear.seen("c") == [PeerUp("c", life), PeerDown("c", life)]
        assert "c" not in ear.link.peers()


def test_a_node_that_restarts_has_a_new_incarnation_and_works_again(fleet):
    a, b = fleet.pair()
    say_all(a.link, "b", [b"first"])
    b.wait(lambda: len(b.heard()) == 1)
    b.link.close()
    again = fleet.join("b")
    a.wait(lambda: len(a.seen("b")) == 3)
    again.wait_for_peer("a")
    assert [type(event) for event in a.seen("b")] == [PeerUp, PeerDown, PeerUp]
    assert a.link.peers() == {"b": again.link.incarnation}
    assert again.link.incarnation > b.link.incarnation
    say_all(a.link, "b", [b"second"])
    say_all(again.link, "a", [b"third"])
    again.wait(lambda: [message.head for message in again.heard()] == [b"second"])
    a.wait(lambda: [message.head for message in a.heard()] == [b"third"])


def test_two_live_nodes_cannot_have_one_name(fleet):
    a, _ = fleet.pair()
    twin = fleet.make("b")
    with pytest.raises(NameTakenError, match="'b' is alive"):
        twin.start(lambda event: True)
    say_all(a.link, "b", [b"still there"])
    a.wait(lambda: a.link.waiting("b") == 0)


def test_messages_in_flight_at_a_departure_are_dropped_and_no_room_stays_taken(fleet):
    a, b = fleet.pair(settles=False)
    say_all(a.link, "b", [b"%d" % number for number in range(100)])
    b.wait(lambda: len(b.heard()) == WINDOW)
    b.link.close()
    a.wait(lambda: "b" not in a.link.peers())
    assert a.link.waiting("b") == 0
    assert not a.link.send("b", b"")


def test_a_link_closes_more_than_once_and_cannot_be_started_again(fleet):
    _, b = fleet.pair()
    b.link.close()
    b.link.close()
    with pytest.raises(UsageError, match="make a new one"):
        b.link.start(b)
    assert not b.link.send("a", b"")
    assert b.link.peers() == {}


def test_a_link_that_was_never_started_closes(fleet):
    idle = fleet.make("idle")
    idle.close()
    assert idle.peers() == {}
    assert not idle.send("a", b"")


@pytest.mark.parametrize("name", ["", "a/b", "*", "x" * 65])
def test_names_that_would_break_keys_are_refused(fleet, name):
    with pytest.raises(UsageError, match="cannot name a node"):
        fleet.make(name)
