"""What a policy wants to wait with is held, and passed on when the time has come or something has
changed; what a policy sets for a request reaches those who work for it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.core.alone import LoneWorker, of, sent
from tests.core.toys import POLICIES, Free, Story, leaving, one, plan, playbook

from shoal.core.actions import Drained, Run
from shoal.core.events import Appeared, Drain, Unsent, Vanished
from shoal.core.messages import Busy, Forget, Install, Load, Moved, Refused, Task, Uninstall, Why
from shoal.core.policy import Hold, Policy, View
from shoal.plan.plan import Plan, Playbook
from shoal.sim.engine import Symbols, Token

FREE = playbook(plan("free", one(0, 6, "a"), one(6, 12, "bc")), policy="patient")
BUSY = Busy(Load(running=1, run_ms=10.0))


def patient(**settings: int) -> LoneWorker:
    """A worker that has made something for which both next devices are busy."""
    worker = LoneWorker(FREE, "bc", **settings)
    worker.hear("b", BUSY)
    worker.hear("c", BUSY)
    return worker


def made(worker: LoneWorker, number: int = 0, budget_ms: float = 9000.0) -> list[object]:
    (run,) = of(Run, worker.task(number, "free", route=((), ()), budget_ms=budget_ms, free=True))
    return worker.ran(run)


def test_what_is_held_costs_no_attempt_and_is_told_of() -> None:
    worker = patient()
    actions = made(worker)
    assert sent(Task, actions) == sent(Refused, actions) == []
    assert worker.core.load.held == 1
    assert worker.core.wake_at == 0.5


def test_it_is_passed_on_when_something_has_changed() -> None:
    worker = patient()
    made(worker)
    worker.now = 0.2
    actions = worker.hear("c", Busy(Load()))
    ((to, task),) = sent(Task, actions)
    assert (to, task.budget_ms) == ("c", 8800.0)
    assert [to for to, _ in sent(Moved, actions)] == ["g"]
    assert worker.core.load.held == 0


def test_it_is_asked_again_when_the_time_has_come() -> None:
    worker = patient()
    made(worker)
    worker.now = 0.5
    worker.take_tick()
    assert worker.core._onward._memories == {"book": 2}
    assert worker.core.outgoing.next() == 1.0


def test_one_step_that_is_still_held_is_asked_about_once() -> None:
    worker = patient()
    for number in range(5):
        made(worker, number)
    worker.hear("b", BUSY)
    assert worker.core._onward._memories == {"book": 10}
    assert [to for to, _ in sent(Task, worker.hear("b", Busy(Load())))] == ["b"], "one at a time"


def test_nobody_can_is_not_the_same_as_not_yet() -> None:
    worker = patient()
    made(worker)
    worker.take(Vanished("b", "b1"))
    actions = worker.take(Vanished("c", "c1"))
    ((_, refused),) = sent(Refused, actions)
    assert refused.why is Why.PEER_ABSENT


def test_of_those_that_are_still_held_the_oldest_comes_first() -> None:
    worker = patient()
    for number in range(3):
        made(worker, number)
    for _ in range(2):
        worker.hear("b", BUSY)
    orders = [sent(Task, worker.hear("b", Busy(Load()))) for _ in range(3)]
    assert [task.number for ((_, task),) in orders] == [0, 1, 2]


def test_what_holds_for_one_of_a_step_holds_for_all_of_it_till_then() -> None:
    worker = patient()
    for number in range(5):
        made(worker, number)
    worker.now = 0.6
    worker.take_tick()
    assert worker.core._onward._memories == {"book": 10}
    assert worker.core.wake_at == pytest.approx(1.1)


def test_what_is_held_is_refused_once_when_its_playbook_goes() -> None:
    worker = patient()
    made(worker)
    worker.hear("g", Uninstall("book"))
    worker.now = 0.5
    ((_, refused),) = sent(Refused, worker.take_tick())
    assert refused.why is Why.UNKNOWN_PLAN
    assert sent(Refused, worker.take_tick()) == []
    assert worker.core.load.held == 0


@pytest.mark.parametrize("how", ["uninstalled", "replaced", "gateway gone"])
def test_a_policy_remembers_nothing_of_a_playbook_that_went(how: str) -> None:
    worker = patient()
    made(worker)
    assert worker.core._onward._memories == {"book": 1}
    if how == "uninstalled":
        worker.hear("g", Uninstall("book"))
    elif how == "replaced":
        worker.hear("g", Install(playbook(*FREE.plans, id="newer")))
    else:
        worker.take(Appeared("g", "g2"))
    assert worker.core._onward._memories == {}


class Until(Free):
    """Holds all until a time."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self._until = until

    def forward(
        self, playbook: Playbook, plan: Plan, stage: int, view: View, memory: Any
    ) -> tuple[str | Hold | None, Any]:
        return Hold(self._until), memory


