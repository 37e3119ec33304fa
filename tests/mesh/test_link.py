"""What every kind of link does."""

import contextlib
import functools
import os
import socket
import threading
import time

import numpy as np
import pytest
from tests.mesh.conftest import Ear, Fleet, say_all

from shoal.errors import FrameError, NameTakenError, UsageError
from shoal.mesh import link as mesh_link
from shoal.mesh import peers, sender
from shoal.mesh.events import MAX_HEAD, PeerDown, PeerUp, Received
from shoal.mesh.receiver import Incoming


def lose_mesh(fleet: Fleet, link) -> None:
    """The mesh is lost for a moment."""
    if fleet.kind == "inproc":
        fleet.mesh.hide(link.name)
        time.sleep(0.3)
        fleet.mesh.hide(link.name, False)
    else:
        done = threading.Event()
        link._zenoh._chore(functools.partial(link._zenoh._reopen, "a test wants it"))
        link._zenoh._chore(done.set)
        assert done.wait(60)


def drop(link) -> None:
    """The connections that stand now break."""
    for line in list(link._lines.values()):
        for sock in line.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def pattern(number: int, size: int) -> bytes:
    return np.random.default_rng(number).bytes(size)


# -- messages -------------------------------------------------------------------------------------


def test_a_message_arrives_as_it_was_sent(fleet):
    a, b = fleet.pair()
    assert a.link.send("b", b"head", b"body")
    b.wait(lambda: b.heard() == [Received("a", b"head", b"body")])
    a.wait(lambda: a.link.waiting("b") == 0)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, None),
        (b"", b""),
        (bytearray(b"xyz"), b"xyz"),
        (memoryview(b"wxyz")[1:], b"xyz"),
        (memoryview(b"abcd")[::-1], b"dcba"),
        (memoryview(np.arange(4, dtype="<u2").reshape(2, 2)), b"\0\0\1\0\2\0\3\0"),
        (memoryview(np.zeros((0, 3))), b""),
        ([], b""),
        ([b"one", b"", bytearray(b"two"), memoryview(b"3")], b"onetwo3"),
        ([b"%03d" % number for number in range(300)], b"".join(b"%03d" % n for n in range(300))),
    ],
    ids=[
        "none",
        "of nothing",
        "bytearray",
        "view of a part",
        "backwards",
        "rows",
        "view of nothing",
        "no buffers",
        "buffers",
        "many buffers",
    ],
)
def test_any_buffer_several_or_none_can_be_a_body(fleet, body, expected):
    a, b = fleet.pair()
    assert a.link.send("b", b"", body)
    b.wait(lambda: len(b.heard()) == 1)
    got = b.heard()[0].body
    assert (None if got is None else bytes(got)) == expected


def test_a_body_is_the_takers_own(fleet):
    a, b = fleet.pair()
    a.link.send("b", b"1", b"x" * 100_000)
    a.link.send("b", b"2", b"y" * 100_000)
    b.wait(lambda: len(b.heard()) == 2)
    first, second = (np.frombuffer(message.body, np.uint8) for message in b.heard())
    first[:] = 0
    assert bytes(second) == b"y" * 100_000


def test_a_body_is_not_copied_and_given_back_when_it_is_sent(fleet):
    a, b = fleet.pair()
    b.room = 0
    body = bytearray(64 << 20)
    assert a.link.send("b", b"", body)
    with pytest.raises(BufferError):
        body.append(1)
    b.room = None
    b.wait(lambda: len(b.heard()) == 1)

    def is_given_back():
        try:
            body.append(1)
        except BufferError:
            return False
        return True

    b.wait(is_given_back)


def test_a_thousand_messages_each_way_arrive_once_and_in_order(fleet):
    a, b = fleet.pair()
    messages = [b"%d" % number for number in range(1000)]
    back = threading.Thread(target=say_all, args=(b.link, "a", messages))
    back.start()
    say_all(a.link, "b", messages)
    back.join()
    b.wait(lambda: len(b.heard()) >= 1000)
    a.wait(lambda: len(a.heard()) >= 1000)
    assert b.heads() == a.heads() == messages
    a.wait(lambda: a.link.waiting("b") == b.link.waiting("a") == 0)
    stats = a.link.stats()
    assert (stats.sent, stats.received, stats.refused) == (1000, 1000, 0)
    assert stats.bytes_sent == stats.bytes_received == sum(map(len, messages))


