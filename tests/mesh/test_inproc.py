"""The faults that the in-process mesh makes on demand, and what a link makes of them."""

import threading
import time

import numpy as np
import pytest
from tests.mesh.conftest import Ear, say_all

from shoal.errors import NameTakenError
from shoal.mesh import link as mesh_link
from shoal.mesh import peers
from shoal.mesh.events import NameLost, PeerDown, PeerUp, Received


@pytest.fixture
def hasty(monkeypatch):
    """A peer that is visible and silent is asked soon, and given up soon."""
    monkeypatch.setattr(peers, "QUIET_S", 0.3)
    monkeypatch.setattr(peers, "QUIET_PATIENCE_S", 0.5)
    monkeypatch.setattr(mesh_link, "LOOK_S", 0.1)


# -- cuts -----------------------------------------------------------------------------------------


def test_a_cut_is_seen_by_both_sides_and_healed(inproc_fleet):
    a, b = inproc_fleet.pair()
    inproc_fleet.mesh.cut("a", "b")
    a.wait(lambda: a.link.peers() == {})
    b.wait(lambda: b.link.peers() == {})
    assert not a.link.send("b", b"lost")
    inproc_fleet.mesh.heal("a", "b")
    a.wait_for_peer("b")
    b.wait_for_peer("a")
    say_all(a.link, "b", [b"found"])
    b.wait(lambda: b.heads() == [b"found"])
    a.wait(lambda: a.kinds("b") == [PeerUp, PeerDown, PeerUp])
    b.wait(lambda: b.kinds("a") == [PeerUp, PeerDown, PeerUp])


@pytest.mark.parametrize("which", ["ab", "ba"])
def test_a_break_that_only_one_side_sees_is_told_to_the_other(inproc_fleet, which):
    """Nothing goes one way any more: who does not hear breaks, and its hanging up is heard."""
    a, b = inproc_fleet.pair()
    inproc_fleet.mesh.cut(*which, both=False)
    a.wait(lambda: a.kinds("b")[:2] == [PeerUp, PeerDown])
    b.wait(lambda: b.kinds("a")[:2] == [PeerUp, PeerDown])
    inproc_fleet.mesh.heal("a", "b")
    b.wait_for_peer("a")
    a.wait_for_peer("b")
    say_all(a.link, "b", [b"after the break"])
    b.wait(lambda: b.heads() == [b"after the break"])


def test_nothing_that_was_sent_before_a_cut_arrives_after_it(inproc_fleet):
    a, b = inproc_fleet.pair()
    inproc_fleet.mesh.cut("a", "b")
    for number in range(20):
        a.link.send("b", b"before %d" % number, bytes(100_000))
    a.wait(lambda: a.link.peers() == {})
    inproc_fleet.mesh.heal("a", "b")
    a.wait_for_peer("b")
    say_all(a.link, "b", [b"after"])
    b.wait(lambda: b.heads()[-1:] == [b"after"])
    last = max(at for at, event in enumerate(b.events) if isinstance(event, PeerDown))
    assert [event.head for event in b.events[last:] if isinstance(event, Received)] == [b"after"]


@pytest.mark.parametrize("which", ["ab", "ba", "both"])
def test_a_firewall_that_drops_silently_is_noticed(inproc_fleet, hasty, which):
    """The mesh shows both to each other all the time."""
    a, b = inproc_fleet.pair()
    c = inproc_fleet.join("c")
    c.wait_for_peer("a", "b")
    for way in ["ab", "ba"] if which == "both" else [which]:
        inproc_fleet.mesh.block(*way)
    for number in range(10):
        a.link.send("b", b"%d" % number, bytes(1 << 20))
    a.wait(lambda: a.kinds("b")[:2] == [PeerUp, PeerDown])
    b.wait(lambda: b.kinds("a")[:2] == [PeerUp, PeerDown])
    a.wait(lambda: "b" in a.link.unreachable())
    for way in ("ab", "ba"):
        inproc_fleet.mesh.block(*way, False)
    a.wait_for_peer("b")
    b.wait_for_peer("a")
    say_all(a.link, "b", [b"hello"])
    b.wait(lambda: b.heads()[-1:] == [b"hello"])
    assert c.kinds("a") == c.kinds("b") == [PeerUp]


def test_a_quiet_pair_is_not_taken_for_a_cut_one(inproc_fleet, hasty):
    a, b = inproc_fleet.pair()
    time.sleep(2.0)
    assert a.kinds("b") == b.kinds("a") == [PeerUp]


