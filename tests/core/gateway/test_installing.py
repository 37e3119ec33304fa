"""Devices are asked to install what is adopted, again where that was in vain, and not too often."""

from __future__ import annotations

import pytest
from tests.core.alone import LoneGateway, sent
from tests.core.toys import one, plan, playbook

from shoal.core.events import Adopt, Appeared, Tick, Vanished
from shoal.core.gateway.installing import (
    ASK_AGAIN_S,
    ASK_MOST_S,
    REFUSED_AGAIN_S,
    REFUSED_MOST_S,
)
from shoal.core.messages import Install, Refused, Task, Why

BOOK = playbook(plan("any", one(0, 12, "ab")))
NEWER = playbook(plan("any", one(0, 12, "ab")), id="newer")
PART = "0-12"


def asked(gateway: LoneGateway, seconds: float) -> list[float]:
    """When ``a`` is asked to install something within so many seconds, in which the gateway is
    woken when it wants to be."""
    times, end = [], gateway.now + seconds
    while gateway.core.wake_at <= end:
        gateway.now = max(gateway.now, gateway.core.wake_at)
        actions = gateway.take(Tick())
        times += [gateway.now for to, _ in sent(Install, actions) if to == "a"]
    gateway.now = end
    return times


def test_who_does_not_answer_is_asked_again_after_twice_as_long_each_time() -> None:
    gateway = LoneGateway(BOOK)
    gateway.take(Adopt(NEWER))
    times = asked(gateway, 70.0)
    waits = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    assert waits == pytest.approx([ASK_AGAIN_S, 2.0, 4.0, 8.0, 16.0, ASK_MOST_S])


def test_who_refuses_a_part_is_asked_again_after_its_time_and_then_twice_as_long() -> None:
    gateway = LoneGateway(BOOK)
    gateway.installed("a", BOOK, **{PART: "no memory"})
    waits = []
    for _ in range(8):
        before = gateway.now
        (at, *_) = asked(gateway, REFUSED_MOST_S)
        waits.append(at - before)
        gateway.now = at
        gateway.installed("a", BOOK, **{PART: "no memory"})
    assert waits == pytest.approx([REFUSED_AGAIN_S * 2**k for k in range(6)] + [REFUSED_MOST_S] * 2)


def test_who_takes_a_part_at_last_is_asked_no_more_and_begins_anew() -> None:
    gateway = LoneGateway(BOOK)
    for _ in range(3):
        gateway.installed("a", BOOK, **{PART: "no memory"})
    gateway.installed("a", BOOK)
    assert asked(gateway, 1000.0) == []
    gateway.installed("a", BOOK, **{PART: "no memory"})
    before = gateway.now
    assert asked(gateway, REFUSED_AGAIN_S) == [before + REFUSED_AGAIN_S]


def test_who_vanishes_is_not_asked_and_begins_anew_when_it_is_back() -> None:
    gateway = LoneGateway(BOOK)
    gateway.installed("a", BOOK, **{PART: "no memory"})
    gateway.take(Vanished("a", "a1"))
    assert asked(gateway, 100.0) == []
    actions = gateway.take(Appeared("a", "a1"))
    times = [gateway.now for to, _ in sent(Install, actions) if to == "a"]
    assert times + asked(gateway, ASK_AGAIN_S)


def test_a_refusal_of_a_playbook_that_was_let_go_asks_nobody() -> None:
    """It raised: the playbook was retired while a refusal of it was on its way."""
    gateway = LoneGateway(BOOK)
    ((device, task),) = sent(Task, gateway.ask(0))
    gateway.take(Adopt(NEWER))
    for name in "ab":
        gateway.installed(name, NEWER)
    gateway.answer(device, task)
    assert [book.id for book in gateway.core.playbooks.all()] == ["newer"]
    about = (task.gateway, task.incarnation, task.number, task.attempt)
    late = Refused(*about, 0, Why.PART_MISSING)
    assert sent(Install, gateway.hear(device, late)) == []


def test_one_that_was_away_is_waited_for_as_if_for_the_first_time() -> None:
    gateway = LoneGateway(BOOK)
    for _ in range(4):
        gateway.installed("a", BOOK, **{PART: "no memory"})
    gateway.take(Vanished("a", "a1"))
    gateway.now = 10.0
    gateway.appears("a", "a1")
    gateway.installed("a", BOOK, **{PART: "no memory"})
    assert asked(gateway, REFUSED_AGAIN_S) == [10.0 + REFUSED_AGAIN_S]
    gateway.take(Adopt(NEWER))
    asked(gateway, 20.0)
    gateway.take(Vanished("a", "a1"))
    gateway.take(Appeared("a", "a1"))
    back = gateway.now
    times = [round(at - back, 3) for at in asked(gateway, 3.5)]
    assert times.count(1.0) >= 1, "not after as long as it was waited for before"
