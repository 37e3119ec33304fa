"""A worker that may die of what it runs asks before, tells afterwards, and does nothing else."""

from typing import Any

import pytest
from tests.core.alone import LoneWorker, of, sent
from tests.core.toys import MIB, one, plan, playbook

from shoal.core.actions import Run
from shoal.core.events import Appeared, RunFailed, Tick, Unsent, Vanished
from shoal.core.messages import (
    Answered,
    Care,
    Forget,
    Itinerary,
    Leave,
    Refused,
    Resume,
    Task,
    Trial,
    Why,
)
from shoal.core.worker.trials import PATIENCE_S

BOOK = playbook(
    plan("line", one(0, 4, "a", batch=3), one(4, 12, "b")), plan("end", one(0, 12, "a"))
)


def suspect(worker: LoneWorker, number: int, plan: str = "line", **more: Any) -> list[Any]:
    return worker.task(number, plan, care=Care.ALONE, **more)


def leave(worker: LoneWorker, number: int, run: bool = True, attempt: int = 1) -> list[Any]:
    return worker.hear("g", Leave("g", "g1", number, attempt, 0, run))


def trials(actions: list[Any]) -> list[tuple[int, bool]]:
    return [(trial.number, trial.over) for _, trial in sent(Trial, actions)]


def test_it_asks_runs_tells_and_runs_nothing_else_meanwhile() -> None:
    worker = LoneWorker(BOOK)
    actions = suspect(worker, 0)
    assert trials(actions) == [(0, False)]
    assert of(Run, actions) == []
    assert worker.task(1, "line") == [], "not before it has run"
    (run,) = leave(worker, 0)
    assert [key.number for key in run.jobs] == [0], "with nothing beside it"
    actions = worker.ran(run)
    assert [task.number for _, task in sent(Task, actions)] == [0]
    assert trials(actions) == [(0, True)]
    assert of(Run, actions) == [], "not before its gateway knows"
    (run,) = leave(worker, 0)
    assert [key.number for key in run.jobs] == [1]


def test_what_runs_already_ends_before_also_where_two_may_run() -> None:
    worker = LoneWorker(BOOK, capacity=2)
    (first,) = worker.task(0, "end")
    assert suspect(worker, 1) == []
    assert worker.task(2, "end") == [], "it has its turn next"
    assert trials(worker.ran(first)) == [(1, False)]
    (run,) = leave(worker, 1)
    assert worker.task(3, "end") == []
    worker.ran(run)
    assert len(of(Run, leave(worker, 1))) == 2


def test_the_next_task_carries_the_care_on() -> None:
    worker = LoneWorker(BOOK)
    suspect(worker, 0)
    (run,) = leave(worker, 0)
    ((_, task),) = sent(Task, worker.ran(run))
    assert task.itinerary.care is Care.ALONE
    again = Resume(
        "g", "g1", 0, 2, 1, 500.0, Itinerary("book", "line", (("a",), ("b",)), 1, care=Care.APART)
    )
    ((_, task),) = sent(Task, worker.hear("g", again))
    assert task.itinerary.care is Care.APART


def test_without_leave_it_is_refused_and_the_others_go_on() -> None:
    worker = LoneWorker(BOOK)
    suspect(worker, 0)
    worker.task(1, "line")
    actions = leave(worker, 0, run=False)
    assert [refused.why for _, refused in sent(Refused, actions)] == [Why.NO_LEAVE]
    assert [run.jobs[0].number for run in of(Run, actions)] == [1]


def test_a_run_that_fails_is_over_too() -> None:
    worker = LoneWorker(BOOK)
    suspect(worker, 0)
    (run,) = leave(worker, 0)
    actions = worker.take(RunFailed(run.jobs, "it broke"))
    assert [refused.why for _, refused in sent(Refused, actions)] == [Why.RUN_FAILED]
    assert trials(actions) == [(0, True)]


def test_leave_for_something_else_is_no_leave() -> None:
    worker = LoneWorker(BOOK)
    suspect(worker, 0)
    assert leave(worker, 1) == []
    assert worker.hear("g", Leave("g", "g0", 0, 1, 0)) == []
    assert worker.hear("h", Leave("g", "g1", 0, 1, 0)) == []
    assert worker.hear("g", Leave("g", "g1", 0, 1, 1)) == []
    assert len(of(Run, leave(worker, 0))) == 1
    assert leave(worker, 0) == [], "once"


