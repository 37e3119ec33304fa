"""A worker at the very moment at which something ends, and when two things come together."""

from typing import Any

import pytest
from tests.core.alone import LoneWorker, of, sent
from tests.core.toys import every, leaving, one, plan, playbook

from shoal.core.actions import Drained, Run
from shoal.core.events import Appeared, Drain, Vanished
from shoal.core.messages import (
    Answered,
    Forget,
    Hello,
    Itinerary,
    Refused,
    Resume,
    Task,
    Why,
)

BOOK = playbook(
    plan("line", one(0, 4, "a"), one(4, 8, "b"), one(8, 12, "a")),
    plan("spare", one(0, 4, "a"), one(4, 12, "c")),
    plan("shards", every(0, 4, "bcd", least=2, deadline_ms=200), one(4, 12, "a")),
    plan("exits", leaving(one(0, 4, "a"), 0.9), one(4, 12, "b")),
)
JUST_BEFORE = 1e-9


def run_of(actions: list[Any]) -> Run:
    """The only run that is to begin."""
    (run,) = of(Run, actions)
    return run


def task_of(actions: list[Any]) -> Task:
    ((_, task),) = sent(Task, actions)
    return task


def whys(actions: list[Any]) -> list[Why]:
    return [refused.why for _, refused in sent(Refused, actions)]


def slices(worker: LoneWorker, givers: str, **more: Any) -> list[Any]:
    actions = []
    for giver in givers:
        actions += worker.task(0, "shards", 1, giver=giver, sliced=True, body=giver, **more)
    return actions


# -- the time that is left


def test_a_newer_attempt_has_its_own_time_for_the_run_that_it_takes_over() -> None:
    worker = LoneWorker(BOOK)
    run = run_of(worker.task(0, "line", budget_ms=1000))
    worker.now = 0.5
    assert worker.task(0, "line", attempt=2, budget_ms=2000) == []
    worker.now = 1.25
    task = task_of(worker.ran(run))
    assert (task.attempt, task.budget_ms) == (2, 1250.0)


def test_a_newer_attempt_has_its_own_time_for_the_output_that_it_takes_over() -> None:
    worker = LoneWorker(BOOK)
    worker.ran(run_of(worker.task(0, "line", budget_ms=1000)))
    worker.now = 0.5
    task = task_of(worker.task(0, "line", attempt=2, budget_ms=800))
    assert (task.attempt, task.budget_ms) == (2, 800.0)
    worker.now = 1.2
    assert whys(worker.take(Vanished("b", "b1"))) == [Why.PEER_ABSENT], "it matters till 1.3"


def test_what_was_passed_on_matters_till_the_time_that_was_left_is_over() -> None:
    for late_s, told in ((-JUST_BEFORE, [Why.PEER_ABSENT]), (0.0, [])):
        worker = LoneWorker(BOOK)
        worker.ran(run_of(worker.task(0, "line", budget_ms=1000)))
        worker.now = 1.0 + late_s
        assert whys(worker.take(Vanished("b", "b1"))) == told


def test_what_a_resume_leads_to_has_the_time_of_the_resume() -> None:
    worker = LoneWorker(BOOK)
    worker.ran(run_of(worker.task(0, "line", budget_ms=1000)))
    worker.now = 0.9
    itinerary = Itinerary("book", "spare", (("a",), ("c",)), 1)
    task = task_of(worker.hear("g", Resume("g", "g1", 0, 2, 1, 700.0, itinerary)))
    assert task.budget_ms == pytest.approx(700.0)
    worker.now = 1.5
    assert whys(worker.take(Vanished("c", "c1"))) == [Why.PEER_ABSENT]
    assert whys(worker.take(Vanished("b", "b1"))) == [], "it is with c now"


