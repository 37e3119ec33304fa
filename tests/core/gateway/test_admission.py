"""What waits begins in the order of its turn, as the policy admits it; who is turned away hears
when to come back."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from tests.core.alone import LoneGateway, of, sent
from tests.core.toys import POLICIES, Preferred, Story, one, plan, playbook

from shoal.core.actions import Reject
from shoal.core.events import Submitted, Tick, Vanished
from shoal.core.gateway.admission import LEAST_RETRY_S, LEAST_WINDOW, MOST_RETRY_S, Admission
from shoal.core.messages import Task, Why
from shoal.core.policy import Limit, View
from shoal.plan.plan import Playbook
from shoal.sim.engine import Symbols

PLAN = plan("any", one(0, 12, "a"))


def begun(gateway: LoneGateway, actions: list[object]) -> list[int]:
    return [task.number for _, task in sent(Task, actions)]


def test_of_those_that_wait_the_higher_priority_begins_first_then_the_nearer_deadline() -> None:
    gateway = LoneGateway(playbook(PLAN), "a", window_per_device=1)
    tasks = [sent(Task, gateway.ask(number))[0][1] for number in range(LEAST_WINDOW)]
    for number, budget_ms, priority in ((10, 900, 0), (11, 500, 0), (12, 900, 5), (13, 100, -5)):
        assert begun(gateway, gateway.take(Submitted(number, "x", budget_ms, 1, priority))) == []
    order = [begun(gateway, gateway.answer("a", task)) for task in tasks]
    assert order == [[12], [11], [10], [13]]


def test_who_needs_a_device_that_is_away_for_its_size_holds_up_nobody_else() -> None:
    gateway = LoneGateway(playbook(PLAN, plan("other", one(0, 12, "b"))), "ab")
    gateway.take(Vanished("b", "b1"))
    ((_, large),) = sent(Task, gateway.take(Submitted(0, "x", 9000.0, 64, priority=9)))
    gateway.refuse("a", large, Why.TOO_LARGE)
    gateway.now = 0.1
    gateway.take(Tick())
    assert begun(gateway, gateway.ask(1)) == [1]
    gateway.now = 0.2
    gateway.appears("b", "b2")
    gateway.installed("b", gateway.core.playbooks.all()[0].playbook)
    gateway.now = 0.3
    assert begun(gateway, gateway.take(Tick())) == [0]


def test_a_policy_may_say_when_and_how_much_begins() -> None:
    engine = Symbols(run_ms=lambda *_: 10.0)
    story = Story("a", playbook(PLAN, policy="admitting"), engine=engine)
    story.ask(5)
    story.answers()
    ends = [reply.at for reply in story.replies()]
    assert all(b - a == pytest.approx(0.2, abs=0.02) for a, b in pairwise(ends))


def test_where_it_raises_as_much_begins_as_without_it() -> None:
    gateway = LoneGateway(playbook(PLAN, policy="admits nothing"), "a")
    assert [begun(gateway, gateway.ask(number)) for number in range(6)] == [
        [0],
        [1],
        [2],
        [3],
        [],
        [],
    ]


class Admits(Preferred):
    """Sets a limit, whatever that is, until it is told otherwise."""

    def __init__(self, limit: Any) -> None:
        super().__init__()
        self.limit = limit

    def admit(
        self, playbook: Playbook, view: View, under_way: int, memory: Any
    ) -> tuple[Limit, Any]:
        return self.limit, None


@pytest.mark.parametrize("limit", [Limit(0), Limit(-1), Limit(4, math.inf)])
def test_who_lets_nothing_begin_is_asked_again(
    limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Admits(limit)
    monkeypatch.setitem(POLICIES, "admits", policy)
    gateway = LoneGateway(playbook(PLAN, policy="admits"), "a")
    assert begun(gateway, gateway.ask(0, budget_ms=9000.0)) == []
    policy.limit = Limit(1)
    gateway.now = gateway.core.wake_at
    assert gateway.now == pytest.approx(0.1)
    assert begun(gateway, gateway.take(Tick())) == [0]


@pytest.mark.parametrize("limit", [None, Limit(4, math.nan), Limit("x"), Limit(math.nan)])  # type: ignore[arg-type]
def test_a_limit_that_is_none_does_not_stand(limit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "admits", Admits(limit))
    gateway = LoneGateway(playbook(PLAN, policy="admits"), "a")
    assert begun(gateway, gateway.ask(0)) == [0]


def test_who_is_turned_away_hears_when_a_quarter_of_what_waits_is_over() -> None:
    gateway = LoneGateway(playbook(PLAN), "a", max_pending=8)
    tasks = [task for number in range(8) for _, task in sent(Task, gateway.ask(number))]
    for task in tasks:
        gateway.now += 0.5
        tasks += [again for _, again in sent(Task, gateway.answer("a", task))]
    for number in range(8, 16):
        gateway.ask(number, budget_ms=60_000)
    (reject,) = of(Reject, gateway.ask(16))
    assert reject.kind == "overloaded"
    assert reject.retry_after_s == pytest.approx(0.5 * 8 / 4, rel=0.05)
    assert "some 1.0 s" in reject.text


def busy() -> LoneGateway:
    """A gateway that was answered something every half second, and has twelve requests."""
    gateway = LoneGateway(playbook(PLAN), "a")
    tasks = [task for number in range(8) for _, task in sent(Task, gateway.ask(number))]
    for task in tasks:
        gateway.now += 0.5
        tasks += [again for _, again in sent(Task, gateway.answer("a", task))]
    for number in range(8, 20):
        gateway.ask(number, budget_ms=60_000)
    return gateway


def test_who_could_not_be_answered_in_time_is_refused_at_once() -> None:
    gateway = busy()
    pending = len(gateway.core.requests)
    assert pending == 12 > LEAST_WINDOW
    needs_ms = 500.0 * (pending + 1)
    (reject,) = of(Reject, gateway.take(Submitted(1000, "x", needs_ms, 1, priority=-1)))
    assert reject.kind == "overloaded"
    assert reject.retry_after_s
    assert "come before it" in reject.text
    assert len(gateway.core.requests) == pending
    assert of(Reject, gateway.take(Submitted(1001, "x", 2 * needs_ms, 1, priority=-1))) == []


def test_only_those_count_that_come_before_it() -> None:
    gateway = busy()
    needs_ms = 500.0 * (len(gateway.core.requests) + 1)
    assert of(Reject, gateway.take(Submitted(1000, "x", needs_ms, 1))) == [], "its time is shorter"


def test_how_seldom_clients_ask_does_not_count_as_the_pace_of_devices() -> None:
    gateway = LoneGateway(playbook(PLAN), "a")
    for number in range(5):
        ((_, task),) = sent(Task, gateway.ask(number))
        gateway.now += 10.0
        gateway.answer("a", task)
    assert all(of(Reject, gateway.ask(number, budget_ms=1000)) == [] for number in range(5, 40))


def test_a_pause_of_all_devices_is_not_their_pace() -> None:
    """While nothing could be answered others waited."""
    admission = Admission(None, None, None, None, 3)  # type: ignore[arg-type]  # it asks none
    for k in range(10):
        admission.answered(0.5 * k, waiting=True)
    admission.answered(60.0, waiting=True)
    assert admission.in_time(9, 1.5 * 0.5 * 10 / 0.7)
    admission.stalled()
    pace_s = admission.retry_after_s(4)
    admission.answered(90.0, waiting=True)
    assert admission.retry_after_s(4) == pace_s
    admission.answered(90.0, waiting=True)
    assert admission.retry_after_s(4) < pace_s


def test_who_keeps_up_may_have_become_quicker() -> None:
    admission = Admission(None, None, None, None, 3)  # type: ignore[arg-type]  # it asks none
    for k in range(10):
        admission.answered(0.5 * k, waiting=True)
    assert not admission.in_time(9, 5.0)
    for k in range(100):
        admission.answered(100.0 + k, waiting=False)
    assert admission.in_time(9, 5.0)


def test_how_long_nobody_was_there_does_not_count_as_the_pace_of_devices() -> None:
    """Else much that could be answered would be refused when they are back."""
    story = Story("a", playbook(PLAN), engine=Symbols(run_ms=lambda *_: 10.0))
    story.ask(12, 600_000.0)
    story.world.run(0.015)
    story.world.kill("a")
    story.world.run(60.0)
    story.world.restart("a")
    story.end()
    story.ask(20, 1000.0)
    story.answers()


def test_what_is_not_known_yet_is_a_moment() -> None:
    gateway = LoneGateway(playbook(PLAN), "a", max_pending=1)
    gateway.ask(0)
    (reject,) = of(Reject, gateway.ask(1))
    assert reject.retry_after_s == LEAST_RETRY_S
    assert LEAST_RETRY_S < MOST_RETRY_S
