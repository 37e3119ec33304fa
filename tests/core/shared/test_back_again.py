"""Who comes back, in what life, and whom nobody remembers."""

import math

from shoal.core.messages import DeviceInfo
from shoal.core.shared.membership import MAX_STRANGERS, Membership, State
from shoal.core.shared.timers import soonest


def test_who_comes_back_is_not_forgotten_with_those_that_are_gone() -> None:
    members = Membership(grace_s=1.0)
    for name in ("back", "away"):
        members.appeared(name, "1", 0.0)
        members.vanished(name, "1", 0.0)
    assert members.expire(1.0) == ["back", "away"]
    members.appeared("back", "1", 2.0)
    for number in range(MAX_STRANGERS):
        members.appeared(f"n{number}", "1", 2.0)
        members.vanished(f"n{number}", "1", 2.0)
    assert len(members.expire(3.0)) == MAX_STRANGERS
    assert members.alive("back")
    assert members.get("away") is None
    assert len(members.items()) == MAX_STRANGERS + 1


def test_one_that_is_lost_again_has_its_whole_grace_again() -> None:
    members = Membership(grace_s=5.0)
    members.appeared("a", "1", 0.0)
    members.vanished("a", "1", 1.0)
    members.appeared("b", "1", 1.0)
    members.vanished("b", "1", 2.0)
    members.appeared("a", "1", 3.0)
    members.vanished("a", "1", 4.0)
    assert members.next_expiry() == 7.0
    assert members.expire(math.nextafter(7.0, 0.0)) == []
    assert members.expire(8.0) == ["b"]
    assert members.expire(9.0) == ["a"]


def test_a_peer_is_expected_back_till_its_grace_is_over_and_not_before_it_was_seen() -> None:
    members = Membership(grace_s=5.0)
    assert members.gone("a")
    assert (members.life("a"), members.alive("a")) == ("", False)
    members.appeared("a", "1", 0.0)
    assert not members.gone("a")
    members.vanished("a", "1", 1.0)
    assert not members.gone("a")
    members.expire(6.0)
    assert members.gone("a")
    assert members.life("a") == "1", "it is still known who it was"
    members.appeared("a", "1", 7.0)
    assert not members.gone("a")


def test_what_a_life_has_loaded_and_said_is_not_that_of_the_next() -> None:
    members = Membership()
    members.holding("a", ("p",))
    assert members.get("a") is None
    members.appeared("a", "1", 0.0)
    members.hello(DeviceInfo("a", "1", draining=True))
    members.holding("a", ("p", "q"))
    peer = members.get("a")
    assert peer is not None
    assert (peer.parts, peer.since, peer.state) == ({"p", "q"}, 0.0, State.ALIVE)
    assert not members.former("a", "")
    assert not members.former("a", "1")
    members.appeared("a", "2", 3.0)
    peer = members.get("a")
    assert peer is not None
    assert (peer.parts, peer.since, peer.info) == (frozenset(), 3.0, None)
    assert members.former("a", "1")
    assert not members.former("a", "2")
    assert not members.former("b", "1")
    assert not members.draining("a")


def test_what_is_late_may_be_of_any_life_that_was_seen() -> None:
    members = Membership()
    for life in "1231":
        members.appeared("a", life, 0.0)
    assert [members.former("a", life) for life in "123"] == [False, True, True]


def test_since_when_a_peer_is_there_or_not_is_known() -> None:
    members = Membership(grace_s=5.0)
    members.appeared("a", "1", 1.0)
    seen = []
    for step in (
        lambda: members.appeared("a", "1", 2.0),
        lambda: members.vanished("a", "1", 3.0),
        lambda: members.vanished("a", "1", 4.0),
        lambda: members.expire(8.0),
        lambda: members.appeared("a", "1", 9.0),
    ):
        step()
        peer = members.get("a")
        assert peer is not None
        seen.append((peer.state, peer.since))
    assert seen == [
        (State.ALIVE, 1.0),
        (State.SUSPECT, 3.0),
        (State.SUSPECT, 3.0),
        (State.GONE, 8.0),
        (State.ALIVE, 9.0),
    ]


def test_each_change_of_who_is_there_is_a_new_version() -> None:
    members = Membership()
    members.appeared("a", "1", 0.0)
    first = members.version
    members.vanished("a", "0", 0.0)
    assert members.version == first, "old news"
    members.vanished("a", "1", 0.0)
    assert members.version > first
    second = members.version
    members.appeared("a", "1", 0.0)
    assert members.version > second


def test_the_latest_strangers_that_said_hello_are_remembered() -> None:
    members = Membership()
    for number in range(MAX_STRANGERS + 1):
        members.hello(DeviceInfo(f"n{number}", "1"))
    for number in (0, 1, MAX_STRANGERS):
        members.appeared(f"n{number}", "1", 0.0)
    known = [members.get(f"n{number}") for number in (0, 1, MAX_STRANGERS)]
    assert [peer is not None and peer.info is not None for peer in known] == [False, True, True]
    members.vanished("n1", "1", 0.0)
    members.appeared("n1", "2", 0.0)
    peer = members.get("n1")
    assert peer is not None
    assert peer.info is None, "what was said before is said once"


def test_the_earliest_of_times_is_the_soonest() -> None:
    assert soonest(None, 3.0, 1.0, None, 2.0) == 1.0
    assert soonest(None) == soonest() == math.inf