def test_slices_are_not_waited_for_longer_than_there_is_time() -> None:
    worker = LoneWorker(BOOK)
    slices(worker, "bc", budget_ms=100)
    assert worker.core.wake_at == pytest.approx(0.1)
    worker = LoneWorker(BOOK)
    slices(worker, "bc", budget_ms=300)
    assert worker.core.wake_at == pytest.approx(0.2)


def test_a_run_that_ends_just_in_time_goes_on_and_one_just_too_late_does_not() -> None:
    for late_s, sends in ((-JUST_BEFORE, 1), (JUST_BEFORE, 0)):
        worker = LoneWorker(BOOK)
        run = run_of(worker.task(0, "line", budget_ms=100))
        worker.now = 0.1 + late_s
        assert len(sent(Task, worker.ran(run))) == sends


# -- exits


def test_one_that_is_just_sure_enough_leaves() -> None:
    for sure, leaves in ((0.9, True), (0.8999999, False), (None, False)):
        worker = LoneWorker(BOOK)
        actions = worker.ran(run_of(worker.task(0, "exits")), sure=sure)
        assert [answer.left_early for _, answer in sent(Answered, actions)] == [True] * leaves
        assert len(sent(Task, actions)) == (not leaves)


# -- two at once


def test_what_is_lost_twice_is_told_once_and_what_comes_back_is_used_again() -> None:
    worker = LoneWorker(BOOK)
    worker.ran(run_of(worker.task(0, "line")))
    assert whys(worker.take(Vanished("b", "b1"))) == [Why.PEER_ABSENT]
    assert worker.take(Vanished("b", "b1")) == []
    actions = worker.ran(run_of(worker.task(1, "line")))
    assert whys(actions) == [Why.PEER_ABSENT]
    worker.take(Appeared("b", "b1"))
    actions = worker.ran(run_of(worker.task(2, "line")))
    assert (whys(actions), len(sent(Task, actions))) == ([], 1)


def test_two_givers_that_are_lost_are_both_named_and_a_slice_of_before_counts() -> None:
    worker = LoneWorker(BOOK)
    slices(worker, "b")
    assert worker.take(Vanished("b", "b1")) == [], "its slice is here"
    assert worker.take(Vanished("c", "c1")) == []
    actions = worker.take(Vanished("d", "d1"))
    assert whys(actions) == [Why.TOO_FEW_SLICES]
    ((_, refused),) = sent(Refused, actions)
    assert refused.absent == ("c", "d")


def test_the_same_slice_that_comes_twice_counts_once() -> None:
    worker = LoneWorker(BOOK)
    assert slices(worker, "bbcc") == []
    assert sorted(run_of(slices(worker, "d")).given[0].bodies) == ["b", "c", "d"]


def test_a_request_that_is_over_while_its_slices_come_wakes_nobody() -> None:
    worker = LoneWorker(BOOK)
    slices(worker, "bc")
    worker.hear("g", Forget("g", "g1", (0,)))
    assert not worker.core.inbox.jobs
    assert worker.core.inbox.bytes == 0
    worker.now = 0.2
    assert worker.take_tick() == []
    assert slices(worker, "d") == []


def test_one_that_drains_ends_what_is_here_also_when_it_is_forgotten() -> None:
    worker = LoneWorker(BOOK)
    slices(worker, "bc")
    worker.take(Vanished("b", "b1"))
    assert of(Drained, worker.take(Drain())) == []
    hellos = sent(Hello, worker.take(Appeared("b", "b1")))
    assert [hello.info.draining for _, hello in hellos] == [True]
    assert of(Drained, worker.hear("g", Forget("g", "g1", (0,)))) == [Drained()]


def test_after_a_gateway_is_gone_another_is_served_as_ever() -> None:
    worker = LoneWorker(BOOK, grace_s=5.0)
    worker.task(0, "line", size=50)
    worker.task(1, "line", size=50)
    worker.take(Vanished("g", "g1"))
    worker.take(Appeared("g", "g2"))
    assert worker.core.inbox.bytes == 0
    assert worker.core.load.waiting == 0
