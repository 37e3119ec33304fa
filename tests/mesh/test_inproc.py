"""The faults that the in-process mesh makes on demand."""

import time

import pytest

from shoal.errors import NameTakenError
from shoal.mesh.frames import Data, decode
from shoal.mesh.link import NameLost, PeerDown, PeerUp


def kinds(events):
    return [type(event) for event in events]


def test_a_cut_is_seen_by_both_sides_and_healed(inproc_fleet):
    a, b = inproc_fleet.pair()
    inproc_fleet.mesh.cut("a", "b")
    a.wait(lambda: a.link.peers() == {})
    b.wait(lambda: b.link.peers() == {})
    assert not a.link.send("b", b"lost")
    inproc_fleet.mesh.heal("a", "b")
    a.wait_for_peer("b")
    b.wait_for_peer("a")
    assert a.link.send("b", b"found")
    b.wait(lambda: [message.head for message in b.heard()] == [b"found"])
    assert kinds(a.seen("b")) == kinds(b.seen("a")) == [PeerUp, PeerDown, PeerUp]


def test_a_break_that_only_one_side_sees_is_told_to_the_other(inproc_fleet):
    a, b = inproc_fleet.pair(settles=False)
    b.room = 0
    a.link.send("b", b"before the break")
    inproc_fleet.mesh.cut("a", "b", both=False)  # b no longer sees a, a still sees b
    b.wait(lambda: kinds(b.seen("a")) == [PeerUp, PeerDown])
    inproc_fleet.mesh.heal("a", "b")
    b.wait_for_peer("a")
    b.room = None
    assert b.link.send("a", b"hello again")
    a.wait(lambda: kinds(a.seen("b")) == [PeerUp, PeerDown, PeerUp])
    a.link.send("b", b"after the break")
    b.wait(lambda: [message.head for message in b.heard()] == [b"after the break"])


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


def test_lost_frames_are_sent_again_and_order_is_kept(inproc_fleet):
    a, b = inproc_fleet.pair()
    lost = []

    def loses(source, target, attachment):
        frame = decode(attachment, 0) if source == "a" else None
        if isinstance(frame, Data) and frame.seq in (2, 5) and frame.seq not in lost:
            lost.append(frame.seq)
            return True
        return False

    inproc_fleet.mesh.lose(loses)
    for number in range(8):
        a.link.send("b", b"%d" % number)
    b.wait(lambda: len(b.heard()) == 8)
    assert [message.head for message in b.heard()] == [b"%d" % number for number in range(8)]
    assert lost == [2, 5]
    assert a.link.stats().resent >= 2


def test_a_killed_link_says_no_goodbye_and_its_name_is_free(inproc_fleet):
    a, b = inproc_fleet.pair()
    inproc_fleet.mesh.kill("b")
    a.wait(lambda: kinds(a.seen("b")) == [PeerUp, PeerDown])
    assert kinds(b.seen("a")) == [PeerUp]
    again = inproc_fleet.join("b")
    a.wait(lambda: a.link.peers() == {"b": again.link.incarnation})


def test_a_frozen_link_is_gone_until_it_thaws(inproc_fleet):
    a, b = inproc_fleet.pair()
    inproc_fleet.mesh.freeze("b")
    a.wait(lambda: a.link.peers() == {})
    inproc_fleet.mesh.thaw("b")
    a.wait_for_peer("b")
    b.wait(lambda: kinds(b.seen("a")) == [PeerUp, PeerDown, PeerUp])
    a.link.send("b", b"welcome back")
    b.wait(lambda: len(b.heard()) == 1)


def test_a_frozen_link_loses_its_name_to_a_successor(inproc_fleet):
    a, b = inproc_fleet.pair()
    with pytest.raises(NameTakenError):
        inproc_fleet.make("b").start(lambda event: True)
    inproc_fleet.mesh.freeze("b")
    successor = inproc_fleet.join("b")
    a.wait(lambda: a.link.peers() == {"b": successor.link.incarnation})
    inproc_fleet.mesh.thaw("b")
    b.wait(lambda: b.events[-1:] == [NameLost("b", successor.link.incarnation)])
    assert not b.link.send("a", b"")
    assert a.link.peers() == {"b": successor.link.incarnation}
