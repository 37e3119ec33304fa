"""Stories of a service's life: load, refusals, draining, several gateways, new playbooks."""

from collections import Counter
from typing import Any

import pytest
from tests.core.toys import (
    Story,
    check,
    devices,
    every,
    find,
    one,
    pipeline,
    plan,
    playbook,
)
from tests.sim.chaos import Watch

from shoal.core.actions import Deliver, Send
from shoal.core.events import LinkMeasured, Tick
from shoal.core.messages import CoreMessage, Installed
from shoal.plan.plan import Spread
from shoal.sim.engine import Symbols, Token
from shoal.sim.node import Node
from shoal.sim.world import World

ANY = playbook(plan("any", one(0, 12, "abc")))


def counted(story: Story) -> Counter[str]:
    """Counts the messages between nodes by kind, from now on."""
    sent: Counter[str] = Counter()

    def tamper(giver: str, taker: str, message: CoreMessage) -> tuple[float, ...]:
        sent[type(message).__name__] += 1
        return (0.0,)

    story.world.tamper = tamper
    return sent


# -- load


def test_more_than_the_workers_can_do_waits_its_turn_and_is_sent_once() -> None:
    story = Story("abc", ANY)
    sent = counted(story)
    story.ask(300)
    answers = story.answers()
    assert sent["Task"] == 300
    assert {answer.attempts for answer in answers} == {1}
    shares = Counter(devices(answer)[0] for answer in answers)
    assert max(shares.values()) - min(shares.values()) <= 6


def test_workers_that_refuse_are_not_asked_more_and_more() -> None:
    story = Story([], ANY, ready=False)
    for name in "abc":
        story.world.add(name, worker={"inbox": 2})
    story.world.add("h", gateway={})
    story.world.adopt("h", ANY)
    story.world.run(0.1)
    sent = counted(story)
    for _ in range(100):
        story.ask(1)
        story.ask(1, gateway="h")
    answers = story.answers()
    assert len(answers) == 200
    assert sent["Task"] < 500, "not many more refusals than requests"
    assert max(r.at for r in story.replies()) < 2 * 200 * 0.010 / 3


def test_slow_workers_are_not_asked_twice_by_those_who_know_nobody_else() -> None:
    ran: Counter[str] = Counter()

    def run_ms(device: str, part: str, batch: int) -> float:
        ran[device] += 1
        return 700.0

    story = Story("a", playbook(plan("a", one(0, 12, "a"))), engine=Symbols(run_ms=run_ms))
    story.ask(40, budget_ms=60_000)
    answers = story.answers()
    assert len(answers) == 40
    assert ran["a"] == 40


def test_what_a_worker_has_done_it_does_not_do_again_for_a_second_attempt() -> None:
    ran: Counter[str] = Counter()

    def run_ms(device: str, part: str, batch: int) -> float:
        ran[device] += 1
        return 10.0 if device == "a" else 5_000.0

    book = playbook(plan("ab", one(0, 6, "a"), one(6, 12, "b")))
    story = Story("ab", book, engine=Symbols(run_ms=run_ms))
    story.ask(1, budget_ms=60_000)
    (answer,) = story.answers()
    assert answer.attempts > 1, "its gateway had doubts"
    assert ran == {"a": 1, "b": 1}


def test_requests_that_wait_for_the_same_stage_are_run_together() -> None:
    batches: list[int] = []

    def run_ms(device: str, part: str, batch: int) -> float:
        batches.append(batch)
        return 10.0

    story = Story("a", playbook(plan("a", one(0, 12, "a", batch=4))), engine=Symbols(run_ms=run_ms))
    story.ask(12)
    answers = story.answers()
    assert len(answers) == 12
    assert max(batches) == 4, "the gateway keeps a batch waiting while one runs"
    assert {step.batch for answer in answers for step in answer.trace} == {1, 3, 4}


def test_one_bad_input_in_a_batch_spoils_only_its_own_request() -> None:
    def fails(device: str, part: str, made: tuple[object, ...]) -> str | None:
        return "not a number" if made == ("input", "x2") else None

    story = Story("abc", playbook(plan("any", one(0, 12, "abc", batch=4))))
    story.world.engine = Symbols(fails=fails)
    story.ask(12)
    story.end()
    kinds = [type(reply.what).__name__ for reply in story.replies()]
    assert kinds == ["Deliver", "Deliver", "Reject"] + ["Deliver"] * 9
    reject = story.replies()[2].what
    assert reject.kind == "remote"  # type: ignore[union-attr]
    assert "not a number" in reject.text  # type: ignore[union-attr]