def test_messages_of_several_threads_arrive_once_and_each_threads_in_order(fleet):
    a, b = fleet.pair()
    threads = [
        threading.Thread(
            target=say_all, args=(a.link, "b", [b"%d %d" % (k, n) for n in range(300)])
        )
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    b.wait(lambda: len(b.heard()) >= 1200)
    got = [tuple(map(int, head.split())) for head in b.heads()]
    assert len(set(got)) == 1200
    for k in range(4):
        assert [n for which, n in got if which == k] == list(range(300))


def test_large_bodies_arrive_whole_and_both_ways_at_once(fleet):
    a, b = fleet.pair()
    bodies = [pattern(number, 3_000_000) for number in range(12)]
    for number, body in enumerate(bodies):
        assert a.link.send("b", b"%d" % number, body)
        assert b.link.send("a", b"%d" % number, [body[:1_000_001], body[1_000_001:]])
    for ear in (a, b):
        ear.wait(lambda ear=ear: len(ear.heard()) == 12)
        assert [message.body for message in ear.heard()] == bodies


def test_a_tensor_of_100_mb_and_a_thousand_tiny_messages_at_once(fleet):
    a, b, c = fleet.group("a", "b", "c")
    body = np.arange(25_000_000, dtype=np.uint32)
    assert a.link.send("b", b"large", memoryview(body))
    tiny = [b"%d" % number for number in range(1000)]
    say_all(a.link, "c", tiny)
    say_all(a.link, "b", tiny)
    c.wait(lambda: len(c.heard()) == 1000)
    b.wait(lambda: len(b.heard()) == 1001)
    assert c.heads() == tiny
    assert b.heads() == [b"large", *tiny]
    assert np.array_equal(np.frombuffer(b.heard()[0].body, np.uint32), body)


# -- limits ---------------------------------------------------------------------------------------


def test_what_is_too_large_is_refused(fleet):
    a, b = fleet.pair(max_body=1000)
    for head, body in [
        (bytes(MAX_HEAD + 1), None),
        (b"", bytes(1001)),
        (b"", [bytes(600), bytes(401)]),
    ]:
        with pytest.raises(FrameError, match="over the limits"):
            a.link.send("b", head, body)
    assert a.link.send("b", bytes(100_000), bytes(1000))
    b.wait(lambda: len(b.heard()) == 1)


def test_who_sends_more_than_can_be_taken_is_broken_with_and_may_come_again(fleet):
    small = fleet.join("small", max_body=100_000)
    large = fleet.join("large")
    large.wait_for_peer("small")
    assert large.link.send("small", b"", bytes(5_000_000))
    large.wait(lambda: large.kinds("small") == [PeerUp, PeerDown, PeerUp])
    small.wait_for_peer("large")
    assert small.link.stats().refused == 1
    say_all(large.link, "small", [b"small enough"])
    small.wait(lambda: small.heads() == [b"small enough"])


def test_nothing_is_sent_to_those_who_are_not_there(fleet):
    a = fleet.join("a")
    assert not a.link.send("nobody", b"")
    assert a.link.waiting("nobody") == 0
    a.link.probe("nobody")


def test_too_much_for_one_peer_is_refused_and_other_peers_are_not_held_up(fleet):
    a, b, c = fleet.group("a", "b", "c")
    b.room = 0
    body = bytes(1 << 20)
    sent = 0
    while a.link.send("b", b"%d" % sent, body, work=True):
        sent += 1
        assert sent < 500
    assert a.link.waiting("b") >= sender.MAX_WORK
    works = sent
    while a.link.send("b", b"%d" % sent, body):
        sent += 1
        assert sent < sender.MAX_WAITING
    assert sent > works, "what nobody else can do may wait longer"
    assert (sent + 1) << 20 >= sender.MAX_WAITING_BYTES
    say_all(a.link, "c", [b"%d" % number for number in range(200)])
    c.wait(lambda: len(c.heard()) == 200)
    assert b.heard() == []
    b.room = None
    b.wait(lambda: len(b.heard()) == sent)
    assert b.heads() == [b"%d" % number for number in range(sent)]


def test_messages_without_a_body_are_bounded_by_number(fleet, monkeypatch):
    monkeypatch.setattr(sender, "MAX_WAITING", 100)
    a, b = fleet.pair()
    b.room = 0
    assert a.link.send("b", b"", bytes(64 << 20))
    a.wait(lambda: a.link.waiting("b") > 0)
    for _ in range(100):
        assert a.link.send("b", b"")
    assert not a.link.send("b", b"")
    b.room = None
    b.wait(lambda: len(b.heard()) == 101)


def test_one_message_may_be_larger_than_all_that_may_wait(fleet, monkeypatch):
    monkeypatch.setattr(sender, "MAX_WAITING_BYTES", 1000)
    a, b = fleet.pair()
    b.room = 0
    assert a.link.send("b", b"on its way", bytes(64 << 20))
    assert a.link.send("b", b"waits", bytes(16 << 20))
    assert not a.link.send("b", b"too much", bytes(1001))
    b.room = None
    b.wait(lambda: len(b.heard()) == 2)
    assert b.heads() == [b"on its way", b"waits"]


# -- the node -------------------------------------------------------------------------------------


def test_a_message_that_finds_no_room_comes_again_and_holds_up_no_other_peer(fleet):
    a, b, c = fleet.group("a", "b", "c")
    b.room = 2
    say_all(a.link, "b", [b"%d" % number for number in range(6)])
    b.wait(lambda: len(b.heard()) == 2)
    time.sleep(0.1)
    assert len(b.heard()) == 2
    say_all(c.link, "a", [b"hello"])
    a.wait(lambda: a.heads("c") == [b"hello"])
    b.room = None
    b.wait(lambda: len(b.heard()) == 6)
    assert b.heads() == [b"%d" % number for number in range(6)]


def test_a_sink_that_has_no_room_for_one_peer_has_it_for_others(fleet):
    a, c = fleet.join("a"), fleet.join("c")
    link = fleet.make("b")
    heard = []

    def sink(event):
        if isinstance(event, Received):
            if event.sender == "a":
                return False
            heard.append(event.head)
        return True

    link.start(sink)
    for ear in (a, c):
        ear.wait_for_peer("b")
    say_all(a.link, "b", [b"waits"] * 10)
    say_all(c.link, "b", [b"%d" % number for number in range(100)])
    c.wait(lambda: len(heard) == 100)


def test_a_node_without_room_for_long_is_not_taken_for_dead(fleet, monkeypatch):
    """Its sign is lost, too, so it is asked; but it does not read the questions."""
    monkeypatch.setattr(peers, "QUIET_S", 0.2)
    monkeypatch.setattr(peers, "QUIET_PATIENCE_S", 1.0)
    monkeypatch.setattr(mesh_link, "LOOK_S", 0.1)
    a, b = fleet.pair()
    b.room = 0
    for _ in range(8):
        assert a.link.send("b", b"", bytes(4 << 20))
    a.link.vanished("b", b.link.incarnation)
    time.sleep(3.0)
    assert a.kinds("b") == b.kinds("a") == [PeerUp]
    b.room = None
    b.wait(lambda: len(b.heard()) == 8)


def test_a_sink_that_fails_is_logged_and_does_not_stop_the_link(fleet, caplog):
    a = fleet.join("a")
    link = fleet.make("b")
    heard = []

    def sink(event):
        heard.append(event)
        raise ValueError("a fault of the node")

    link.start(sink)
    a.wait_for_peer("b")
    say_all(a.link, "b", [b""] * 40)
    a.wait(lambda: len(heard) == 41)
    assert "the sink of b failed at PeerUp" in caplog.text


def test_a_sink_may_use_the_link(fleet):
    a = fleet.join("a")
    link = fleet.make("echo")

    def sink(event):
        if isinstance(event, Received):
            link.send(event.sender, event.head, event.body)
            link.peers(), link.rates(), link.stats(), link.unreachable()
        return True

    link.start(sink)
    a.wait_for_peer("echo")
    for number in range(50):
        assert a.link.send("echo", b"%d" % number, b"x" * number)
    a.wait(lambda: len(a.heard()) == 50)
    assert [bytes(message.body) for message in a.heard()] == [b"x" * n for n in range(50)]


# -- who comes and goes ---------------------------------------------------------------------------


def test_peers_see_each_other_come_and_go(fleet):
    a, b = fleet.pair()
    c = fleet.join("c")
    for ear in (a, b):
        ear.wait_for_peer("c")
    c.wait_for_peer("a", "b")
    assert c.link.peers() == {"a": a.link.incarnation, "b": b.link.incarnation}
    c.link.close()
    life = c.link.incarnation
    for ear in (a, b):
        ear.wait(lambda ear=ear: len(ear.seen("c")) == 2)
        assert ear.seen("c") == [PeerUp("c", life), PeerDown("c", life)]
        assert "c" not in ear.link.peers()


def test_a_node_that_leaves_is_gone_long_before_its_lease_ends(fleet):
    a, b = fleet.pair(**({"lease_ms": 60_000} if fleet.kind == "zenoh" else {"lease_s": 60.0}))
    b.link.close()
    a.wait(lambda: a.kinds("b") == [PeerUp, PeerDown], 10)


def test_what_was_said_before_leaving_arrives(fleet):
    a, b = fleet.pair()
    for number in range(20):
        assert b.link.send("a", b"%d" % number)
    b.wait(lambda: b.link.waiting("a") == 0)
    b.link.close()
    a.wait(lambda: a.kinds("b") == [PeerUp, PeerDown])
    assert a.heads() == [b"%d" % number for number in range(20)]


def test_a_node_that_restarts_has_a_new_incarnation_and_works_again(fleet):
    a, b = fleet.pair()
    say_all(a.link, "b", [b"first"])
    b.wait(lambda: len(b.heard()) == 1)
    for round in range(3):
        b.link.close()
        again = fleet.join("b")
        again.wait_for_peer("a")
        a.wait(lambda again=again: a.link.peers() == {"b": again.link.incarnation})
        assert again.link.incarnation > b.link.incarnation
        say_all(a.link, "b", [b"to %d" % round])
        say_all(again.link, "a", [b"from %d" % round])
        again.wait(lambda again=again, round=round: again.heads() == [b"to %d" % round])
        a.wait(lambda round=round: a.heads()[-1:] == [b"from %d" % round])
        b = again
    assert a.kinds("b") == [PeerUp, PeerDown] * 3 + [PeerUp]


def test_two_live_nodes_cannot_have_one_name(fleet):
    a, b = fleet.pair(**({"lease_ms": 400} if fleet.kind == "zenoh" else {}))
    twin = fleet.make("b")
    with pytest.raises(NameTakenError, match="'b' is alive"):
        twin.start(lambda event: True)
    say_all(a.link, "b", [b"still there"])
    b.wait(lambda: b.heads() == [b"still there"])
    assert a.kinds("b") == [PeerUp]


def test_what_was_under_way_to_a_node_that_left_is_dropped(fleet):
    a, b = fleet.pair()
    b.room = 0
    for _ in range(20):
        assert a.link.send("b", b"", bytes(4 << 20))
    b.link.close()
    a.wait(lambda: "b" not in a.link.peers())
    assert a.link.waiting("b") == 0
    assert not a.link.send("b", b"")
    again = fleet.join("b")
    again.wait_for_peer("a")
    say_all(again.link, "a", [b"hello"])
    a.wait(lambda: a.heads() == [b"hello"])
    assert again.heard() == []


@pytest.mark.parametrize("grace_s", [0.0, peers.GRACE_S])
def test_two_that_call_each_other_at_the_same_moment_get_one_session(
    inproc_fleet, monkeypatch, grace_s
):
    monkeypatch.setattr(peers, "GRACE_S", grace_s)
    at_the_same_moment(inproc_fleet, 40)


def test_two_processes_that_call_each_other_at_the_same_moment_get_one_session(
    zenoh_fleet, monkeypatch
):
    monkeypatch.setattr(peers, "GRACE_S", 0.0)
    zenoh_fleet.join("seed")
    at_the_same_moment(zenoh_fleet, 6)


def at_the_same_moment(fleet: Fleet, rounds: int) -> None:
    for round in range(rounds):
        ears = [Ear(fleet.make(f"{name}{round}")) for name in "ab"]
        fleet.ears += ears
        barrier = threading.Barrier(2)

        def start(ear, barrier=barrier):
            barrier.wait()
            ear.link.start(ear)

        threads = [threading.Thread(target=start, args=(ear,)) for ear in ears]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        a, b = ears
        a.wait_for_peer(f"b{round}")
        b.wait_for_peer(f"a{round}")
        say_all(a.link, f"b{round}", [b"1", b"2"])
        say_all(b.link, f"a{round}", [b"1", b"2"])
        for ear in ears:
            other = f"{'b' if ear is a else 'a'}{round}"
            ear.wait(lambda ear=ear, other=other: ear.heads(other) == [b"1", b"2"])
            assert ear.kinds(other) == [PeerUp]
        for ear in ears:
            ear.link.close()


# -- breaks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 300_000, 8_000_000])
def test_connections_that_break_under_load_lose_what_was_under_way_and_nothing_else(fleet, size):
    """Each stretch at the receiver is a part without gaps of what was sent, and later than the one
    before."""
    a, b = fleet.pair()
    body = b.expected = pattern(1, size)
    stop = threading.Event()

    def chatter():
        number = 0
        while not stop.is_set():
            if a.link.send("b", b"%d" % number, body, work=True):
                number += 1
            else:
                time.sleep(0.001)

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        for _ in range(4):
            count = len(b.heard())
            b.wait(lambda count=count: len(b.heard()) >= count + 3)
            downs = [ear.kinds(other).count(PeerDown) for ear, other in ((a, "b"), (b, "a"))]
            drop(a.link)
            for ear, other, before in zip((a, b), "ba", downs, strict=True):
                ear.wait(lambda e=ear, o=other, n=before: e.kinds(o).count(PeerDown) > n)
                ear.wait_for_peer(other)
    finally:
        stop.set()
        thread.join()
    stretches: list[list[int]] = []
    for event in b.events:
        if isinstance(event, PeerUp):
            stretches.append([])
        elif isinstance(event, Received):
            stretches[-1].append(int(event.head))
    assert len(stretches) >= 5
    for stretch in stretches:
        assert stretch == list(range(stretch[0], stretch[0] + len(stretch))) if stretch else True
    together = [number for stretch in stretches for number in stretch]
    assert together == sorted(set(together))


def test_a_break_is_told_to_a_node_that_has_no_room(fleet):
    a, b = fleet.pair()
    b.room = 0
    for _ in range(4):
        assert a.link.send("b", b"before the break", bytes(8 << 20))
    drop(a.link)
    b.wait(lambda: b.kinds("a")[:2] == [PeerUp, PeerDown])
    b.wait_for_peer("a")
    b.room = None
    say_all(a.link, "b", [b"after the break"])
    b.wait(lambda: b.heads()[-1:] == [b"after the break"])
    assert len(b.heard()) < 4


def test_a_reader_that_is_fed_after_the_break_ends(fleet):
    """The other side has not noticed, and goes on sending without a pause."""
    a, b = fleet.pair()
    ((session, line),) = b.link._lines.items()

    def next_one():
        time.sleep(0.001)
        return Incoming(b"and more", None)

    line.receiver.next = next_one
    say_all(a.link, "b", [b"first"])
    b.wait(lambda: b.heads()[:2] == [b"first", b"and more"])
    with b.link._lock:
        b.link._peers.lost(session, "a test wants it")
        b.link._act()
    b.wait(lambda: b.kinds("a")[:2] == [PeerUp, PeerDown])


@pytest.mark.parametrize("name", ["a", "b"])
def test_losing_the_mesh_disturbs_no_connection(fleet, name):
    a, b, c = fleet.group("a", "b", "c")
    stop = threading.Event()

    def chatter():
        number = 0
        while not stop.is_set():
            number += a.link.send("b", b"%d" % number, bytes(10_000))
            time.sleep(0.002)

    thread = threading.Thread(target=chatter)
    thread.start()
    link = {"a": a, "b": b}[name].link
    try:
        lose_mesh(fleet, link)
        count = len(b.heard())
        b.wait(lambda: len(b.heard()) > count + 10)
    finally:
        stop.set()
        thread.join()
    b.wait(lambda: a.link.waiting("b") == 0)
    late = fleet.join("d")  # who comes later is found on the mesh, which is back
    late.wait_for_peer("a", "b", "c")
    for ear in (a, b, c):
        ear.wait_for_peer("d")
        for other in {"a", "b", "c"} - {ear.link.name}:
            assert ear.kinds(other) == [PeerUp]
    b.wait(lambda: b.heads() == [b"%d" % number for number in range(len(b.heard()))])
    a.wait(lambda: link._peers.unseen() == [])


def test_a_link_that_is_full_for_seconds_loses_nothing(fleet):
    a, b, c = fleet.group("a", "b", "c")
    b.room = 0
    sent = 0
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        if a.link.send("b", b"%d" % sent, bytes(200_000), work=True):
            sent += 1
        else:
            time.sleep(0.005)
        if sent % 10 == 0:
            a.link.send("c", b"hello")
    assert a.link.waiting("b") > 0
    c.wait(lambda: len(c.heard()) > 0)
    b.room = None
    b.wait(lambda: len(b.heard()) == sent)
    assert b.heads() == [b"%d" % number for number in range(sent)]
    assert a.kinds("b") == b.kinds("a") == [PeerUp]


# -- closing --------------------------------------------------------------------------------------


def threads_of(*names: str) -> list[str]:
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.name.partition("-")[0] in names and thread.is_alive()
    ]