def test_a_long_way_is_not_taken_for_a_cut_one(inproc_fleet):
    a, b = inproc_fleet.pair(lease_s=4.0)
    inproc_fleet.mesh.delay("a", "b", 0.2)
    inproc_fleet.mesh.delay("b", "a", 0.2)
    inproc_fleet.mesh.hide("a")
    time.sleep(1.5)
    assert a.kinds("b") == b.kinds("a") == [PeerUp]
    inproc_fleet.mesh.hide("a", False)
    a.wait(lambda: a.link._peers.unseen() == [])


def test_a_delay_delays_one_way(inproc_fleet):
    a, b = inproc_fleet.pair()
    inproc_fleet.mesh.delay("a", "b", 0.2)
    since = time.monotonic()
    a.link.send("b", b"slow")
    b.wait(lambda: len(b.heard()) == 1)
    assert time.monotonic() - since > 0.2
    inproc_fleet.mesh.delay("a", "b", 600.0)
    a.link.send("b", b"very slow")
    b.link.send("a", b"quick")
    a.wait(lambda: len(a.heard()) == 1)
    assert len(b.heard()) == 1


def test_connections_that_are_dropped_are_made_again(inproc_fleet):
    a, b = inproc_fleet.pair()
    for round in range(3):
        inproc_fleet.mesh.drop("a", "b")
        for ear, other in ((a, "b"), (b, "a")):
            ear.wait(
                lambda ear=ear, other=other, round=round: (
                    ear.kinds(other) == [PeerUp, PeerDown] * (round + 1) + [PeerUp]
                )
            )
        say_all(a.link, "b", [b"%d" % round])
        b.wait(lambda round=round: b.heads()[-1:] == [b"%d" % round])


# -- nodes that die and freeze --------------------------------------------------------------------


def test_a_killed_link_says_no_goodbye_and_its_name_is_free(inproc_fleet):
    a, b = inproc_fleet.pair()
    inproc_fleet.mesh.kill("b")
    a.wait(lambda: a.kinds("b") == [PeerUp, PeerDown])
    assert b.kinds("a") == [PeerUp]
    again = inproc_fleet.join("b")
    a.wait(lambda: a.link.peers() == {"b": again.link.incarnation})


def test_a_frozen_link_is_gone_until_it_thaws(inproc_fleet):
    a, b = inproc_fleet.pair()
    inproc_fleet.mesh.freeze("b")
    a.wait(lambda: a.link.peers() == {})
    inproc_fleet.mesh.thaw("b")
    a.wait_for_peer("b")
    b.wait(lambda: b.kinds("a") == [PeerUp, PeerDown, PeerUp])
    say_all(a.link, "b", [b"welcome back"])
    b.wait(lambda: b.heads() == [b"welcome back"])


def test_a_frozen_link_loses_its_name_to_a_successor(inproc_fleet):
    a, b = inproc_fleet.pair()
    with pytest.raises(NameTakenError):
        inproc_fleet.make("b").start(lambda event: True)
    inproc_fleet.mesh.freeze("b")
    successor = inproc_fleet.join("b")
    a.wait(lambda: a.link.peers() == {"b": successor.link.incarnation})
    say_all(a.link, "b", [b"hello"])
    successor.wait(lambda: successor.heads() == [b"hello"])
    inproc_fleet.mesh.thaw("b")
    b.wait(lambda: b.events[-1:] == [NameLost("b", successor.link.incarnation)])
    assert not b.link.send("a", b"")
    assert a.link.peers() == {"b": successor.link.incarnation}
    assert a.kinds("b") == [PeerUp, PeerDown, PeerUp]


def test_a_frozen_peer_with_a_full_socket_holds_up_nobody_and_is_noticed(inproc_fleet):
    names = ["b", "c", "d"]
    a, *others = inproc_fleet.group("a", *names)
    frozen = inproc_fleet.join("frozen")
    a.wait_for_peer("frozen")
    frozen.wait_for_peer("a")
    inproc_fleet.mesh.freeze("frozen")
    sent = 0
    while a.link.send("frozen", b"", bytes(1 << 20), work=True):
        sent += 1
    assert a.link.waiting("frozen") > 0 or "frozen" not in a.link.peers()
    for number in range(100):
        for name in names:
            assert a.link.send(name, b"%d" % number)
    for other in others:
        other.wait(lambda other=other: len(other.heard()) == 100)
    a.wait(lambda: a.kinds("frozen") == [PeerUp, PeerDown])
    assert not a.link.send("frozen", b"")
    for name in names:
        assert a.kinds(name) == [PeerUp]


