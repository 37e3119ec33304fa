import pytest

from shoal.core.messages import DeviceInfo, Load
from shoal.core.shared.membership import Membership
from shoal.core.worker.neighbours import Neighbours, Without


@pytest.fixture
def members() -> Membership:
    members = Membership()
    for name in "ab":
        members.appeared(name, f"{name}#1", 0.0)
    return members


def test_a_neighbour_is_as_busy_as_it_said_and_what_it_was_given_since(members: Membership) -> None:
    neighbours = Neighbours("me", members)
    neighbours.heard("a", Load(waiting=2, running=1, run_ms=10.0))
    neighbours.gave("a")
    assert neighbours["a"].outstanding == 4
    assert neighbours["a"].work_ms == 40.0
    neighbours.heard("a", Load())
    assert neighbours["a"].outstanding == 0


def test_those_who_are_away_or_draining_are_not_usable(members: Membership) -> None:
    neighbours = Neighbours("me", members)
    assert neighbours["a"].usable
    members.hello(DeviceInfo("a", "a#1", draining=True))
    members.vanished("b", "b#1", 1.0)
    assert not neighbours["a"].usable
    assert not neighbours["b"].usable


def test_one_sees_oneself(members: Membership) -> None:
    neighbours = Neighbours("me", members)
    neighbours.own = Load(waiting=3, run_ms=5.0)
    assert neighbours["me"].usable
    assert neighbours["me"].work_ms == 15.0
    assert sorted(neighbours) == ["a", "b", "me"]
    assert len(neighbours) == 3


def test_strangers_are_not_seen_and_leave_no_trace(members: Membership) -> None:
    neighbours = Neighbours("me", members)
    neighbours.heard("x", Load(waiting=1))
    neighbours.gave("x")
    with pytest.raises(KeyError):
        neighbours["x"]
    neighbours.heard("a", Load(waiting=1))
    neighbours.gone("a")
    assert neighbours["a"].outstanding == 0


def test_one_can_look_away_from_some(members: Membership) -> None:
    views = Without(Neighbours("me", members), ("a",))
    assert not views["a"].usable
    assert views["b"].usable
    assert sorted(views) == ["a", "b", "me"]
    assert len(views) == 3