def test_a_link_closes_more_than_once_and_cannot_be_started_again(fleet):
    _, b = fleet.pair()
    b.link.close()
    b.link.close()
    with pytest.raises(UsageError, match="make a new one"):
        b.link.start(b)
    assert not b.link.send("a", b"")
    assert b.link.peers() == {}
    assert b.link.rates() == {}


def test_a_link_that_was_never_started_closes(fleet):
    idle = fleet.make("idle")
    idle.close()
    assert idle.peers() == {}
    assert not idle.send("a", b"")


def test_no_thread_is_left_when_a_link_is_closed(fleet):
    a, b, _ = fleet.group("a", "b", "c")
    a.room = b.room = 0
    for _ in range(20):
        a.link.send("b", b"", bytes(4 << 20))
        b.link.send("a", b"", bytes(4 << 20))
    assert threads_of("b") != []
    b.link.close()
    assert threads_of("b") == []
    a.link.close()
    assert threads_of("a") == []


def test_a_link_closes_while_others_call_it(fleet):
    seed = fleet.join("seed")
    for round in range(5):
        links = [fleet.make(f"x{round}{k}") for k in range(3)]
        threads = [threading.Thread(target=link.start, args=(Ear(link),)) for link in links]
        for thread in threads:
            thread.start()
        for thread, link in zip(threads, links, strict=True):
            thread.join()
            link.close()
            assert threads_of(link.name) == []
    seed.wait(lambda: seed.link.peers() == {})


