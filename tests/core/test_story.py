"""What is told of a request where the stories in text do not go."""

from __future__ import annotations

import msgspec
import pytest
from tests.core.alone import LoneGateway, LoneWorker, of, sent
from tests.core.toys import one, plan, playbook

from shoal.core.actions import Run
from shoal.core.events import (
    Adopt,
    Appeared,
    Arrived,
    Cancelled,
    Damaged,
    Fetched,
    Loaded,
    RunFailed,
    Submitted,
    Tick,
    Unpackable,
    Vanished,
)
from shoal.core.log import Log
from shoal.core.messages import Answered, Forget, Itinerary, Moved, Refused, StageTrace, Task, Why
from shoal.core.story import Story, concerns, story

BOOK = playbook(plan("ab", one(0, 6, "a"), one(6, 12, "b")))
ANY = playbook(plan("any", one(0, 12, "abc")), id="any")


def told(of: Story) -> list[str]:
    return [line.text for line in of.lines]


def test_of_a_request_that_nobody_knows_nothing_is_told() -> None:
    empty = story(Log("g"), 5)
    assert empty.lines == ()
    assert str(empty) == "request 5, as g saw it: the log holds nothing of it (any more)"


def test_a_story_whose_beginning_was_pushed_out_says_so() -> None:
    gateway = LoneGateway(ANY)
    ((_, task),) = sent(Task, gateway.ask(0))
    log = Log("g")
    gateway.node.log.tap = lambda step: log.note(step.at, step.event, step.actions)
    gateway.answer("a", task)
    tale = story(log, 0)
    assert not tale.whole
    assert str(tale).startswith("request 0, as g saw it (its beginning is no longer in the log)\n")
    assert told(tale) == ["answered by plan 'any'"]


def test_times_are_relative_to_the_beginning() -> None:
    gateway = LoneGateway(ANY)
    gateway.now = 100.0
    ((_, task),) = sent(Task, gateway.ask(0))
    gateway.now = 100.0125
    gateway.answer("a", task)
    tale = story(gateway.node.log, 0)
    assert [round(line.ms, 6) for line in tale.lines] == [0.0, 0.0, 12.5]
    assert str(tale).splitlines()[-1] == "      12.5 ms  answered by plan 'any'"


@pytest.mark.parametrize(
    ("wait_ms", "waited"), [(None, ""), (0.5, ""), (20.0, " after 20.0 ms of waiting")]
)
def test_waiting_is_told_of_a_traced_request(wait_ms: float | None, waited: str) -> None:
    gateway = LoneGateway(ANY)
    ((_, task),) = sent(Task, gateway.ask(0))
    gateway.answer("a", task, trace=(StageTrace(0, "a", wait_ms, run_ms=9.0),))
    assert told(story(gateway.node.log, 0))[-1] == f"answered by plan 'any': a ran 9.0 ms{waited}"


def test_other_requests_are_other_stories() -> None:
    gateway = LoneGateway(ANY)
    tasks = [task for number in range(3) for _, task in sent(Task, gateway.ask(number))]
    gateway.refuse("b", tasks[1], Why.RUN_FAILED, text="no memory")
    assert len(told(story(gateway.node.log, 0))) == 2
    assert told(story(gateway.node.log, 1))[2:] == [
        "b refused stage 0 of attempt 1: run failed (no memory)",
        "attempt 2 by plan 'any': a; without b",
    ]


def test_it_can_be_written_as_json() -> None:
    gateway = LoneGateway(ANY)
    gateway.ask(0)
    plain = msgspec.json.decode(msgspec.json.encode(story(gateway.node.log, 0)))
    assert plain["number"] == 0
    assert plain["lines"][0] == {"ms": 0.0, "text": "asked: to be answered within 1 s"}


def test_a_client_that_leaves_and_one_that_waits_for_a_device() -> None:
    gateway = LoneGateway(ANY, "")
    gateway.ask(0)
    gateway.take(Cancelled(0))
    assert told(story(gateway.node.log, 0)) == [
        "asked: to be answered within 1 s",
        "waits for its turn, or for a device",
        "the client no longer waits",
    ]


