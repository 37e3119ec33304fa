"""Stages of which some holders are missing: the parts of the others are told, and the answer tells
what is kept."""

from __future__ import annotations

import msgspec
import pytest
from tests.core.alone import LoneWorker, of, sent
from tests.core.toys import Story, every, one, plan, playbook

from shoal.core.actions import Away, Run
from shoal.core.messages import Refused, Why
from shoal.plan.plan import Missing, Plan, Playbook
from shoal.sim.engine import Symbols


def summed(suffice: tuple[tuple[str, ...], ...] = ()) -> Playbook:
    stage = every(0, 6, "abc", op="sum", least=1)
    assert stage.join is not None
    join = msgspec.structs.replace(stage.join, suffice=suffice, away="away")
    stage = msgspec.structs.replace(stage, join=join)
    made = plan("sum", stage, one(6, 12, "d"))
    known = (Missing(("b",), 0.97), Missing(("a", "b"), 0.8))
    forecast = msgspec.structs.replace(made.forecast, missing=known)
    return playbook(Plan("sum", made.stages, forecast), policy="tolerant")


@pytest.mark.parametrize(
    ("holders", "missing"),
    [("abc", (False, False, False)), ("ba", (False, False, True)), ("a", (False, True, True))],
)
def test_a_run_is_told_who_is_not_asked(holders: str, missing: tuple[bool, ...]) -> None:
    worker = LoneWorker(summed())
    (run,) = of(Run, worker.task(0, "sum", route=(tuple(holders), ("d",))))
    assert run.away == Away("away", missing)


def test_a_run_is_told_who_was_missing_on_the_way() -> None:
    before = every(0, 3, "abc")
    stages = (before, *msgspec.structs.replace(summed().plans[0]).stages)
    after = msgspec.structs.replace(stages[1], inputs=("t3",))
    book = playbook(plan("two", before, after, stages[2]))
    worker = LoneWorker(book)
    route = (("a", "b", "c"), ("a", "b", "c"), ("d",))
    for giver in "ab":
        worker.task(0, "two", 1, giver=giver, route=route, sliced=True)
    worker.now = 0.5
    (run,) = of(Run, worker.take_tick())
    assert run.away == Away("away", (False, False, True))


def test_what_one_gave_does_not_count_when_it_was_absent_for_another() -> None:
    """That one may have done the work of the absent one meanwhile."""
    book = playbook(plan("shards", every(0, 6, "abc"), one(6, 12, "a")))
    worker = LoneWorker(book)
    route = (("a", "b", "c"), ("a",))
    for giver, absent in (("c", ()), ("a", ()), ("b", ("c",))):
        actions = worker.task(
            0, "shards", 1, giver=giver, route=route, sliced=True, absent=absent, body=giver
        )
    (run,) = of(Run, actions)
    assert run.given[0].bodies == {"a": "a", "b": "b"}


def test_runs_of_which_others_are_away_are_not_run_together() -> None:
    book = summed()
    first = msgspec.structs.replace(book.plans[0].stages[0], batch=8)
    stages = (first, *book.plans[0].stages[1:])
    plans = (msgspec.structs.replace(book.plans[0], stages=stages),)
    worker = LoneWorker(msgspec.structs.replace(book, plans=plans))
    (run,) = of(Run, worker.task(0, "sum", route=(("a", "b", "c"), ("d",))))
    worker.task(1, "sum", route=(("b", "a"), ("d",)))
    worker.task(2, "sum", route=(("a", "b", "c"), ("d",)))
    worker.task(3, "sum", route=(("b", "a"), ("d",)))
    (second,) = of(Run, worker.ran(run))
    assert [job.number for job in second.jobs] == [1, 3]
    (third,) = of(Run, worker.ran(second))
    assert [job.number for job in third.jobs] == [2]


def test_without_a_set_that_suffices_what_is_left_is_not_joined() -> None:
    book = summed(suffice=(("a", "c"),))
    stages = book.plans[0].stages
    swapped = msgspec.structs.replace(stages[1], parts={"a": "6-12"})
    plans = (msgspec.structs.replace(book.plans[0], stages=(stages[0], swapped)),)
    worker = LoneWorker(msgspec.structs.replace(book, plans=plans))
    route = (("a", "b", "c"), ("a",))
    worker.task(0, "sum", stage=1, giver="b", route=route, sliced=True)
    worker.task(0, "sum", stage=1, giver="a", route=route, sliced=True)
    worker.now = 0.3
    ((_, refused),) = sent(Refused, worker.take_tick())
    assert (refused.why, refused.absent) == (Why.TOO_FEW_SLICES, ("c",))


def test_answers_tell_what_is_kept_without_those_that_are_missing() -> None:
    story = Story("abcd", summed(), engine=Symbols())
    story.ask(1)
    assert story.answers()[0].accuracy == 1.0
    story.world.kill("b")
    story.world.run(0.5)
    story.ask(1)
    answer = story.answers()[-1]
    assert (answer.absent, answer.accuracy) == (("b",), 0.97)
    story.world.kill("a")
    story.world.run(0.5)
    story.ask(1)
    assert story.answers()[-1].accuracy == 0.8


def test_of_a_set_that_nobody_measured_a_larger_one_tells_and_else_nothing() -> None:
    forecast = summed().plans[0].forecast
    assert forecast.accuracy_without(()) == 1.0
    assert forecast.accuracy_without(("a",)) == 0.8
    assert forecast.accuracy_without(("c",)) is None