def test_a_frozen_peer_whose_sign_stays_is_noticed_too(inproc_fleet, hasty):
    """Its mesh goes on by itself, as that of a process does in which Python stands still."""
    a, b = inproc_fleet.pair()
    (member,) = inproc_fleet.mesh._named("b")
    inproc_fleet.mesh._ether.freeze(member, True)
    a.wait(lambda: a.kinds("b")[:2] == [PeerUp, PeerDown])
    inproc_fleet.mesh._ether.freeze(member, False)
    a.wait_for_peer("b")
    b.wait_for_peer("a")
    assert b.kinds("a")[:2] == [PeerUp, PeerDown]


def test_both_ends_of_a_cut_that_close_leave_nothing_behind(inproc_fleet):
    a, b = inproc_fleet.pair()
    inproc_fleet.mesh.block("a", "b")
    inproc_fleet.mesh.block("b", "a")
    inproc_fleet.mesh.cut("a", "b")
    a.link.close()
    b.link.close()
    a.wait(lambda: not any(t.name == "ether" for t in threading.enumerate()))


# -- the mesh is lost -----------------------------------------------------------------------------


def test_a_link_that_the_mesh_loses_keeps_its_peers_and_finds_new_ones_by_hearsay(inproc_fleet):
    a, b = inproc_fleet.pair()
    inproc_fleet.mesh.hide("a")
    c = inproc_fleet.join("c")
    c.wait_for_peer("b")
    c.wait_for_peer("a")  # b tells of each to the other
    say_all(c.link, "a", [b"hello"])
    a.wait(lambda: a.heads() == [b"hello"])
    assert sorted(a.link._peers.unseen()) == ["b", "c"]
    inproc_fleet.mesh.hide("a", False)
    a.wait(lambda: a.link._peers.unseen() == [])
    for ear, other in [(a, "b"), (b, "a"), (a, "c"), (c, "a")]:
        assert ear.kinds(other) == [PeerUp]


def test_a_peer_that_dies_while_the_mesh_is_lost_is_noticed(inproc_fleet):
    a, _, c = inproc_fleet.group("a", "b", "c")
    inproc_fleet.mesh.hide("a")
    inproc_fleet.mesh.freeze("b")
    inproc_fleet.mesh.kill("c")
    a.wait(lambda: a.kinds("b") == a.kinds("c") == [PeerUp, PeerDown])
    assert a.link.peers() == {}
    assert c.kinds("a") == [PeerUp]


# -- all at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_in_the_end_all_are_in_touch_whatever_happened(inproc_fleet, hasty, seed):
    """Real threads and real time, where the story of :mod:`tests.mesh.test_peers` has neither."""
    chance = np.random.default_rng(seed)
    names = ["a", "b", "c", "d"]
    ears: dict[str, Ear] = {ear.link.name: ear for ear in inproc_fleet.group(*names)}
    mesh = inproc_fleet.mesh
    stop = threading.Event()

    def chatter() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for ear in list(ears.values()):
                for name in names:
                    ear.link.send(name, b"%d" % number, bytes(number % 7 * 10_000), work=True)
            time.sleep(0.002)

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        for _ in range(60):
            x, y = map(str, chance.choice(names, 2, replace=False))
            match chance.integers(9):
                case 0:
                    mesh.drop(x, y)
                case 1:
                    mesh.cut(x, y, both=bool(chance.integers(2)))
                case 2:
                    mesh.heal(x, y)
                case 3:
                    mesh.block(x, y)
                case 4:
                    mesh.hide(x)
                case 5:
                    mesh.hide(x, False)
                case 6:
                    mesh.freeze(x)
                case 7:
                    mesh.thaw(x)
                case 8:
                    mesh.kill(x)
                    ears[x] = inproc_fleet.join(x)
            time.sleep(chance.exponential(0.05))
    finally:
        stop.set()
        thread.join()
    for x in names:
        mesh.thaw(x)
        mesh.hide(x, False)
        for y in names:
            mesh.block(x, y, False)
            mesh.heal(x, y)
    lives = {name: ear.link.incarnation for name, ear in ears.items()}
    for ear in ears.values():
        others = {name: life for name, life in lives.items() if name != ear.link.name}
        ear.wait(lambda ear=ear, others=others: ear.link.peers() == others)
        ear.wait(lambda e=ear, others=others: all(e.kinds(o)[-1:] == [PeerUp] for o in others))
    seen = {name: len(ear.seen()) for name, ear in ears.items()}
    for name, ear in ears.items():
        for other in set(names) - {name}:
            say_all(ear.link, other, [b"the last word"])
    for name, ear in ears.items():
        for other in set(names) - {name}:
            ear.wait(lambda e=ear, o=other: e.heads(o)[-1:] == [b"the last word"])
        assert len(ear.seen()) == seen[name], "it does not stay so"