def test_what_came_damaged_or_cannot_be_packed() -> None:
    gateway = LoneGateway(ANY)
    ((_, task),) = sent(Task, gateway.ask(0))
    gateway.take(Damaged("a", Answered("g", "g1", 0, 1, "any", 0, "a"), "its bytes are short"))
    gateway.take(Unpackable("b", msgspec.structs.replace(task, attempt=2), "too large"))
    texts = told(story(gateway.node.log, 0))
    assert texts[2] == "the answer of a to attempt 1 cannot be read: its bytes are short"
    assert "attempt 2, stage 0, cannot be sent to b: too large" in texts


def test_a_gateway_that_runs_a_part_itself() -> None:
    own = playbook(plan("own", one(0, 6, "g"), one(6, 12, "ab")), id="own")
    gateway = LoneGateway(own, "ab")
    gateway.take(Fetched("own", "0-6"))
    gateway.take(Loaded("own", "0-6"))
    (run,) = of(Run, gateway.ask(0))
    gateway.now = 0.01
    gateway.take(RunFailed(run.jobs, "no memory"))
    assert told(story(gateway.node.log, 0))[:5] == [
        "asked: to be answered within 1 s",
        "attempt 1 by plan 'own': g -> a",
        "g begins to run stage 0",
        "the run of stage 0 failed: run failed (no memory)",
        "g refused stage 0 of attempt 1: run failed (no memory)",
    ]


def test_a_worker_tells_what_it_ran_with_others() -> None:
    worker = LoneWorker(playbook(plan("a", one(0, 12, "a", batch=4))))
    (first,) = of(Run, worker.task(0, "a"))
    for number in (1, 2):
        worker.task(number, "a")
    (both,) = of(Run, worker.ran(first))
    worker.take(RunFailed(both.jobs, "no memory"))
    assert told(story(worker.node.log, 1, "g")) == [
        "g gave it stage 0 of plan 'a' (attempt 1)",
        "a begins to run stage 0 (2 requests at once)",
        "the run of stage 0 failed: run failed (no memory), with others: they are run one by one",
        "a begins to run stage 0",
    ]
    assert told(story(worker.node.log, 1)) == [], "of its own gateway it has no such request"


def test_a_gateway_that_began_anew_counts_from_0_again() -> None:
    worker = LoneWorker(BOOK)
    worker.task(0, "ab")
    worker.take(Vanished("g", "g1"))
    worker.take(Appeared("g", "g2"))
    task = Task("g", "g2", 0, 1, 0, "g", 1000.0, itinerary=Itinerary("book", "ab", ()))
    worker.hear("g", task)
    assert told(story(worker.node.log, 0, "g")) == [
        "g gave it stage 0 of plan 'ab' (attempt 1)",
        "a refused stage 0 of attempt 1: unknown plan",
    ]


@pytest.mark.parametrize("number", [3, 4])
def test_which_steps_concern_a_request(number: int) -> None:
    log = Log("g")
    about = ("g", "g1", 3, 1)
    for event in (
        Submitted(3, None, 1.0),
        Cancelled(3),
        Arrived("a", Refused(*about, 0, Why.OVERLOADED)),
        Arrived("a", Moved(*about, 0, ())),
        Arrived("g", Forget("g", "g1", (3,))),
        Damaged("a", Answered(*about, "any", 0, "a"), ""),
    ):
        log.note(0.0, event, [])
    log.remark(3, "something")
    log.note(0.0, Adopt(BOOK), [])
    assert [concerns(step, number) for step in log.steps] == [number == 3] * 7


def test_an_answer_that_comes_after_the_end_is_not_needed_any_more() -> None:
    for ends, last in (("answer", "answered by plan 'any'"), ("deadline", "failed (deadline)")):
        gateway = LoneGateway(ANY)
        ((_, task),) = sent(Task, gateway.ask(0, budget_ms=100))
        if ends == "answer":
            gateway.answer("a", task)
        else:
            gateway.now = 0.1
            gateway.take(Tick())
        assert any(line.startswith(last) for line in told(story(gateway.node.log, 0)))
        gateway.answer("b", task)
        assert told(story(gateway.node.log, 0))[-1] == (
            "b answered attempt 1; it is not needed any more"
        )
