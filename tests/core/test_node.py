"""A node as one machine: whom a message concerns, and what becomes of one that does not leave."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from tests.core.alone import LoneGateway, LoneWorker, of, sent
from tests.core.toys import find, one, plan, playbook

from shoal.core.actions import Deliver, Drained, FetchPart, Reject, Run, Send
from shoal.core.actions import LoadPart as LoadPart
from shoal.core.events import (
    Adopt,
    Arrived,
    Cancelled,
    Damaged,
    Fetched,
    Loaded,
    NameTaken,
    Outcome,
    Ran,
    Submitted,
    Tick,
    Unpackable,
    Unreachable,
    Unsent,
)
from shoal.core.gateway.gateway import GatewayCore
from shoal.core.messages import (
    Answered,
    Busy,
    CoreMessage,
    DeviceInfo,
    Forget,
    Heard,
    Hello,
    Holding,
    Install,
    Installed,
    Itinerary,
    Leave,
    Load,
    Loading,
    Moved,
    Refused,
    Resume,
    Task,
    Trial,
    Uninstall,
    Why,
)
from shoal.core.node import NodeCore
from shoal.core.shared.routes import LinkName
from shoal.core.worker.worker import WorkerCore

BOOK = playbook(
    plan("ab", one(0, 6, "a"), one(6, 12, "b")), plan("ac", one(0, 6, "a"), one(6, 12, "c"))
)
ALONE = playbook(plan("own", one(0, 12, "g")), id="alone")
ABOUT = ("g", "g1", 0, 1)

CONCERNS: dict[CoreMessage, str] = {
    Task(*ABOUT, 0, "x", 1e3): "worker",
    Resume(*ABOUT, 1, 1e3, Itinerary("book", "ab", ())): "worker",
    Leave(*ABOUT, 0): "worker",
    Forget("g", "g1"): "worker",
    Heard("0-6"): "worker",
    Uninstall("book"): "worker",
    Answered(*ABOUT, "ab", 1, "x"): "gateway",
    Refused(*ABOUT, 0, Why.OVERLOADED): "gateway",
    Moved(*ABOUT, 0, ()): "gateway",
    Trial(*ABOUT, 0): "gateway",
    Loading("0-6"): "gateway",
    Hello(DeviceInfo("x", "x1")): "worker gateway",
    Holding(()): "worker gateway",
    Busy(Load()): "worker gateway",
}
UNHASHABLE = {Install: "worker", Installed: "gateway"}


class Ears:
    """A node of which one hears who is told a message."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        worker = WorkerCore(DeviceInfo("g", "g1"), policies=find)
        gateway = GatewayCore("g", policies=find, digest=lambda body: ())
        self.node = NodeCore(worker, gateway)
        self.told: list[str] = []

        def ear(who: str) -> Any:
            def hear(sender: str, message: CoreMessage, *_: Any) -> list[Any]:
                self.told.append(who)
                return []

            return hear

        monkeypatch.setattr(worker, "hear", ear("worker"))
        monkeypatch.setattr(gateway, "hear", ear("gateway"))

    def say(self, message: CoreMessage) -> str:
        self.told.clear()
        self.node.handle(Arrived("x", message), 0.0)
        return " ".join(self.told)


def test_each_message_goes_to_whom_it_concerns(monkeypatch: pytest.MonkeyPatch) -> None:
    ears = Ears(monkeypatch)
    for message, who in CONCERNS.items():
        assert ears.say(message) == who, message
    assert ears.say(Install(BOOK)) == UNHASHABLE[Install]
    assert ears.say(Installed("book", ())) == UNHASHABLE[Installed]
    assert {*map(type, CONCERNS), *UNHASHABLE} == set(get_args(CoreMessage))


