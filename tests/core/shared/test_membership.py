"""Membership: who is there, suspect, gone and back, and what they said of themselves."""

from shoal.core.messages import DeviceInfo
from shoal.core.shared.membership import MAX_STRANGERS, Membership, State


def state(members: Membership, name: str) -> State:
    peer = members.get(name)
    assert peer is not None
    return peer.state


def test_a_silent_peer_is_suspect_at_once_and_gone_after_the_grace() -> None:
    members = Membership(grace_s=5.0)
    assert members.appeared("a", "a1", 0.0)
    assert members.alive("a")
    assert members.vanished("a", "a1", 2.0)
    assert not members.alive("a")
    assert members.next_expiry() == 7.0
    assert members.expire(6.9) == []
    assert state(members, "a") is State.SUSPECT
    assert members.expire(7.0) == ["a"]
    assert state(members, "a") is State.GONE
    assert members.next_expiry() is None


def test_a_peer_that_thaws_is_the_same_one_and_a_restart_is_a_new_one() -> None:
    members = Membership()
    members.appeared("a", "a1", 0.0)
    members.vanished("a", "a1", 1.0)
    assert not members.appeared("a", "a1", 2.0)
    assert members.alive("a")
    assert members.expire(100.0) == [], "its grace is over with its silence"
    assert members.appeared("a", "a2", 3.0)
    assert members.get("a").incarnation == "a2"  # type: ignore[union-attr]


def test_the_loss_of_an_earlier_life_is_old_news() -> None:
    members = Membership()
    members.appeared("a", "a1", 0.0)
    members.appeared("a", "a2", 1.0)
    assert not members.vanished("a", "a1", 2.0)
    assert members.alive("a")
    assert members.vanished("a", "a2", 3.0)
    assert not members.vanished("a", "a2", 4.0), "it is lost once"
    assert not members.vanished("nobody", "n1", 4.0)


def test_a_hello_that_outruns_the_news_of_its_sender_counts_when_it_comes() -> None:
    members = Membership()
    info = DeviceInfo("a", "a1", cores=4)
    assert not members.hello(info)
    assert members.get("a") is None
    members.appeared("a", "a1", 0.0)
    assert members.get("a").info == info  # type: ignore[union-attr]


def test_a_hello_of_another_life_is_not_taken_for_this_one() -> None:
    members = Membership()
    members.hello(DeviceInfo("a", "a1"))
    members.appeared("a", "a2", 0.0)
    assert members.get("a").info is None  # type: ignore[union-attr]


def test_who_drains_says_so() -> None:
    members = Membership()
    members.appeared("a", "a1", 0.0)
    assert not members.draining("a")
    assert members.hello(DeviceInfo("a", "a1", draining=True))
    assert members.draining("a")
    assert not members.draining("nobody")


def test_peers_that_are_gone_and_strangers_are_remembered_up_to_a_bound() -> None:
    members = Membership(grace_s=1.0)
    for k in range(2 * MAX_STRANGERS):
        members.appeared(f"n{k}", "1", 0.0)
        members.vanished(f"n{k}", "1", 0.0)
        members.hello(DeviceInfo(f"stranger{k}", "1"))
    assert len(members.expire(1.0)) == 2 * MAX_STRANGERS
    assert len(members.items()) == MAX_STRANGERS
    assert members.get("n0") is None
    members.appeared("stranger0", "1", 2.0)
    assert members.get("stranger0").info is None  # type: ignore[union-attr]