@pytest.mark.parametrize("told", [False, True])
def test_a_gateway_that_says_nothing_is_not_waited_for_for_long(told: bool) -> None:
    worker = LoneWorker(BOOK)
    suspect(worker, 0, budget_ms=60_000.0)
    worker.task(1, "line", budget_ms=60_000.0)
    if told:
        worker.ran(*leave(worker, 0))
    worker.now = PATIENCE_S
    actions = worker.take(Tick())
    assert [run.jobs[0].number for run in of(Run, actions)] == [1]
    refused = [each.why for _, each in sent(Refused, actions)]
    assert refused == ([] if told else [Why.NO_LEAVE])


@pytest.mark.parametrize("how", ["vanished", "restarted", "unsent", "forgotten"])
def test_what_nobody_waits_for_any_more_holds_nobody_up(how: str) -> None:
    worker = LoneWorker(BOOK, peers="bcdh")
    suspect(worker, 0)
    itinerary = Itinerary("book", "end", (("a",),))
    worker.hear("h", Task("h", "h1", 0, 1, 0, "h", 1000.0, itinerary=itinerary), "input")
    actions = {
        "vanished": lambda: worker.take(Vanished("g", "g1")),
        "restarted": lambda: worker.take(Appeared("g", "g2")),
        "unsent": lambda: worker.take(Unsent("g", Trial("g", "g1", 0, 1, 0))),
        "forgotten": lambda: worker.hear("g", Forget("g", "g1", (0,))),
    }[how]()
    assert [run.jobs[0].gateway for run in of(Run, actions)] == ["h"]
    assert worker.core.inbox.running == {job for run in of(Run, actions) for job in run.jobs}


def test_a_newer_attempt_takes_over_what_waits_for_leave() -> None:
    worker = LoneWorker(BOOK)
    suspect(worker, 0)
    assert suspect(worker, 0, attempt=2) == []
    assert trials(leave(worker, 0, run=False, attempt=1)) == [(0, False)], "it asks again"
    (run,) = leave(worker, 0, attempt=2)
    ((_, task),) = sent(Task, worker.ran(run))
    assert task.attempt == 2


# -- in a process of its own


def test_what_is_run_apart_needs_no_leave_and_holds_nobody_up() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "end", care=Care.APART)
    assert run.apart
    (other,) = worker.task(1, "end")
    assert not other.apart
    assert worker.task(2, "end", care=Care.APART) == [], "one at a time"
    actions = worker.ran(run)
    assert [answer.number for _, answer in sent(Answered, actions)] == [0]
    assert [(run.jobs[0].number, run.apart) for run in of(Run, actions)] == [(2, True)]


def test_what_it_died_of_is_told_also_when_nobody_waits_for_it_any_more() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "end", care=Care.APART)
    worker.hear("g", Forget("g", "g1", (0,)))
    actions = worker.take(RunFailed(run.jobs, "SIGSEGV", Why.RUN_KILLED))
    ((to, refused),) = sent(Refused, actions)
    assert (to, refused.why, refused.number, refused.text) == ("g", Why.RUN_KILLED, 0, "SIGSEGV")


def test_where_there_is_no_memory_for_it_that_is_said() -> None:
    worker = LoneWorker(playbook(plan("end", one(0, 12, "a"))), peers="")
    worker.core.library._memory_limit = MIB
    ((_, refused),) = sent(Refused, worker.task(0, "end", care=Care.APART))
    assert refused.why is Why.NO_SANDBOX
    assert "too little memory" in refused.text


def test_what_waits_is_run_apart_when_a_newer_attempt_says_so() -> None:
    worker = LoneWorker(BOOK)
    (first,) = worker.task(0, "line")
    worker.task(1, "line")
    worker.task(2, "line")
    worker.task(1, "line", attempt=2, care=Care.APART)
    runs = of(Run, worker.ran(first))
    assert [([key.number for key in run.jobs], run.apart) for run in runs] == [
        ([2], False),
        ([1], True),
    ]
