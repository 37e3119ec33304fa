"""What a node remembers of its steps, and what it does not keep."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.core.alone import LoneGateway, LoneWorker, of, sent
from tests.core.toys import one, plan, playbook

from shoal.core import actions, events
from shoal.core.actions import Deliver, Given, Run, Send, UnloadPart
from shoal.core.events import (
    Adopt,
    Arrived,
    JobKey,
    LinkMeasured,
    NodeEvent,
    Outcome,
    Ran,
    Submitted,
    Tick,
    Unreachable,
    Unsent,
)
from shoal.core.log import Log, Step
from shoal.core.messages import Answered, Busy, Install, Load, Refused, StageTrace, Task, Why

BOOK = playbook(plan("ab", one(0, 6, "a"), one(6, 12, "b")))
ALONE = playbook(plan("own", one(0, 12, "g")), id="alone")
ABOUT = ("g", "g1", 0, 1)
KEY = JobKey(*ABOUT, 0)


class Tensors:
    """Stands for what must not stay."""


def holds(value: Any) -> bool:
    """Whether tensors are in it, however deep."""
    return any(isinstance(each, Tensors) for each in everything(value))


def everything(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from everything(getattr(value, name))
    elif isinstance(value, dict):
        for each in value.values():
            yield from everything(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from everything(each)


WITH_BODIES: list[Any] = [
    Arrived("a", Answered(*ABOUT, "ab", 1, "b"), Tensors(), 1000),
    Submitted(0, Tensors(), 1000.0, 3),
    Ran((KEY,), (Outcome(Tensors(), 10, 0.5, Tensors(), 7),), 10.0, 1.0),
    Send("a", Task(*ABOUT, "book", "ab", 0, "g", (), 1e3), Tensors(), "half"),
    Run((KEY,), "0-6", (Given({"b": Tensors(), "c": Tensors()}),), ("t6",), apart=True),
    Deliver(0, Given({"b": Tensors()}), "ab", 1, False, None, (), ()),
]


def test_the_examples_are_all_that_have_bodies() -> None:
    """So that a new kind of event or action with tensors in it is thought of here, and in the
    log."""
    have = {
        kind.__name__
        for module in (events, actions)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        if any("Body" in str(text) for text in kind.__annotations__.values())
    }
    assert have == {"Arrived", "Submitted", "Outcome", "Send", "Given"}
    assert all(map(holds, WITH_BODIES))


@pytest.mark.parametrize("what", WITH_BODIES, ids=lambda what: type(what).__name__)
def test_bodies_are_not_kept_but_all_else_is(what: Any) -> None:
    log, whole = Log("g"), list[Step]()
    log.tap = whole.append
    is_event = isinstance(what, Arrived | Submitted | Ran)
    event = what if is_event else Tick()
    send = [what] if isinstance(what, Send) else []
    log.note(1.5, event, [] if is_event else [what], send)
    (step,) = log.steps
    assert whole == [step]
    assert not holds(step)
    kept = step.event if is_event else step.actions[0]
    for name in what.__struct_fields__:
        if not holds(getattr(what, name)):
            assert getattr(kept, name) == getattr(what, name)
    if isinstance(kept, Ran):
        assert kept.outcomes == (Outcome(None, 10, 0.5, None, 7),)
    if isinstance(kept, Run):
        assert kept.given == (Given({"b": None, "c": None}),)
    if isinstance(kept, Deliver):
        assert kept.given == Given({"b": None})


def test_tensors_go_when_the_node_needs_them_no_more() -> None:
    gateway = LoneGateway(BOOK)
    body, made = Tensors(), Tensors()
    gone = weakref.ref(body), weakref.ref(made)
    ((_, task),) = sent(Task, gateway.take(Submitted(0, body, 1000.0)))
    assert of(Deliver, gateway.answer("b", task, made, stage=1))
    del body, made
    gc.collect()
    assert [one() for one in gone] == [None, None]
    assert [type(step.event) for step in gateway.node.log.steps[-2:]] == [Submitted, Arrived]


def test_only_the_latest_steps_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log("g", 3)
    for k in range(10):
        log.note(float(k), Submitted(k, None, 1000.0), [])
    assert [step.at for step in log.steps] == [7.0, 8.0, 9.0]


def test_a_full_log_gives_the_garbage_collector_nothing_to_do() -> None:
    """It would go through thousands of steps, again and again."""
    log = Log("g")
    gc.collect()
    before = len(gc.get_objects())
    for k in range(1000):
        trace = (StageTrace(0, f"a{k}", float(k)), StageTrace(1, f"b{k}", float(k)))
        answer = Answered("g", "g1", k, 1, "ab", 1, "b", trace=trace)
        given = Given({"b": Tensors()})
        deliver = Deliver(k, given, "ab", 1, False, None, (), trace)
        task = Task("g", "g1", k, 1, "book", "ab", 0, "g", (("a",), ("b",)), 1e3)
        log.note(float(k), Arrived("b", answer, Tensors()), [deliver, Send("a", task, Tensors())])
        log.note(float(k), Ran((KEY,), (Outcome(Tensors(), k),), 1.0), [])
        log.note(float(k), Tick(), [Run((KEY,), "0-6", (given,), ("t6",))])
    del trace, answer, given, deliver, task
    gc.collect()
    assert len(log.steps) == 3000
    assert len(gc.get_objects()) - before < 100


QUIET: list[NodeEvent] = [
    Tick(),
    LinkMeasured("a", 1e6, 1.0, 0.0),
    Unreachable({}),
    Arrived("a", Busy(Load())),
]


@pytest.mark.parametrize("event", QUIET, ids=lambda event: type(event).__name__)
def test_what_comes_often_and_tells_nothing_pushes_nothing_out(event: NodeEvent) -> None:
    log, whole = Log("g"), list[Step]()
    log.note(0.0, event, [])
    assert log.steps == []
    log.tap = whole.append
    log.note(1.0, event, [])
    assert [step.event for step in whole] == [event], "but a recording has it"
    log.note(2.0, event, [UnloadPart("0-6")])
    log.remark(0, "something")
    log.note(3.0, event, [])
    assert [step.at for step in log.steps] == [2.0, 3.0]


def test_what_playbooks_hold_is_for_the_recording_alone() -> None:
    log, whole = Log("g"), list[Step]()
    log.tap = whole.append
    log.note(0.0, Adopt(BOOK), [Send("a", Install(BOOK)), UnloadPart("0-6")])
    log.note(1.0, Arrived("g", Install(BOOK)), [])
    log.note(2.0, Unsent("a", Install(BOOK)), [], [Send("g", Install(BOOK))])
    assert whole[0].event == Adopt(BOOK)
    assert whole[1].event == Arrived("g", Install(BOOK))
    for step in log.steps:
        books = [each for each in everything(step) if isinstance(each, type(BOOK))]
        assert {(book.id, book.plans, len(book.parts)) for book in books} == {("book", (), 0)}
    assert log.steps[0].actions[1] == UnloadPart("0-6")


def test_what_a_node_says_to_itself_is_in_the_step() -> None:
    gateway = LoneGateway(BOOK, "")
    gateway.take(Adopt(ALONE))
    (step,) = gateway.node.log.steps[-1:]
    assert [type(send.message).__name__ for send in step.own] == ["Install"]
    assert not any(isinstance(each, Send) and each.to == "g" for each in step.actions)


def test_a_step_that_raised_says_so() -> None:
    gateway = LoneGateway(BOOK)
    gateway.ask(5)
    with pytest.raises(ValueError, match="numbers count up"):
        gateway.take(Submitted(5, "x", 1000.0))
    assert gateway.node.log.steps[-1].error.startswith("ValueError: request 5 came after 5")


def test_what_the_gateway_asked_of_bodies_is_in_the_step() -> None:
    """A replay has no bodies to ask."""
    gateway = LoneGateway(BOOK, digest=lambda body: (f"digest of {body}",))
    gateway.ask(0)
    gateway.take(events.Vanished("a", "a1"))
    step = gateway.node.log.steps[-1]
    assert step.digests == (("digest of x0",),)
    assert gateway.node.log.steps[-2].digests == ()


def test_remarks_are_of_the_step_in_which_they_were_made() -> None:
    gateway = LoneGateway(BOOK)
    ((_, task),) = sent(Task, gateway.ask(0))
    gateway.refuse("a", task, Why.RUN_FAILED)
    gateway.ask(1)
    *_, refused, asked = gateway.node.log.steps
    assert isinstance(refused.event, Arrived)
    assert isinstance(refused.event.message, Refused)
    assert [remark.number for remark in refused.remarks] == [0]
    assert asked.remarks == ()


def test_a_worker_has_a_log_as_well() -> None:
    worker = LoneWorker(BOOK)
    (run,) = of(Run, worker.task(0, "ab", body=Tensors()))
    worker.ran(run)
    *_, came, ran = worker.node.log.steps
    assert [type(action) for action in came.actions] == [Run]
    assert [type(action) for action in ran.actions] == [Send]
    assert worker.node.log.name == "a"
