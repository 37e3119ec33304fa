"""Ways between two nodes that go bad while the mesh between them is well: real connections through
a relay that delays, swallows and breaks what passes."""

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from tests.mesh.conftest import Ear, Fleet, say_all

from shoal.mesh import link as mesh_link
from shoal.mesh import peers
from shoal.mesh.events import PeerDown, PeerUp
from shoal.mesh.place import Place


class Relay:
    """Takes connections and passes on what comes, to a place that may be told later. What it
    ``swallows`` (of those who call, or of those who are called) is taken and lost; while it
    ``rests`` nothing is taken."""

    def __init__(self) -> None:
        self.door = socket.create_server(("127.0.0.1", 0))
        self.place = Place("127.0.0.1", self.door.getsockname()[1])
        self.target: Place | None = None
        self.swallows: set[str] = set()
        self.rests = False
        self.passed = 0
        self.ends: list[dict[str, socket.socket]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.door, selectors.EVENT_READ)
            while not self._stop.is_set():
                if self.rests:
                    time.sleep(0.01)
                    continue
                for key, _ in selector.select(0.02):
                    if key.fileobj is self.door:
                        self._open(selector)
                    else:
                        self._pass(selector, key)

    def _open(self, selector: selectors.BaseSelector) -> None:
        sock, _ = self.door.accept()
        assert self.target is not None
        try:
            other = socket.create_connection((self.target.host, self.target.port))
        except OSError:
            sock.close()
            return
        ends = {"caller": sock, "called": other}
        self.ends.append(ends)
        for name, mine, theirs in (("caller", sock, other), ("called", other, sock)):
            selector.register(mine, selectors.EVENT_READ, (name, theirs))

    def _pass(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        name, theirs = key.data
        try:
            data = key.fileobj.recv(1 << 16)
            if data and name not in self.swallows:
                theirs.sendall(data)
                self.passed += len(data)
        except OSError:
            data = b""
        if not data:
            selector.unregister(key.fileobj)
            if name not in self.swallows:
                with contextlib.suppress(OSError):
                    theirs.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break all connections harshly."""
        self.rests = True
        time.sleep(0.05)
        for ends in self.ends:
            for sock in ends.values():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Nobody is told by a selector of what is closed under it, so it begins anew.
        self._stop.set()
        self._thread.join()
        for ends in self.ends:
            for sock in ends.values():
                sock.close()
        self.ends.clear()
        self._stop.clear()
        self.rests = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self.rests = False
        for ends in self.ends:  # it may be in the middle of passing something on
            for sock in ends.values():
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for sock in [self.door, *(sock for ends in self.ends for sock in ends.values())]:
            sock.close()


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "QUIET_S", 0.5)
    monkeypatch.setattr(peers, "QUIET_PATIENCE_S", 1.0)
    monkeypatch.setattr(mesh_link, "LOOK_S", 0.1)


def through(fleet: Fleet, relay: Relay) -> tuple[Ear, Ear]:
    """Nodes a and b, whose connections go through the relay."""
    b = fleet.join("b")
    relay.target = b.link._peers.places[0]
    a = fleet.make("a", known={"b": relay.place})
    ear = Ear(a)
    fleet.ears.append(ear)
    a.start(ear)
    ear.wait_for_peer("b")
    b.wait_for_peer("a")
    say_all(a, "b", [b"first"])
    b.wait(lambda: b.heads() == [b"first"])
    assert relay.passed > 0
    return ear, b


@pytest.mark.parametrize(
    "swallows", [{"caller"}, {"called"}, {"caller", "called"}], ids=lambda s: "+".join(sorted(s))
)
def test_a_way_that_swallows_what_passes_is_left_for_another(zenoh_fleet, relay, hasty, swallows):
    a, b = through(zenoh_fleet, relay)
    c = zenoh_fleet.join("c")
    c.wait_for_peer("a", "b")
    relay.swallows |= swallows
    for number in range(4):
        a.link.send("b", b"%d" % number, bytes(1 << 20))
        b.link.send("a", b"%d" % number, bytes(1 << 20))
    a.wait(lambda: a.kinds("b")[:2] == [PeerUp, PeerDown])
    b.wait(lambda: b.kinds("a")[:2] == [PeerUp, PeerDown])
    a.wait_for_peer("b")
    b.wait_for_peer("a")
    passed = relay.passed
    say_all(a.link, "b", [b"by another way"])
    b.wait(lambda: b.heads()[-1:] == [b"by another way"])
    if len(swallows) == 2:
        assert relay.passed == passed
    assert c.kinds("a") == c.kinds("b") == [PeerUp]


def test_a_way_that_is_reset_in_the_middle_of_a_body_is_taken_again(zenoh_fleet, relay):
    a, b = through(zenoh_fleet, relay)
    for round in range(3):
        passed = relay.passed
        for _ in range(3):
            a.link.send("b", b"lost", bytes(30 << 20))
            b.link.send("a", b"lost", bytes(30 << 20))
        a.wait(lambda passed=passed: relay.passed > passed + (1 << 20))
        relay.reset()
        for ear, other in ((a, "b"), (b, "a")):
            ear.wait(
                lambda e=ear, o=other, n=round: (
                    e.kinds(o) == [PeerUp, PeerDown] * (n + 1) + [PeerUp]
                )
            )
        say_all(a.link, "b", [b"after %d" % round])
        b.wait(lambda round=round: b.heads()[-1:] == [b"after %d" % round])
        lost = b.heads().count(b"lost") + a.heads().count(b"lost")
        assert lost < 6 * (round + 1), "something was under way"


def test_a_peer_that_takes_nothing_any_more_holds_up_nobody_and_is_noticed(
    zenoh_fleet, relay, hasty
):
    a, _ = through(zenoh_fleet, relay)
    others = [zenoh_fleet.join(name) for name in "cde"]
    a.wait_for_peer("c", "d", "e")
    relay.rests = True
    while a.link.send("b", b"", bytes(1 << 20), work=True):
        pass
    for number in range(50):
        for other in others:
            assert a.link.send(other.link.name, b"%d" % number)
    for other in others:
        other.wait(lambda other=other: len(other.heard()) == 50)
    a.wait(lambda: a.kinds("b")[:2] == [PeerUp, PeerDown])
    for other in others:
        assert a.kinds(other.link.name) == [PeerUp]
    relay.rests = False


def test_a_way_that_rests_for_a_moment_is_not_left(zenoh_fleet, relay):
    a, b = through(zenoh_fleet, relay)
    relay.rests = True
    for number in range(40):
        assert a.link.send("b", b"%d" % number, bytes(1 << 20))
    time.sleep(1.0)
    relay.rests = False
    b.wait(lambda: len(b.heard()) == 41)
    assert a.kinds("b") == b.kinds("a") == [PeerUp]


def test_an_idle_way_through_a_box_that_forgets_it_is_made_again(zenoh_fleet, relay, hasty):
    """As between a worker at home and the world: what is idle for long is dropped, and nobody
    told. Nobody had anything to say meanwhile."""
    a, b = through(zenoh_fleet, relay)
    relay.swallows |= {"caller", "called"}
    a.wait(lambda: a.kinds("b")[:2] == [PeerUp, PeerDown])
    b.wait(lambda: b.kinds("a")[:2] == [PeerUp, PeerDown])
    a.wait_for_peer("b")
    say_all(a.link, "b", [b"second"])
    b.wait(lambda: b.heads() == [b"first", b"second"])
