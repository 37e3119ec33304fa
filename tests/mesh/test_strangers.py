"""Whoever comes to the data port: real sockets, and a node that goes on talking to its friend."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from tests.mesh.conftest import Ear, Fleet, say_all

from shoal.errors import MeshError
from shoal.mesh import greeting
from shoal.mesh.events import MAX_BODY, PeerDown, PeerUp
from shoal.mesh.frames import (
    HEADER_BYTES,
    MAX_NEWS,
    Kind,
    NodeSeen,
    read_header,
    write_header,
    write_news,
)
from shoal.mesh.greeting import MAX_PENDING, say_hello
from shoal.mesh.hello import CallerHello, No, Refusal, Welcome
from shoal.mesh.peers import MAX_HEARSAY
from shoal.mesh.place import Place

LIFE = "2" * 16


class Impostor:
    """Somebody who knows how a session is asked for, and then does as he likes."""

    def __init__(self, node: Ear) -> None:
        self.node = node
        self.place = node.link._peers.places[0]
        self.socks: list[socket.socket] = []
        self.numbers = 0

    def connect(self) -> socket.socket:
        sock = socket.create_connection((self.place.host, self.place.port))
        self.socks.append(sock)
        return sock

    def ask(self, name: str = "impostor", **change: object) -> Welcome | Refusal:
        """Ask for a session; ``there`` and ``back`` are its connections."""
        self.numbers += 1
        usual = {
            "cluster": "shoal",
            "name": name,
            "incarnation": LIFE,
            "target": "node",
            "life": self.node.link.incarnation,
            "number": self.numbers,
        }
        facts = {**usual, **change}
        self.there, self.back = self.connect(), self.connect()
        return say_hello(self.there, self.back, lambda back: CallerHello(**facts, back=back))

    def meet(self) -> None:
        assert self.ask() == Welcome()
        self.node.wait_for_peer("impostor")

    def hears(self) -> Kind:
        """The kind of the next frame that comes."""
        self.back.settimeout(30)
        header = read_header(self.back.recv(HEADER_BYTES, socket.MSG_WAITALL), MAX_BODY)
        left = header.head + header.piece
        while left:
            left -= len(self.back.recv(left))
        return header.kind

    def close(self) -> None:
        for sock in self.socks:
            sock.close()


@pytest.fixture
def node(zenoh_fleet: Fleet) -> Ear:
    return zenoh_fleet.join("node")


@pytest.fixture
def friend(node: Ear, zenoh_fleet: Fleet) -> Iterator[Ear]:
    """It is in touch with the node, and is so in the end as if nothing had been."""
    friend = zenoh_fleet.join("friend")
    friend.wait_for_peer("node")
    node.wait_for_peer("friend")
    yield friend
    count = len(node.heard("friend"))
    say_all(friend.link, "node", [b"still here?"])
    node.wait(lambda: len(node.heard("friend")) == count + 1)
    assert friend.kinds("node") == node.kinds("friend") == [PeerUp]


@pytest.fixture
def impostor(friend: Ear, node: Ear) -> Iterator[Impostor]:
    impostor = Impostor(node)
    yield impostor
    impostor.close()


# -- before a session stands ----------------------------------------------------------------------


def test_a_thousand_connections_hold_up_nobody(node, friend, impostor, zenoh_fleet):
    for _ in range(1000):
        impostor.connect()
    late = zenoh_fleet.join("late")
    late.wait_for_peer("node", "friend")
    node.wait_for_peer("late")
    say_all(late.link, "node", [b"hello"])
    node.wait(lambda: node.heads("late") == [b"hello"])
    node.wait(lambda: len(node.link._porter._pending) <= MAX_PENDING)
    node.wait(lambda: node.link.stats().refused >= 1000 - MAX_PENDING)


def test_garbage_is_counted_and_complained_of_at_a_rate(node, impostor, caplog):
    for _ in range(50):
        impostor.connect().sendall(b"GET / HTTP/1.1\r\n\r\n" * 3)
    node.wait(lambda: node.link.stats().refused == 50)
    said = caplog.text.count("node refused a connection: what answers there is no node")
    assert 1 <= said < 50


@pytest.mark.parametrize(
    ("change", "no", "text"),
    [
        ({"cluster": "other"}, No.STRANGER, "it is of the cluster 'shoal'"),
        ({"life": "1" * 16}, No.STRANGER, "node in another life was called"),
        ({"target": "somebody"}, No.STRANGER, "somebody in another life was called"),
        ({"name": "node"}, No.STRANGER, "it has the same name"),
        ({"name": "friend", "incarnation": "0" * 16}, No.STRANGER, "a later life of friend is"),
        ({"name": "friend", "incarnation": "f" * 16}, No.AGAIN, "the last session has not ended"),
    ],
)
def test_who_is_not_wanted_is_told_why_and_by_whom(node, impostor, change, no, text):
    refusal = impostor.ask(**change)
    assert isinstance(refusal, Refusal)
    assert (refusal.no, refusal.name) == (no, "node")
    assert refusal.text.startswith(text)
    impostor.there.settimeout(30)
    assert impostor.there.recv(1) == b""
    assert "impostor" not in node.link.peers()


def test_two_halves_of_different_sessions_make_none(node, impostor, monkeypatch):
    monkeypatch.setattr(greeting, "HELLO_S", 0.5)
    there, back = impostor.connect(), impostor.connect()
    life = node.link.incarnation
    with pytest.raises(MeshError, match=r"hung up|does not answer|reset"):
        say_hello(
            there,
            back,
            lambda back: CallerHello("shoal", "impostor", LIFE, "node", life, 7 + back, back),
        )
    assert set(node.link.peers()) == {"friend"}


# -- in a session ---------------------------------------------------------------------------------


def test_a_peer_that_is_not_visible_is_taken_as_long_as_it_answers(node, impostor):
    impostor.meet()
    for _ in range(2):
        while impostor.hears() is not Kind.PING:
            pass
        impostor.there.sendall(write_header(Kind.PONG))
    assert node.kinds("impostor") == [PeerUp]
    node.wait(lambda: node.kinds("impostor") == [PeerUp, PeerDown])


def test_a_reset_in_the_middle_of_a_body_is_a_break(node, impostor):
    impostor.meet()
    impostor.there.sendall(write_header(Kind.MESSAGE, 1, None) + b"1")
    impostor.there.sendall(write_header(Kind.MESSAGE, 1, 1 << 20, 1 << 20) + b"2" + bytes(5000))
    node.wait(lambda: node.heads("impostor") == [b"1"])
    impostor.there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    impostor.there.close()
    node.wait(lambda: node.kinds("impostor") == [PeerUp, PeerDown])
    assert node.heads("impostor") == [b"1"]
    assert node.link.stats().refused == 0, "it broke, and broke no rule"


@pytest.mark.parametrize("which", ["there", "back"])
def test_one_of_the_two_connections_that_breaks_breaks_both(node, impostor, which):
    impostor.meet()
    getattr(impostor, which).close()
    if which == "back":
        node.wait(lambda: not node.link.send("impostor", b"x", bytes(1000)))
    node.wait(lambda: node.kinds("impostor") == [PeerUp, PeerDown])
    other = impostor.back if which == "there" else impostor.there
    other.settimeout(30)
    with contextlib.suppress(ConnectionError):
        while other.recv(1 << 16):
            pass


@pytest.mark.parametrize(
    "lie",
    [
        b"GET / HTTP/1.1\r\n\r\n" * 10,
        write_header(Kind.MESSAGE, 0, MAX_BODY + 1, 0),
        write_header(Kind.MESSAGE, 1 << 31, None),
        write_header(Kind.MESSAGE, 5, None) + b"12345" + bytes(100),
        write_header(Kind.PIECE, 0, 100, 100) + bytes(100),
        write_header(Kind.NEWS, MAX_NEWS + 1),
        write_header(Kind.NEWS, 100) + b"\xff" * 100,
        write_header(Kind.WEIGHT, 0, 1 << 30, 1 << 30),
        write_header(Kind.PING, 3) + b"abc" + write_header(Kind.PING),
    ],
    ids=["garbage", "body", "head", "more than it says", "piece", "news too long", "news", "weight",
         "question"],
)  # fmt: skip
def test_who_breaks_the_rules_is_broken_with(node, impostor, lie):
    impostor.meet()
    impostor.there.sendall(lie)
    node.wait(lambda: node.kinds("impostor") == [PeerUp, PeerDown])
    assert node.link.stats().refused == 1
    impostor.back.settimeout(30)
    with contextlib.suppress(ConnectionError):
        while impostor.back.recv(1 << 16):
            pass


def test_a_head_that_never_ends_holds_up_only_who_sends_it(node, friend, impostor):
    impostor.meet()
    impostor.there.sendall(write_header(Kind.MESSAGE, 1 << 24, None) + bytes(1000))
    say_all(friend.link, "node", [b"%d" % number for number in range(100)])
    node.wait(lambda: len(node.heard("friend")) == 100)
    stop = threading.Event()

    def drip() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                impostor.there.sendall(b"x")
            time.sleep(0.01)

    thread = threading.Thread(target=drip)
    thread.start()
    time.sleep(0.5)
    stop.set()
    thread.join()
    assert node.heard("impostor") == []
    node.wait(lambda: node.kinds("impostor") == [PeerUp, PeerDown])  # it is silent now


def test_news_that_lie_break_nothing_and_are_forgotten(node, friend, impostor):
    impostor.meet()
    nowhere = (Place("127.0.0.1", 9), Place("no-such-host.invalid", 9))
    lies = [
        NodeSeen("friend", "f" * 16, nowhere),  # a later life of a peer
        NodeSeen("friend", "0" * 16, nowhere),
        NodeSeen("node", "f" * 16, nowhere),  # the node itself
        NodeSeen("impostor", "f" * 16, nowhere),  # who says it
        NodeSeen("friend2", LIFE, (friend.link._peers.places[0],)),  # somebody else is there
        *(NodeSeen(f"n{number}", LIFE, nowhere) for number in range(1000)),
    ]
    impostor.there.sendall(write_news(lies))
    node.wait(lambda: len(node.link._peers._peers) >= MAX_HEARSAY)
    say_all(friend.link, "node", [b"%d" % number for number in range(100)])
    node.wait(lambda: len(node.heard("friend")) == 100)
    assert len(node.link._peers._peers) <= MAX_HEARSAY + 3
    assert node.link.unreachable() == {}, "what is only heard of is not complained of"


def test_news_without_end_hold_up_only_who_sends_them(node, friend, impostor):
    impostor.meet()
    news = write_news([NodeSeen("n", LIFE, (Place("127.0.0.1", 9),) * 16)] * 300)
    stop = threading.Event()

    def talk() -> None:
        with contextlib.suppress(OSError):
            while not stop.is_set():
                impostor.there.sendall(news)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        say_all(friend.link, "node", [b"%d" % number for number in range(200)])
        node.wait(lambda: len(node.heard("friend")) == 200)
    finally:
        stop.set()
        thread.join()


def test_who_takes_nothing_holds_up_nobody_else(node, friend, impostor):
    impostor.meet()
    while node.link.send("impostor", b"", bytes(1 << 20), work=True):
        pass
    for number in range(100):
        assert node.link.send("friend", b"%d" % number)
    friend.wait(lambda: friend.heads() == [b"%d" % number for number in range(100)])


def test_questions_without_end_are_answered_within_bounds(node, friend, impostor):
    """And who takes no answers gets no more of them than can wait."""
    impostor.meet()
    for _ in range(200):
        impostor.there.sendall(write_header(Kind.PING) * 1000)
    (session,) = (s for s in node.link._lines if s.name == "impostor")
    sender = node.link._lines[session].sender
    assert len(sender._urgent) <= 64
    say_all(friend.link, "node", [b"hello"])
    node.wait(lambda: node.heads("friend") == [b"hello"])


def test_an_impostor_cannot_end_the_session_of_another(node, friend, impostor):
    """He says that he is a later life of it, again and again."""
    for _ in range(20):
        refusal = impostor.ask("friend", incarnation="f" * 16)
        assert isinstance(refusal, Refusal)
        assert refusal.no is No.AGAIN
    say_all(friend.link, "node", [b"hello"])
    node.wait(lambda: node.heads("friend") == [b"hello"])
