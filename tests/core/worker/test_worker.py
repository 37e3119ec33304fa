"""The worker by itself: events in, actions out."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.core.alone import LoneWorker, of, sent
from tests.core.toys import every, leaving, one, plan, playbook

from shoal.core.actions import Drained, Run, Send, UnloadPart
from shoal.core.events import (
    Appeared,
    Drain,
    Loaded,
    Outcome,
    Ran,
    RunFailed,
    Tick,
    Unsent,
    Vanished,
)
from shoal.core.messages import (
    Answered,
    DeviceInfo,
    Forget,
    Hello,
    Install,
    Installed,
    Itinerary,
    Load,
    Refused,
    Resume,
    StageTrace,
    Task,
    Why,
)
from shoal.core.worker.worker import WorkerCore
from shoal.errors import PlanError

BOOK = playbook(
    plan("line", one(0, 4, "a", batch=3), one(4, 8, "b"), one(8, 12, "a")),
    plan("spare", one(0, 4, "a", batch=3), one(4, 12, "c")),
    plan("shards", every(0, 4, "bcd", least=2, deadline_ms=200), one(4, 12, "a")),
    plan("shard", every(0, 4, "ab"), one(4, 12, "c")),
    plan("exits", leaving(one(0, 4, "a"), 0.9), one(4, 12, "b")),
)


def resume(
    number: int = 0, attempt: int = 2, stage: int = 1, plan: str = "spare", images: int = 1
) -> Resume:
    itinerary = Itinerary("book", plan, (("a",), ("c",)), stage, images=images)
    return Resume("g", "g1", number, attempt, stage, 500.0, itinerary)


def why(actions: list[Any]) -> Why:
    """Why the only thing that is done is a refusal to the gateway."""
    (action,) = actions
    assert isinstance(action, Send)
    assert isinstance(action.message, Refused)
    assert action.to == "g"
    return action.message.why


# -- from a task to what follows


def test_a_task_is_run_and_its_output_goes_on_with_the_time_that_is_left() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line", budget_ms=1000)
    assert isinstance(run, Run)
    assert (run.part, run.given[0].bodies, run.outputs) == ("0-4", {"g": "input"}, ("t4",))
    worker.now = 0.25
    (send,) = worker.ran(run)
    task = send.message
    assert (send.to, send.body) == ("b", "made by 0-4")
    assert (task.stage, task.giver, task.budget_ms) == (1, "a", 750.0)
    assert [(step.device, step.run_ms) for step in task.trace] == [("a", 10.0)]
    assert len(worker.core.kept) == 1


def test_a_step_tells_who_ran_it_and_how_long() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line")
    ((_, task),) = sent(Task, worker.ran(run))
    assert task.trace == (StageTrace(0, "a", run_ms=10.0),)
    step = task.trace[0]
    assert (step.wait_ms, step.started_s, step.bytes_in, step.bytes_out) == (None,) * 4


def test_a_step_of_a_traced_request_tells_all_and_so_does_the_next() -> None:
    worker = LoneWorker(BOOK)
    (other,) = worker.task(0, "line")
    worker.task(1, "line", traced=True)
    worker.now = 0.25
    (run,) = of(Run, worker.ran(other))
    outcome = Outcome("made", 70, size_in=50)
    ((_, task),) = sent(Task, worker.take(Ran(run.jobs, (outcome,), 10.0, started_s=5.0)))
    assert task.itinerary.traced
    assert task.trace == (StageTrace(0, "a", 250.0, 10.0, 70, 1, 5.0, 50),)


def test_the_last_stage_answers_the_gateway() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line", 2, giver="b")
    (send,) = worker.ran(run)
    assert (send.to, send.body) == ("g", "made by 8-12")
    assert (send.message.number, send.message.stage, send.message.left_early) == (0, 2, False)
    assert len(worker.core.kept) == 0, "nobody goes on from an answer"


def test_what_waits_for_the_same_stage_is_run_as_one_batch() -> None:
    worker = LoneWorker(BOOK)
    (first,) = worker.task(0, "line")
    for number in range(1, 6):
        assert worker.task(number, "line") == [], "one run at a time"
    actions = worker.ran(first)
    (second,) = of(Run, actions)
    assert [key.number for key in second.jobs] == [1, 2, 3]
    third = of(Run, worker.ran(second))[0]
    assert [key.number for key in third.jobs] == [4, 5]
    assert [task.number for _, task in sent(Task, worker.ran(third))] == [4, 5]


@pytest.mark.parametrize("said", [False, None])
def test_a_part_that_is_not_said_to_treat_requests_one_by_one_runs_each_alone(
    said: bool | None,
) -> None:
    """Whatever its stage says; older playbooks say nothing of their parts."""
    parts = {name: msgspec.structs.replace(info, stacks=said) for name, info in BOOK.parts.items()}
    worker = LoneWorker(msgspec.structs.replace(BOOK, parts=parts))
    (first,) = worker.task(0, "line")
    for number in range(1, 4):
        worker.task(number, "line")
    (second,) = of(Run, worker.ran(first))
    assert [key.number for key in second.jobs] == [1]
    (third,) = of(Run, worker.ran(second))
    assert [key.number for key in third.jobs] == [2]


def test_images_are_counted_in_a_batch_in_what_is_told_and_on_the_way() -> None:
    worker = LoneWorker(BOOK)
    (first,) = worker.task(0, "line", images=5)
    for number, images in enumerate((1, 2, 1), 1):
        worker.task(number, "line", images=images)
    actions = worker.ran(first)
    ((_, task),) = sent(Task, actions)
    assert (task.itinerary.images, task.trace[0].batch) == (5, 5)
    (second,) = of(Run, actions)
    assert [key.number for key in second.jobs] == [1, 2], "three of the first part at most"
    told = [task for _, task in sent(Task, worker.ran(second))]
    assert [(task.itinerary.images, task.trace[0].batch) for task in told] == [(1, 3), (2, 3)]
    assert [
        task.itinerary.images for _, task in sent(Task, worker.hear("g", resume(2, images=2)))
    ] == [2]


def test_with_capacity_for_two_two_run_at_once() -> None:
    worker = LoneWorker(BOOK, capacity=2)
    assert len(worker.task(0, "line")) == 1
    assert len(worker.task(1, "line")) == 1
    assert worker.task(2, "line") == []


@pytest.mark.parametrize(("sure", "to"), [(0.95, "g"), (0.9, "g"), (0.89, "b")])
def test_a_request_leaves_early_when_its_exit_is_sure_enough(sure: float, to: str) -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "exits")
    (send,) = worker.ran(run, sure=sure)
    assert send.to == to
    if to == "g":
        assert isinstance(send.message, Answered)
        assert (send.message.left_early, send.message.confidence) == (True, sure)
        assert send.body == "early"


def test_a_task_that_comes_twice_is_run_once() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line")
    assert worker.task(0, "line") == []
    worker.ran(run)
    assert worker.task(0, "line") == []


def test_what_has_run_out_of_time_is_not_run_and_not_passed_on() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line", budget_ms=100)
    worker.task(1, "line", budget_ms=100)
    worker.now = 0.2
    assert worker.ran(run) == []
    assert not worker.core.inbox.jobs


# -- slices


def slices(worker: LoneWorker, givers: str, number: int = 0, **more: Any) -> list[Any]:
    actions = []
    for giver in givers:
        actions += worker.task(
            number, "shards", 1, giver=giver, sliced=True, body=f"of {giver}", **more
        )
    return actions


def test_slices_are_run_when_the_last_has_come() -> None:
    worker = LoneWorker(BOOK)
    assert slices(worker, "bc") == []
    (run,) = slices(worker, "d")
    assert run.given[0].bodies == {"b": "of b", "c": "of c", "d": "of d"}
    assert run.given[0].join == BOOK.plan("shards").stages[0].join
    assert sent(Answered, worker.ran(run))[0][1].absent == ()


def test_a_giver_that_is_lost_is_waited_for_no_more_and_named() -> None:
    worker = LoneWorker(BOOK)
    assert slices(worker, "bd") == []
    (run,) = worker.take(Vanished("c", "c1"))
    assert sorted(run.given[0].bodies) == ["b", "d"]
    assert sent(Answered, worker.ran(run))[0][1].absent == ("c",)


def test_a_giver_that_is_not_there_is_not_waited_for() -> None:
    worker = LoneWorker(BOOK, peers="bd")
    (run,) = slices(worker, "bd")
    assert sent(Answered, worker.ran(run))[0][1].absent == ("c",)


def test_a_slice_that_is_late_is_left_out_at_the_deadline_of_the_stage() -> None:
    worker = LoneWorker(BOOK)
    slices(worker, "bc")
    worker.now = 0.199
    assert worker.take(Tick()) == []
    worker.now = 0.2
    (run,) = worker.take(Tick())
    assert isinstance(run, Run)
    assert slices(worker, "d") == [], "too late"
    assert sent(Answered, worker.ran(run))[0][1].absent == ("d",)


def test_too_few_slices_are_refused_with_who_is_missing() -> None:
    worker = LoneWorker(BOOK)
    slices(worker, "b")
    worker.now = 0.2
    actions = worker.take(Tick())
    assert why(actions) is Why.TOO_FEW_SLICES
    assert actions[0].message.absent == ("c", "d")
    assert not worker.core.inbox.jobs


def test_a_shard_sends_its_slice_and_does_not_keep_it() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "shard")
    ((to, task),) = sent(Task, worker.ran(run))
    assert (to, task.sliced, task.giver) == ("c", True, "a")
    assert len(worker.core.kept) == 0


@pytest.mark.parametrize(
    ("name", "stage", "more"),
    [("line", 0, {}), ("spare", 0, {}), ("shards", 1, {"playbook": "another"})],
)
def test_a_slice_that_nothing_joins_or_of_another_playbook_is_refused(
    name: str, stage: int, more: dict[str, Any]
) -> None:
    worker = LoneWorker(BOOK)
    assert why(worker.task(0, name, stage, giver="b", sliced=True, **more)) is Why.UNKNOWN_PLAN


def test_a_slice_of_an_older_attempt_is_not_joined() -> None:
    worker = LoneWorker(BOOK)
    slices(worker, "bc", attempt=2)
    assert worker.task(0, "shards", 1, giver="d", sliced=True, body="older", attempt=1) == []
    (run,) = slices(worker, "d", attempt=2)
    assert run.given[0].bodies == {"b": "of b", "c": "of c", "d": "of d"}


# -- refusals


@pytest.mark.parametrize(("name", "stage"), [("none", 0), ("line", 1), ("line", 3), ("line", -1)])
def test_what_is_not_its_part_in_a_plan_is_refused(name: str, stage: int) -> None:
    worker = LoneWorker(BOOK)
    assert why(worker.task(0, name, stage)) is Why.UNKNOWN_PLAN


def test_a_part_that_is_not_loaded_is_refused() -> None:
    worker = LoneWorker(BOOK, without="0-4")
    assert why(worker.task(0, "line")) is Why.PART_MISSING


def test_more_than_the_inbox_holds_is_refused() -> None:
    worker = LoneWorker(BOOK, inbox=1)
    worker.task(0, "line")
    assert why(worker.task(1, "line")) is Why.OVERLOADED
    assert len(worker.core.inbox.jobs) == 1


@pytest.mark.parametrize("reason", [Why.RUN_FAILED, Why.BAD_BODY])
def test_a_run_that_fails_is_refused_with_the_error(reason: Why) -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line")
    actions = worker.take(RunFailed(run.jobs, "it broke", reason))
    assert why(actions) is reason
    assert actions[0].message.text == "it broke"
    assert len(of(Run, worker.task(1, "line"))) == 1, "the next one has its turn"


def test_of_a_batch_that_fails_each_is_run_alone_so_that_one_does_not_spoil_the_rest() -> None:
    worker = LoneWorker(BOOK)
    (first,) = worker.task(0, "line")
    for number in (1, 2, 3):
        worker.task(number, "line")
    (batch,) = of(Run, worker.ran(first))
    ran, failed = [], []
    actions = worker.take(RunFailed(batch.jobs, "one is bad"))
    while runs := of(Run, actions):
        (run,) = runs
        assert len(run.jobs) == 1
        bad = run.jobs[0].number == 2
        actions = worker.take(RunFailed(run.jobs, "bad")) if bad else worker.ran(run)
        ran += [task.number for _, task in sent(Task, actions)]
        failed += [refused.number for _, refused in sent(Refused, actions)]
    assert (ran, failed) == ([1, 3], [2])


def test_when_the_next_device_is_not_there_the_gateway_hears_who_and_the_output_is_kept() -> None:
    worker = LoneWorker(BOOK, peers="c")
    (run,) = worker.task(0, "line")
    actions = worker.ran(run)
    assert why(actions) is Why.PEER_ABSENT
    assert (actions[0].message.absent, actions[0].message.stage) == (("b",), 1)
    ((to, task),) = sent(Task, worker.hear("g", resume()))
    assert (to, task.attempt, task.itinerary.plan, task.stage) == ("c", 2, "spare", 1)


@pytest.mark.parametrize(("full", "reason"), [(False, Why.PEER_ABSENT), (True, Why.LINK_FULL)])
def test_what_the_link_does_not_take_is_refused(full: bool, reason: Why) -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line")
    ((to, task),) = sent(Task, worker.ran(run))
    actions = worker.take(Unsent(to, task, full))
    assert why(actions) is reason
    assert actions[0].message.absent == ("b",)


def test_what_was_passed_on_to_a_device_that_is_lost_is_told_while_it_matters() -> None:
    worker = LoneWorker(BOOK)
    for number, budget_ms in ((0, 1000), (1, 100), (2, 1000)):
        (run,) = worker.task(number, "line", budget_ms=budget_ms)
        worker.ran(run)
    worker.hear("g", Forget("g", "g1", (2,)))
    worker.now = 0.5
    actions = worker.take(Vanished("b", "b1"))
    assert why(actions) is Why.PEER_ABSENT
    assert actions[0].message.number == 0


# -- resuming


def test_a_request_goes_on_from_what_was_kept_without_another_run() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line")
    worker.ran(run)
    (send,) = worker.hear("g", resume())
    assert (send.to, send.body) == ("c", "made by 0-4")
    assert (send.message.attempt, send.message.budget_ms) == (2, 500.0)


def test_what_was_evicted_is_refused() -> None:
    worker = LoneWorker(BOOK, keep_bytes=15)
    for number in (0, 1):
        (run,) = worker.task(number, "line")
        worker.ran(run, size=10)
    assert why(worker.hear("g", resume(0))) is Why.NOT_KEPT
    assert len(sent(Task, worker.hear("g", resume(1)))) == 1


def test_other_tensors_than_those_kept_are_refused() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line")
    worker.ran(run)
    assert why(worker.hear("g", resume(stage=2, plan="line"))) is Why.NOT_KEPT
    assert why(worker.hear("g", resume(attempt=3, plan="none"))) is Why.UNKNOWN_PLAN


def test_a_resume_that_comes_while_it_runs_redirects_the_output() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line")
    assert worker.hear("g", resume()) == []
    ((to, task),) = sent(Task, worker.ran(run))
    assert (to, task.itinerary.plan, task.attempt) == ("c", "spare", 2)


# -- what is stale


def test_an_older_attempt_is_dropped() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line", attempt=2)
    assert worker.task(0, "line", attempt=1) == []
    assert worker.hear("g", resume(attempt=1)) == []
    assert [task.attempt for _, task in sent(Task, worker.ran(run))] == [2]


def test_a_newer_attempt_at_the_same_step_takes_over_the_run_or_its_output() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line")
    assert worker.task(0, "line", attempt=2) == []
    assert [task.attempt for _, task in sent(Task, worker.ran(run))] == [2]
    actions = worker.task(0, "line", attempt=3)
    assert of(Run, actions) == []
    assert [task.attempt for _, task in sent(Task, actions)] == [3]


def test_a_newer_attempt_at_another_step_ends_the_older() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line")
    assert worker.task(0, "line", 2, giver="b", attempt=2) == []
    (other,) = worker.ran(run)
    assert isinstance(other, Run), "nothing is sent of the older one"
    assert (other.part, other.jobs[0].attempt) == ("8-12", 2)


def test_what_is_forgotten_is_not_run_not_sent_and_not_kept() -> None:
    worker = LoneWorker(BOOK)
    (kept,) = worker.task(0, "line")
    worker.ran(kept)
    (run,) = worker.task(1, "line")
    worker.task(2, "line")
    worker.hear("g", Forget("g", "g1", settled=3))
    assert (len(worker.core.kept), worker.core.inbox.jobs) == (0, {})
    assert worker.ran(run) == []
    assert worker.task(2, "line") == []


def test_a_task_says_what_is_settled_as_well() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line")
    worker.ran(run)
    worker.task(7, "line", settled=7)
    assert len(worker.core.kept) == 0


def test_a_gateway_that_starts_anew_or_is_gone_frees_what_was_held_for_it() -> None:
    worker = LoneWorker(BOOK, grace_s=5.0)
    (run,) = worker.task(0, "line")
    worker.ran(run)
    (run,) = worker.task(1, "line")
    worker.take(Vanished("g", "g1"))
    assert len(worker.core.kept) == 1, "it may be back"
    worker.take(Appeared("g", "g2"))
    assert (len(worker.core.kept), worker.core.inbox.jobs) == (0, {})
    assert worker.ran(run) == []


def test_the_parts_of_a_gateway_that_is_gone_are_unloaded_after_the_grace() -> None:
    worker = LoneWorker(BOOK, grace_s=5.0)
    assert of(UnloadPart, worker.take(Vanished("g", "g1"))) == []
    worker.now = 5.0
    unloaded = of(UnloadPart, worker.take(Tick()))
    assert {unload.part for unload in unloaded} == set(BOOK.parts_of("a"))


# -- draining


def test_draining_ends_what_is_here_takes_nothing_new_and_says_so() -> None:
    worker = LoneWorker(BOOK)
    (run,) = worker.task(0, "line")
    worker.task(1, "line")
    actions = worker.take(Drain())
    hellos = sent(Hello, actions)
    assert {to for to, hello in hellos if hello.info.draining} >= {"g", "b", "c", "d"}
    assert of(Drained, actions) == []
    assert why(worker.task(2, "line")) is Why.DRAINING
    (run,) = of(Run, worker.ran(run))
    actions = worker.ran(run)
    assert len(sent(Task, actions)) == 1
    assert of(Drained, actions) == [Drained()]
    assert of(Drained, worker.take(Tick())) == [], "said once"


def test_an_idle_worker_is_drained_at_once() -> None:
    assert of(Drained, LoneWorker(BOOK).take(Drain())) == [Drained()]


def test_outcomes_of_a_run_are_told_apart_by_their_order() -> None:
    worker = LoneWorker(BOOK)
    (first,) = worker.task(0, "line")
    for number in (1, 2):
        worker.task(number, "line")
    (batch,) = of(Run, worker.ran(first))
    worker.hear("g", Forget("g", "g1", (1,)))
    actions = worker.take(Ran(batch.jobs, (Outcome("one", 1), Outcome("two", 1)), 10.0))
    assert [(a.message.number, a.body) for a in of(Send, actions)] == [(2, "two")]


def test_a_playbook_with_an_unknown_policy_is_refused_whole() -> None:
    def nobody(name: str) -> Any:
        raise PlanError(f"no policy is registered as {name!r}")

    worker = WorkerCore(DeviceInfo("a", "a1"), policies=nobody)
    worker.handle(Appeared("g", "g1"), 0.0)
    book = BOOK
    actions = worker.hear("g", Install(book), None, 0, 0.0)
    ((to, reply),) = sent(Installed, actions)
    assert (to, reply.ready) == ("g", ())
    assert all("no policy" in text for text in reply.refused.values())
    assert set(reply.refused) == set(book.parts_of("a"))


def test_nobody_speaks_for_another() -> None:
    worker = LoneWorker(BOOK)
    worker.hear("c", Hello(DeviceInfo("b", "b1", draining=True)))
    peer = worker.core.members.get("b")
    assert peer is None or peer.info is None or not peer.info.draining


# -- what is told of other lives, other choices, other playbooks


def test_a_quarter_of_the_inbox_is_kept_for_requests_that_are_under_way() -> None:
    worker = LoneWorker(BOOK, inbox=8)
    for number in range(5):
        worker.task(number, "line")
    assert why(worker.task(5, "line")) is Why.OVERLOADED
    trace = (StageTrace(1, "b"),)
    for number in range(5, 8):
        assert worker.task(number, "line", 2, giver="b", trace=trace) == []
    assert why(worker.task(8, "line", 2, giver="b", trace=trace)) is Why.OVERLOADED


def test_what_is_meant_for_an_earlier_life_of_a_gateway_is_ignored() -> None:
    worker = LoneWorker(BOOK)
    worker.take(Appeared("g", "g2"))
    assert worker.task(0, "line") == []
    assert worker.hear("g", resume()) == []
    assert worker.core.inbox.jobs == {}


def test_a_policy_that_raises_at_a_hop_is_told_to_the_gateway() -> None:
    book = playbook(plan("free", one(0, 6, "a"), one(6, 12, "bc")), policy="broken hop")
    worker = LoneWorker(book)
    (run,) = of(Run, worker.task(0, "free", route=((), ())))
    ((to, refused),) = sent(Refused, worker.ran(run))
    assert (to, refused.stage, refused.why) == ("g", 1, Why.POLICY_FAILED)
    assert "no hop" in refused.text
    ((_, again),) = sent(
        Refused,
        worker.hear(
            "g", Resume("g", "g1", 0, 2, 1, 99, Itinerary("book", "free", (), 1, free=True))
        ),
    )
    assert again.why is Why.POLICY_FAILED, "the output is kept for all that"


def test_a_hop_that_decides_does_so_without_whom_it_was_told_to_avoid() -> None:
    book = playbook(plan("free", one(0, 6, "a"), one(6, 12, "bc")), policy="free")
    worker = LoneWorker(book)
    for number, (without, taker) in enumerate(
        [((), "b"), (("b",), "c"), (("b", "c"), "b"), (("c",), "b")]
    ):
        worker.core.neighbours.heard("b", Load())
        (run,) = worker.task(number, "free", route=((), ()), without=without)
        (task,) = sent(Task, worker.ran(run))
        assert task[0] == taker


def test_playbooks_that_their_gateway_uses_no_more_are_let_go() -> None:
    worker = LoneWorker(BOOK)
    newer = playbook(plan("all", one(0, 12, "a")), id="newer")
    worker.hear("g", Install(newer, ("book", "newer")))
    assert worker.core.library.playbook("book") is not None
    worker.take(Loaded("newer", "0-12"))
    unloaded = worker.hear("g", Install(newer, ("newer",)))
    assert worker.core.library.playbook("book") is None
    assert {action.part for action in of(UnloadPart, unloaded)} == {"0-4", "0-4/0", "4-12", "8-12"}


def test_what_waits_for_others_asks_for_no_tick_while_another_part_runs() -> None:
    book = playbook(
        plan("patient", one(0, 4, "a", batch=3, batch_wait_ms=50.0), one(4, 12, "b")),
        plan("other", one(0, 6, "a"), one(6, 12, "b")),
    )
    worker = LoneWorker(book)
    assert worker.task(0, "patient") == []
    (other,) = worker.task(1, "other")
    worker.now = 0.06
    assert worker.core.handle(Tick(), 0.06) == []  # or the ticks would never end
    _, waited = worker.ran(other)
    assert (waited.part, len(waited.jobs)) == ("0-4", 1)


# -- memory


def heavy(book: Any, activations: int) -> Any:
    """The same playbook, of parts whose images take so much memory."""
    parts = {name: replace(info, activations=activations) for name, info in book.parts.items()}
    return replace(book, parts=parts)


def test_a_request_of_more_images_than_there_is_memory_for_is_refused_before_it_waits() -> None:
    worker = LoneWorker(heavy(BOOK, 1 << 20), memory=16 << 20)
    most = worker.core.library.most_images("0-4")
    assert 1 < most < 16
    actions = worker.task(1, "line", images=int(most) + 1)
    assert why(actions) is Why.TOO_LARGE
    assert f"send at most {most:.0f} at once" in actions[0].message.text
    assert not worker.core.inbox.jobs
    (run,) = of(Run, worker.task(1, "line", attempt=2, images=int(most)))
    worker.ran(run)


def test_inputs_that_wait_are_bounded_in_bytes() -> None:
    worker = LoneWorker(BOOK, memory=1 << 20)
    (run,) = of(Run, worker.task(0, "line", size=200 << 20))
    assert why(worker.task(1, "line", size=1)) is Why.OVERLOADED
    worker.ran(run)
    assert of(Run, worker.task(2, "line", size=1))