@pytest.mark.parametrize("what", [PeerUp, Received, PeerDown])
def test_a_link_is_closed_from_inside_its_sink(fleet, what):
    a, c = fleet.group("a", "c")
    link = fleet.make("b")
    closed = threading.Event()

    def sink(event):
        if isinstance(event, what):
            link.close()
            link.close()
            closed.set()
        return True

    link.start(sink)
    if what is not PeerUp:
        a.wait_for_peer("b")
        say_all(a.link, "b", [b"1"])
        for more in (b"2", b"3"):
            a.link.send("b", more)  # it may be gone already
        if what is PeerDown:
            c.wait_for_peer("b")
            c.link.close()
    assert closed.wait(30)
    a.wait(lambda: a.kinds("b")[-1:] in ([], [PeerDown]))
    assert link.peers() == {}
    link.close()


def test_a_link_is_closed_by_two_threads_at_once_and_both_find_it_closed(fleet):
    _, b = fleet.pair()
    left = []

    def close():
        b.link.close()
        left.append(threads_of("b"))

    threads = [threading.Thread(target=close, name=f"closer {k}") for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert left == [[], []]


def test_a_signal_that_closes_a_link_while_it_closes_waits_for_nobody(fleet):
    _, b = fleet.pair()
    leave = b.link._discovery.leave

    def interrupted():
        b.link.close()  # as a handler does, which runs on the thread that it interrupts
        leave()

    b.link._discovery.leave = interrupted
    closer = threading.Thread(target=b.link.close)
    closer.start()
    closer.join(30)
    assert not closer.is_alive()
    assert threads_of("b") == []


def test_a_fork_does_not_close_what_is_its_parents(inproc_fleet):
    a, b = inproc_fleet.pair()
    pid = os.fork()
    if not pid:
        a.link.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    say_all(a.link, "b", [b"still here"])
    b.wait(lambda: b.heads() == [b"still here"])
    assert a.kinds("b") == [PeerUp]


def test_a_system_that_gives_no_more_threads_is_survived(fleet, monkeypatch):
    a = fleet.join("a")
    start = threading.Thread.start
    refused: dict[str, int] = {"a-from": 0, "a-call": 0}

    def refuse(thread):
        if refused.get(thread.name[:6], 2) < 2:
            refused[thread.name[:6]] += 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    b = fleet.join("b")
    a.wait(lambda: a.kinds("b") == [PeerUp, PeerDown] * 2 + [PeerUp])
    b.wait_for_peer("a")
    assert refused["a-call"] > 0
    say_all(a.link, "b", [b"hello"])
    b.wait(lambda: b.heads() == [b"hello"])


@pytest.mark.parametrize("name", ["", "a/b", "*", "x" * 65])
def test_names_that_would_break_keys_are_refused(fleet, name):
    with pytest.raises(UsageError, match="cannot name a node"):
        fleet.make(name)
