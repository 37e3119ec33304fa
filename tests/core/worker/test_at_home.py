"""Slices of which some stays with its holder: that one goes on with more than it sends."""

from __future__ import annotations

from tests.core.alone import LoneWorker, of, sent
from tests.core.toys import every, homely, one, plan, playbook

from shoal.core.actions import Run
from shoal.core.events import Outcome, Ran, Tick
from shoal.core.messages import Refused, Task, Why
from shoal.plan.plan import Home, Playbook

ROUTE = (("a", "b"), ("a", "b"), ("a",))


def book() -> Playbook:
    stages = (homely(every(0, 6, "ab", op="sum")), homely(every(6, 9, "ab", op="sum")))
    return playbook(plan("p", *stages, one(9, 12, "ab")))


def slice_of(worker: LoneWorker, giver: str, body: str) -> list[object]:
    return worker.task(0, "p", 1, giver=giver, route=ROUTE, sliced=True, body=body)


def test_the_next_stage_of_a_node_has_what_the_others_are_not_sent() -> None:
    worker = LoneWorker(book())
    (run,) = of(Run, worker.task(0, "p", route=ROUTE))
    assert run.home == Home("t6", 1, 4)
    outcome = Outcome("both halves", 10)
    ((to, _),) = sent(Task, worker.take(Ran(run.jobs, (outcome,), 10.0)))
    assert to == "b"
    (run,) = of(Run, slice_of(worker, "b", "of b"))
    assert run.given[0].bodies == {"a": "both halves", "b": "of b"}


def test_the_gateway_is_sent_all_as_it_holds_nothing() -> None:
    worker = LoneWorker(playbook(plan("p", homely(every(0, 12, "ab", op="sum")))))
    (run,) = of(Run, worker.task(0, "p", route=ROUTE[:1]))
    assert run.home is None


def test_a_node_waits_for_itself_beyond_the_deadline() -> None:
    """It is only slow, and the answer would lack what all have."""
    worker = LoneWorker(book())
    slice_of(worker, "b", "of b")
    worker.now = 0.5
    assert of(Run, worker.take(Tick())) == []
    (run,) = of(Run, slice_of(worker, "a", "both halves"))
    assert sorted(run.given[0].bodies) == ["a", "b"]


def test_but_not_beyond_that_of_the_request() -> None:
    worker = LoneWorker(book())
    slice_of(worker, "b", "of b")
    worker.now = 0.5
    worker.take(Tick())
    worker.now = 1.0
    ((_, refused),) = sent(Refused, worker.take(Tick()))
    assert refused.why is Why.TOO_FEW_SLICES


def test_who_waits_for_what_nothing_here_makes_keeps_no_other_out() -> None:
    """The stage before was turned away here, and the others ran it."""
    worker = LoneWorker(book(), inbox=1)
    slice_of(worker, "b", "of b")
    ((_, refused),) = sent(Refused, worker.task(1, "p", route=ROUTE))
    assert refused.why is Why.OVERLOADED
    worker.now = 0.5
    worker.take(Tick())
    assert of(Run, worker.task(2, "p", route=ROUTE))
    assert [key.number for key in worker.core.inbox.jobs] == [2]


def test_who_waits_for_what_is_run_here_stays() -> None:
    worker = LoneWorker(book(), inbox=3)
    worker.task(0, "p", route=ROUTE)
    slice_of(worker, "b", "of b")
    worker.now = 0.5
    worker.take(Tick())
    worker.task(1, "p", 1, giver="b", route=ROUTE, sliced=True)
    ((_, refused),) = sent(Refused, worker.task(2, "p", route=ROUTE))
    assert refused.why is Why.OVERLOADED
    assert [key.number for key in worker.core.inbox.jobs] == [0, 0, 1]


def test_others_are_not_waited_for_beyond_it() -> None:
    worker = LoneWorker(book())
    slice_of(worker, "a", "both halves")
    worker.now = 0.5
    (run,) = of(Run, worker.take(Tick()))
    assert run.given[0].bodies == {"a": "both halves"}


def test_the_more_is_under_way_the_longer_others_are_waited_for() -> None:
    """Where there is much to do here, there is there."""
    worker = LoneWorker(book())
    worker.task(1, "p", route=ROUTE)
    slice_of(worker, "a", "both halves")
    gather = list(worker.core.inbox.jobs.values())[-1].gather
    for now, complete in ((0.3, False), (0.5, True)):
        worker.now = now
        worker.take(Tick())
        assert gather.complete is complete


def test_what_the_same_request_still_has_to_do_here_is_not_under_way_beside_it() -> None:
    worker = LoneWorker(book())
    worker.task(0, "p", route=ROUTE)
    slice_of(worker, "a", "both halves")
    worker.now = 0.3
    worker.take(Tick())
    assert list(worker.core.inbox.jobs.values())[-1].gather.complete


def test_who_was_absent_for_another_still_needs_its_own() -> None:
    worker = LoneWorker(book())
    body = "of b, who did not hear of a in time"
    actions = worker.task(0, "p", 1, giver="b", route=ROUTE, sliced=True, body=body, absent=("a",))
    assert of(Run, actions) == []
    (run,) = of(Run, slice_of(worker, "a", "both halves"))
    assert sorted(run.given[0].bodies) == ["a", "b"]


def test_a_node_that_never_ran_the_stage_before_refuses() -> None:
    worker = LoneWorker(book())
    route = (("b",), ("a", "b"), ("a",))
    actions = worker.task(0, "p", 1, giver="b", route=route, sliced=True, body="of b")
    ((_, refused),) = sent(Refused, actions)
    assert refused.why is Why.TOO_FEW_SLICES