@pytest.mark.parametrize(
    "message", [Task(*ABOUT, 0, "g", 1e3), Answered(*ABOUT, "ab", 1, "b")], ids=["task", "answer"]
)
def test_nobody_speaks_for_another(
    message: Task | Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Ears(monkeypatch).say(message) == ""


def test_a_node_that_nobody_asks_ignores_what_concerns_gateways() -> None:
    worker = LoneWorker(BOOK)
    assert worker.hear("b", Answered(*ABOUT, "ab", 1, "b")) == []
    assert worker.take(Submitted(0, "x0", 1000.0)) == []


def test_what_a_node_says_to_itself_is_heard_at_once() -> None:
    """From the playbook that its gateway adopts to the run of a request, nothing leaves it."""
    gateway = LoneGateway(BOOK, "")
    todo, sends = gateway.take(Adopt(ALONE)), []
    while todo:
        match todo.pop(0):
            case FetchPart(book, part):
                todo += gateway.take(Fetched(book, part))
            case LoadPart(book, part):
                todo += gateway.take(Loaded(book, part))
            case Send() as send:
                sends.append(send)
    (run,) = of(Run, gateway.ask(0))
    ran = Ran(run.jobs, (Outcome("made here", 10),), 10.0)
    (deliver,) = of(Deliver, gateway.take(ran))
    assert (deliver.number, deliver.given.bodies) == (0, {"g": "made here"})
    assert sends == []


# -- what could not be sent


@pytest.mark.parametrize("full", [False, True])
def test_the_next_device_is_asked_when_a_task_does_not_leave(full: bool) -> None:
    gateway = LoneGateway(BOOK)
    ((to, task),) = sent(Task, gateway.ask(0))
    assert (to, task.itinerary.plan) == ("a", "ab")
    book = playbook(plan("a", one(0, 12, "a")), plan("b", one(0, 12, "b")), id="two")
    gateway = LoneGateway(book, "ab")
    ((to, task),) = sent(Task, gateway.ask(0))
    assert to == "a"
    ((other, again),) = sent(Task, gateway.take(Unsent("a", task, full)))
    assert (other, again.attempt) == ("b", 2)


def test_a_full_link_is_not_booked_on_the_device_that_could_not_send() -> None:
    """It was: the gateway took the innocent giver for overloaded."""
    gateway = LoneGateway(BOOK)
    ((_, task),) = sent(Task, gateway.ask(0))
    refused = gateway.refuse("a", task, Why.LINK_FULL, stage=1, absent=("b",))
    ((to, resume),) = sent(Resume, refused)
    assert (to, resume.itinerary.plan) == ("a", "ac")
    limits = gateway.core.devices.limits
    assert limits.devices() == []
    assert limits.links() == [LinkName("a", "b")]


def test_while_a_link_is_full_others_go_another_way_and_then_it_is_used_again() -> None:
    gateway = LoneGateway(BOOK)
    ((_, task),) = sent(Task, gateway.ask(0))
    gateway.refuse("a", task, Why.LINK_FULL, stage=1, absent=("b",))
    ((_, other),) = sent(Task, gateway.ask(1))
    assert other.itinerary.plan == "ac"
    gateway.now = 1.0  # its pause is over
    ((_, probing),) = sent(Task, gateway.ask(2))
    assert probing.itinerary.plan == "ab"
    ((_, beside),) = sent(Task, gateway.ask(3))
    assert beside.itinerary.plan == "ac"  # one at a time, until it is known to take more


def test_a_full_link_of_a_worker_is_told_to_the_gateway_that_owns_the_request() -> None:
    worker = LoneWorker(BOOK)
    (run,) = of(Run, worker.task(0, "ab"))
    ((to, task),) = sent(Task, worker.ran(run))
    ((gateway, refused),) = sent(Refused, worker.take(Unsent(to, task, full=True)))
    assert (gateway, refused.why, refused.absent) == ("g", Why.LINK_FULL, ("b",))


def test_a_refusal_tells_why_the_next_device_is_out_of_reach() -> None:
    worker = LoneWorker(BOOK)
    worker.take(Unreachable({"b": "no address of it answers"}))
    (run,) = of(Run, worker.task(0, "ab"))
    ((to, task),) = sent(Task, worker.ran(run))
    ((_, refused),) = sent(Refused, worker.take(Unsent(to, task)))
    assert refused.text == "a cannot reach b: no address of it answers"
    worker.take(Unreachable({}))
    (run,) = of(Run, worker.task(1, "ab"))
    ((to, task),) = sent(Task, worker.ran(run))
    ((_, refused),) = sent(Refused, worker.take(Unsent(to, task)))
    assert refused.text == ""


@pytest.mark.parametrize("message", [Answered(*ABOUT, "ab", 1, "a"), Hello(DeviceInfo("a", "a1"))])
def test_what_nobody_can_do_anything_about_is_let_go(message: CoreMessage) -> None:
    assert LoneWorker(BOOK).take(Unsent("g", message)) == []


def test_devices_that_could_not_be_told_what_is_over_hear_it_later() -> None:
    gateway = LoneGateway(BOOK, "a")
    gateway.ask(0)
    gateway.take(Cancelled(0))
    gateway.take(Unsent("a", Forget("g", "g1", (0,), 0)))
    gateway.now = 2.0
    assert sent(Forget, gateway.take(Tick())) == [("a", Forget("g", "g1", (), 1))]


# -- what came, or was made, and cannot be used


def test_a_damaged_answer_is_a_failed_attempt() -> None:
    book = playbook(plan("a", one(0, 12, "a")), plan("b", one(0, 12, "b")), id="two")
    gateway = LoneGateway(book, "ab")
    ((_, task),) = sent(Task, gateway.ask(0))
    damaged = Damaged("a", Answered(*ABOUT[:3], task.attempt, "a", 0, "a"), "its bytes are short")
    ((to, again),) = sent(Task, gateway.take(damaged))
    assert (to, again.attempt) == ("b", 2)


def test_what_no_codec_packs_fails_the_request_that_it_is_of() -> None:
    gateway = LoneGateway(playbook(plan("a", one(0, 12, "a"))), "a")
    ((_, task),) = sent(Task, gateway.ask(0))
    actions = gateway.take(Unpackable("a", task, "no codec packs complex64"))
    for _ in range(20):
        gateway.now += 0.1
        actions = actions or gateway.take(Unpackable("a", task, "no codec packs complex64"))
    assert gateway.core.requests[0].faults == ["a: run failed (no codec packs complex64)"]


def test_a_worker_tells_the_gateway_that_what_it_made_cannot_be_packed() -> None:
    answer = Answered(*ABOUT, "ab", 1, "a")
    ((to, refused),) = sent(Refused, LoneWorker(BOOK).take(Unpackable("g", answer, "too large")))
    assert (to, refused.why, refused.stage) == ("g", Why.RUN_FAILED, 1)


def test_a_node_whose_name_is_taken_stops() -> None:
    assert LoneWorker(BOOK).take(NameTaken()) == [Drained()]


def test_a_request_is_refused_at_once_when_too_many_wait() -> None:
    gateway = LoneGateway(BOOK, max_pending=1)
    gateway.ask(0)
    (reject,) = of(Reject, gateway.ask(1))
    assert reject.kind == "overloaded"
