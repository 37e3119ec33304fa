"""Settling: every device that may hold something of a request hears that it is over."""

from shoal.core.gateway.settling import Settling


def everybody(name: str) -> bool:
    return True


def test_devices_are_told_after_a_pause_and_once() -> None:
    settling = Settling()
    assert settling.next() is None
    settling.note("ab", 4, now=10.0)
    at = settling.next()
    assert at is not None
    assert at > 10.0
    settling.settled = 5
    assert settling.due(10.0, everybody) == []
    assert settling.due(at, everybody) == ["a", "b"]
    assert settling.next() is None
    assert len(settling) == 0


def test_a_device_is_told_again_until_all_that_it_holds_is_over() -> None:
    settling = Settling()
    settling.note("a", 4, now=0.0)
    settling.settled = 2
    assert settling.due(1.0, everybody) == ["a"]
    assert settling.due(2.0, everybody) == [], "nothing new to tell"
    settling.settled = 5
    assert settling.due(3.0, everybody) == ["a"]
    assert len(settling) == 0


def test_a_device_that_is_away_is_told_when_it_is_back() -> None:
    settling = Settling()
    settling.note("a", 4, now=0.0)
    settling.settled = 5
    assert settling.due(1.0, lambda name: False) == []
    assert settling.due(2.0, everybody) == ["a"]


def test_a_device_that_is_gone_holds_nothing() -> None:
    settling = Settling()
    settling.note("ab", 4, now=0.0)
    settling.settled = 5
    settling.forget("a")
    assert settling.due(1.0, everybody) == ["b"]