def test_hedging_asks_a_second_device_and_the_first_answer_counts() -> None:
    plain, hedged = Story("abc", ANY), Story("abc", ANY, gateway={"hedge_s": 0.03})
    for story in (plain, hedged):
        story.world.slow("a", 20)
        story.ask(9)
        story.answers()
    assert max(r.at for r in plain.replies()) > 0.2
    assert max(r.at for r in hedged.replies()) < 0.12
    hedged.world.run(3.0)
    assert hedged.left_behind() == {}


# -- refusals


def test_a_device_that_fails_all_it_is_given_is_avoided() -> None:
    engine = Symbols(fails=lambda device, part, made: "no memory" if device == "a" else None)
    story = Story("abc", ANY, engine=engine)
    story.ask(30)
    answers = story.answers()
    assert all(devices(answer) != ["a"] for answer in answers)
    assert sum(answer.attempts > 1 for answer in answers) < 15


def test_a_part_that_cannot_be_loaded_leaves_its_device_out() -> None:
    engine = Symbols(unloadable=lambda device, part: "disk full" if device == "b" else None)
    story = Story("ab", playbook(pipeline("ab", "a", "b"), pipeline("aa", "a", "a")), engine=engine)
    story.ask(3)
    assert {answer.plan for answer in story.answers()} == {"aa"}
    story.world.kill("a")
    story.world.run(0.1)
    story.ask(1, budget_ms=300)
    story.end()
    assert "disk full" in story.replies()[-1].what.text  # type: ignore[union-attr]


def test_a_device_that_loses_its_playbook_is_asked_to_install_it_not_to_run_it() -> None:
    engine = Symbols(load_ms=lambda device, part: 2_000.0)
    story = Story("a", playbook(plan("a", one(0, 12, "a"))), engine=engine)
    story.world.nodes["a"].worker.library.uninstall("g")
    sent = counted(story)
    story.ask(1)
    asked = story.world.now
    (answer,) = story.answers()
    assert sent["Task"] <= 3
    assert sent["Install"] <= 3
    assert 2.0 < story.replies()[0].at - asked < 2.2
    assert answer.attempts <= 3


def test_a_request_does_not_hurry_from_one_refusal_to_the_next() -> None:
    """A worker that says that it has a part and refuses each task of it all the same."""
    story = Story("a", playbook(plan("a", one(0, 12, "a"))))
    worker = story.world.nodes["a"].worker
    worker.library._ready.clear()
    worker.library.install = lambda sender, message, now, busy: [  # type: ignore[method-assign]
        Send(sender, Installed("book", ("0-12",)))
    ]
    sent = counted(story)
    story.ask(1, budget_ms=10_000)
    (reject,) = story.rejects()
    assert "part missing" in reject.text
    assert sent["Task"] < 25


# -- devices come and go


def test_a_worker_that_drains_ends_its_work_and_gets_no_more() -> None:
    story = Story("abc", ANY)
    story.ask(12)
    story.world.run(0.015)
    story.world.drain("b")
    story.world.run(0.1)
    assert story.world.nodes["b"].drained
    story.ask(12)
    answers = story.answers()
    assert all(devices(answer) != ["b"] for answer in answers[12:])
    assert {answer.attempts for answer in answers} == {1}


def test_a_pipeline_is_drained_without_a_loss() -> None:
    book = playbook(pipeline("abc", "a", "b", "c"), pipeline("ac", "a", "c"))
    story = Story("abc", book)
    story.ask(12)
    story.world.run(0.03)
    story.world.drain("b")
    answers = story.answers()
    assert answers[-1].plan == "ac"
    assert story.world.nodes["b"].drained


def test_a_worker_that_comes_later_is_used_from_then_on() -> None:
    story = Story("ab", ANY, ready=False)
    story.world.run(0.1)
    story.ask(10)
    story.answers()
    story.world.add("c")
    assert story.world.run_until(story.ready)
    story.ask(10)
    assert ["c"] in [devices(answer) for answer in story.answers()[10:]]


# -- gateways


def test_two_gateways_share_workers_and_keep_their_requests_apart() -> None:
    story = Story("abc", ANY)
    story.world.add("h", gateway={})
    story.world.adopt("h", ANY)
    story.world.run(0.1)
    for _ in range(20):
        story.ask(1)
        story.ask(1, gateway="h")
    story.world.run(0.02)
    story.world.kill("a")
    assert len(story.answers()) == 40