@pytest.mark.parametrize("until", [-1.0, 0.0, -math.inf, math.nan])
def test_a_hold_that_is_over_already_keeps_no_node_busy(
    until: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy: Policy = Until(until)
    monkeypatch.setitem(POLICIES, "until", policy)
    worker = LoneWorker(playbook(*FREE.plans, policy="until"))
    made(worker)
    for _ in range(3):
        assert worker.core.wake_at > worker.now
        worker.now = worker.core.wake_at
        worker.take_tick()
    assert worker.core.load.held == 1


def test_who_starts_anew_is_not_held_to_be_busy_with_what_it_was_given() -> None:
    worker = LoneWorker(FREE, "b")
    assert [to for to, _ in sent(Task, made(worker))] == ["b"]
    worker.take(Appeared("b", "b2"))
    assert [to for to, _ in sent(Task, made(worker, 1))] == ["b"]


def test_who_was_not_given_it_is_not_held_to_be_busy_with_it() -> None:
    worker = LoneWorker(FREE, "b")
    ((to, task),) = sent(Task, made(worker))
    worker.take(Unsent(to, task, full=True))
    assert [to for to, _ in sent(Task, made(worker, 1))] == ["b"]


def test_what_is_held_goes_with_its_request_and_its_deadline() -> None:
    worker = patient()
    made(worker, 0, budget_ms=100.0)
    made(worker, 1)
    made(worker, 2)
    worker.hear("g", Forget("g", "g1", (1,)))
    assert worker.core.load.held == 2
    worker.now = 0.2
    worker.take_tick()
    assert worker.core.load.held == 1
    worker.take(Vanished("g", "g1"))
    worker.now = 9.0
    worker.take_tick()
    assert worker.core.load.held == 0


def test_no_more_is_held_than_there_is_room_for() -> None:
    worker = patient(inbox=2)
    made(worker, 0)
    made(worker, 1)
    ((to, refused),) = sent(Refused, made(worker, 2))
    assert (to, refused.why) == ("g", Why.OVERLOADED)


def test_a_worker_that_drains_passes_on_what_it_holds_first() -> None:
    worker = patient()
    made(worker)
    assert of(Drained, worker.take(Drain())) == []
    assert of(Drained, worker.hear("b", Busy(Load()))) == [Drained()]


def test_a_pipeline_that_waits_for_its_last_device_answers_all() -> None:
    story = Story("abc", FREE, engine=Symbols(run_ms=lambda d, *_: 1.0 if d == "a" else 20.0))
    story.ask(20)
    answers = story.answers()
    assert all(answer.attempts == 1 for answer in answers)
    assert {answer.trace[1].device for answer in answers} == {"b", "c"}
    story.world.run(5.0)
    assert story.left_behind() == {}


def test_a_gateway_that_shall_wait_begins_later() -> None:
    book = playbook(plan("free", one(0, 12, "bc")), policy="patient")
    story = Story("bc", book)
    story.ask(6)
    answers = story.answers()
    assert [answer.attempts for answer in answers] == [1] * 6


def test_thresholds_of_a_request_stand_for_those_of_its_plan() -> None:
    book = playbook(plan("exits", leaving(one(0, 6, "a"), 0.5), one(6, 12, "b")), policy="sure")
    story = Story("ab", book, engine=Symbols(confidence=lambda *_: 0.9))
    story.ask(1)
    assert not story.answers()[0].left_early, "its threshold was set to more than can be"
    story.world.submit("g", Token(("input", "x1"), 1000), 9000.0, images=2)
    story.world.run(1.0)
    ((reply,),) = [replies for ticket, replies in story.world.replies.items() if ticket.number == 1]
    assert reply.what.left_early
    assert reply.what.accuracy == 1.0, "it would have left by the plan too"


def test_of_what_leaves_less_sure_than_planned_no_accuracy_is_promised() -> None:
    book = playbook(plan("exits", leaving(one(0, 6, "a"), 0.5), one(6, 12, "b")), policy="sure")
    story = Story("ab", book, engine=Symbols(confidence=lambda *_: 0.3))
    ticket = story.world.submit("g", Token(("input", "x0"), 1000), 9000.0, images=2)
    story.world.run(1.0)
    ((reply,)) = story.world.replies[ticket]
    assert (reply.what.left_early, reply.what.accuracy) == (True, None)
