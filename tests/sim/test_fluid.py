"""Devices that answer together, each for itself, and when one of them is lost: in virtual time."""

from itertools import combinations
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings
from tests.core import toys
from tests.core.toys import Story, check, devices, every, one, plan, playbook

from shoal.core.actions import Deliver
from shoal.core.messages import CoreMessage
from shoal.plan.plan import Plan, Playbook, PolicySpec
from shoal.strategies.fluid.policy import policy

MARKS = {"high_s": 0.3, "low_s": 0.05, "calm_s": 0.5}
SERVICE_S = 0.025
"""Of an answer given together: two runs, and the way there and back."""


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(toys.POLICIES, "fluid", policy)


def with_accuracy(made: Plan, accuracy: float) -> Plan:
    facts = msgspec.structs.replace(made.forecast, accuracy=accuracy)
    return msgspec.structs.replace(made, forecast=facts)


def book_of(names: str, **marks: Any) -> Playbook:
    """Two stages that all of ``names`` run together, exchanging slices in between; the same for
    every smaller set of them; and each for itself."""
    plans = []
    for size in range(len(names), 1, -1):
        for some in combinations(names, size):
            stages = [
                every(0, 6, some, least=size, deadline_ms=1000),
                every(6, 12, some, op="sum", least=size, deadline_ms=1000),
            ]
            made = plan(f"together {''.join(some)}", *stages)
            plans.append(with_accuracy(made, 0.9 + 0.1 * size / len(names)))
    plans += [with_accuracy(plan(f"alone {name}", one(0, 12, name)), 0.9) for name in names]
    book = playbook(*plans, policy="fluid")
    return msgspec.structs.replace(book, policy=PolicySpec("fluid", {**MARKS, **marks}))


def plans_of(answers: list[Deliver]) -> list[str]:
    return [answer.plan for answer in answers]


def test_together_all_give_their_slices() -> None:
    story = Story("abc", book_of("abc"))
    story.ask()
    (answer,) = story.answers()
    assert answer.plan == "together abc"
    assert sorted(devices(answer)) == ["a", "a", "b", "b", "c", "c"]


@pytest.mark.parametrize("after_ms", [1, 4, 12, 15, 23])
def test_a_device_dies_at_any_moment_and_the_other_answers(after_ms: float) -> None:
    story = Story("ab", book_of("ab"))
    story.ask()
    story.world.run(after_ms / 1e3)
    story.world.kill("b")
    (answer,) = story.answers()
    assert answer.plan in ("alone a", "together ab")  # the last slice may have been on its way
    story.ask()
    assert plans_of(story.answers())[1:] == ["alone a"]


def test_who_comes_back_is_used_from_the_next_request() -> None:
    story = Story("ab", book_of("ab"))
    story.world.kill("b")
    story.world.run(1)
    story.ask()
    story.end()
    story.world.restart("b")
    assert story.world.run_until(story.ready)
    story.ask()
    assert plans_of(story.answers()) == ["alone a", "together ab"]


def test_much_to_do_is_done_apart_and_the_requests_of_who_dies_go_to_the_other() -> None:
    story = Story("ab", book_of("ab"))
    story.ask(100)
    story.world.run(0.2)
    story.world.kill("b")
    plans = plans_of(story.answers())
    assert len(plans) == 100
    assert plans[-1] == "alone a"
    assert {"alone a", "alone b"} <= set(plans)


def test_nobody_waits_longer_because_the_mode_changes() -> None:
    """Requests come in faster than all together can answer, then slowly again: of those that
    begin after a change, none takes longer than one service time more than those before."""
    story = Story("ab", book_of("ab"))
    asked: list[float] = []

    def ask_for(seconds: float, pause: float) -> None:
        end = story.world.now + seconds
        while story.world.now < end:
            asked.append(story.world.now)
            story.ask()
            story.world.run(pause)

    ask_for(1.0, 0.05)
    ask_for(3.0, 1 / 150)  # together: 50 a second, for itself: 200
    ask_for(3.0, 0.05)
    story.end()
    replies = story.replies()
    waits = [reply.at - at for reply, at in zip(replies, asked, strict=True)]
    modes = [reply.what.plan.split()[0] for reply in replies if isinstance(reply.what, Deliver)]
    changes = [k for k in range(1, len(modes)) if modes[k] != modes[k - 1]]
    first, last = changes[0], changes[-1]
    assert (modes[0], modes[first], modes[-1]) == ("together", "alone", "together")
    longest = max(waits[:first])
    assert max(waits[first:last]) <= longest + SERVICE_S
    assert max(waits[last:]) <= SERVICE_S + 0.015
    assert len(changes) <= 4


def test_the_floor_keeps_all_together_whatever_the_load() -> None:
    story = Story("ab", book_of("ab", floor=0.95))
    story.ask(60)
    assert set(plans_of(story.answers())) == {"together ab"}


FAULTS = ("kill", "restart", "freeze", "thaw", "cut", "heal", "slow")


@given(
    faults=st.lists(
        st.tuples(
            st.floats(0, 0.4),
            st.sampled_from(FAULTS),
            st.sampled_from("abc"),
            st.sampled_from("abcsg"),
            st.integers(0, 8),
        ),
        max_size=15,
    ),
    lost=st.sets(st.integers(0, 300), max_size=10),
)
@settings(max_examples=25, deadline=None)
def test_whatever_happens_to_the_others_a_survivor_answers_everybody_once(
    faults: list[tuple[float, str, str, str, int]], lost: set[int]
) -> None:
    toys.POLICIES["fluid"] = policy
    book = book_of("abcs")
    story = Story("abcs", book)
    carried = 0

    def tamper(giver: str, taker: str, message: CoreMessage) -> tuple[float, ...]:
        nonlocal carried
        carried += 1
        return () if carried in lost else (0.0,)

    story.world.tamper = tamper
    for pause, kind, a, b, count in faults:
        story.ask(count, budget_ms=300_000)
        story.world.run(pause)
        if kind in ("cut", "heal"):
            if a != b:
                getattr(story.world, kind)(a, b)
        elif kind == "slow":
            story.world.slow(a, 30)
        elif kind != "kill" or story.world.nodes[a].alive:
            getattr(story.world, kind)(a)
    story.ask(2, budget_ms=300_000)
    story.end(limit_s=310)
    for k, reply in enumerate(story.replies()):
        assert isinstance(reply.what, Deliver), reply.what
        check(reply.what, f"x{k}", [book])