def test_answers_to_an_earlier_life_of_a_gateway_are_not_taken_for_this_ones() -> None:
    story = Story("a", playbook(plan("a", one(0, 12, "a"))), engine=Symbols(run_ms=lambda *_: 300))
    world = story.world
    world.by_name = True
    story.ask(1)
    world.run(0.05)
    world.cut("g", "a", both=False)  # the worker sees nothing of the restart for a while
    world.restart("g")
    world.adopt("g", story.books[0])
    world.run(0.1)
    again = world.submit("g", Token(("input", "other"), 1000))
    world.run(0.1)
    world.heal("g", "a")
    world.run(3.0)
    (reply,) = world.replies[again]
    assert isinstance(reply.what, Deliver)
    check(reply.what, "other", story.books)


def test_the_gateway_can_run_parts_as_well() -> None:
    story = Story("a", playbook(plan("ga", one(0, 6, "g"), one(6, 12, "a"))))
    story.ask(5)
    assert devices(story.answers()[0]) == ["g", "a"]


# -- playbooks


def test_a_newer_playbook_takes_over_when_it_is_in_place_and_nothing_is_lost() -> None:
    old = playbook(pipeline("abc", "a", "b", "c"), id="old")
    new = playbook(plan("any", one(0, 12, "abc")), id="new")
    story = Story("abc", old, engine=Symbols(load_ms=lambda *_: 100.0))
    Watch(story.world, [old, new])
    story.ask(10)
    story.world.run(0.02)
    story.books.append(new)
    story.world.adopt("g", new)
    story.ask(60)
    answers = story.answers()
    assert {answer.plan for answer in answers} == {"abc", "any"}
    assert {answer.attempts for answer in answers} == {1}
    assert [answer.plan for answer in answers[-10:]] == ["any"] * 10
    story.world.run(2)
    assert all(
        story.world.nodes[name].worker.library.playbook("old") is None for name in story.world.nodes
    )
    assert story.world.nodes["b"].loaded == {"0-12"}


def test_a_request_does_not_go_on_from_the_tensors_of_another_playbook() -> None:
    """Two playbooks may call different tensors by one name."""
    old = playbook(plan("ab", one(0, 6, "a"), one(6, 12, "b")), id="old")
    new = playbook(plan("ac", one(0, 6, "a"), one(6, 12, "c")), id="new")
    ran: list[tuple[str, str]] = []

    def run_ms(device: str, part: str, batch: int) -> float:
        ran.append((device, part))
        return 10.0

    story = Story("abc", old, engine=Symbols(run_ms=run_ms))
    story.ask(1)
    story.world.run(0.005)
    story.books.append(new)
    story.world.adopt("g", new)
    story.world.run(0.010)
    story.world.kill("b")
    story.answers()
    assert ran == [("a", "0-6"), ("b", "6-12"), ("a", "0-6"), ("c", "6-12")]


@pytest.mark.parametrize("spread", list(Spread))
def test_a_tick_too_many_does_no_harm(spread: Spread) -> None:
    stage = one(0, 12, "ab") if spread is Spread.ONE else every(0, 12, "ab")
    story = Story("ab", playbook(plan("p", stage)))
    story.ask(3)
    for _ in range(50):
        for node in story.world.nodes.values():
            node.handle(Tick(), node.life)
        story.world.run(0.001)
    assert len(story.answers()) == 3


def test_the_world_of_a_thousand_nodes_is_set_up_and_answers() -> None:
    world = World(
        Symbols(), policies=find, neighbours=lambda a, b: a.split("-")[0] == b.split("-")[0]
    )
    for group in range(50):
        world.add(f"{group}-g", gateway={})
        names = [f"{group}-{k}" for k in range(19)]
        for name in names:
            world.add(name)
        book = playbook(
            plan("p", *(one(3 * k, 3 * k + 3, names[k::4]) for k in range(4))), id=str(group)
        )
        world.adopt(f"{group}-g", book)
    world.run(0.1)
    for group in range(50):
        for k in range(4):
            world.submit(f"{group}-g", Token(("input", f"x{k}"), 1000))
    world.run(1.0)
    assert all(isinstance(reply.what, Deliver) for (reply,) in world.replies.values())


def test_what_is_watched_is_what_happens() -> None:
    story = Story("a", playbook(plan("a", one(0, 12, "a"))))
    steps: list[str] = []
    story.world.run(0.05)

    def watch(node: Node, event: Any, actions: Any) -> None:
        if not isinstance(event, LinkMeasured):
            steps.append(f"{node.name} {type(getattr(event, 'message', event)).__name__}")

    story.world.watch = watch
    story.ask(1)
    story.answers()
    assert steps == ["g Submitted", "a Task", "a Ran", "g Answered"]
