"""Policies where a choice is just worth it: at the very mark, and with several images."""

import math

import pytest
from tests.strategies.test_fluid_policy import MARKS, PAIR, RATE
from tests.strategies.test_policies import SPARED, book, plan, preferred, replicas, stage, view

from shoal.core.policy import DeviceView, View
from shoal.strategies.fluid.policy import MOST_PATIENCE, Mood, backlog, next_mood
from shoal.strategies.preferred import LAG, TRY, finish_ms, pace, stage_from

IMAGE = ("image",)
ONE = plan("one", stage("ab", "image", "logits"), stage_ms=(10.0,))


def lagging(**slowdown: float) -> View:
    return view(**{name: DeviceView(slowdown=slowdown.get(name, 1.0)) for name in "abc"})


def taken(snapshot: View, memory: object = None) -> tuple[str, object]:
    choice, memory = preferred.choose(SPARED, snapshot, IMAGE, memory)
    return choice.plan, memory


# -- preferred


def test_a_plan_is_left_from_just_so_much_behind_on() -> None:
    """The line computes 10 ms on each device, the spare 20 ms on one."""
    assert taken(lagging(a=2.5)) == ("spare", 1)
    assert taken(lagging(a=2.49)) == ("line", 0), "25 ms are just worth it, less is not"
    assert taken(lagging(a=2.5, c=1.26)) == ("line", 0)
    assert taken(lagging(a=LAG * 2, c=2.0)) == ("line", 0)
    assert taken(lagging(a=5.01, c=2.0)) == ("spare", 1)


def test_each_so_many_requests_the_slow_one_is_tried_and_counted_anew_when_it_is_well() -> None:
    memory: object = None
    taken_by = []
    for _ in range(2 * TRY):
        name, memory = taken(lagging(b=9.0), memory)
        taken_by.append(name)
    assert [at for at, name in enumerate(taken_by, 1) if name == "line"] == [TRY, 2 * TRY]
    name, memory = taken(lagging(), memory)
    assert (name, memory) == ("line", 0)
    assert taken(lagging(b=9.0), "no number") == ("spare", 1)


def test_the_pace_is_that_of_the_device_that_computes_longest() -> None:
    both = plan("both", stage("a", "image", "m"), stage("a", "m", "logits"), stage_ms=(10.0, 30.0))
    assert pace(both, (("a",), ("a",)), lagging(a=1.5)) == (1.5, 60.0)
    assert pace(both, (("a",), ("a",)), lagging(a=0.5)) == (1.0, 20.0)
    assert pace(both, (("a",), ("b",)), lagging(a=4.0)) == (pytest.approx(4 / 3), 40.0)
    assert pace(plan("none", stage("a", "image", "m")), (("a",),), lagging(a=9.0)) == (1.0, 0.0)
    assert stage_from(both, ["m"]) == 1
    assert stage_from(both, ["logits"]) is None


def test_when_a_device_would_be_done() -> None:
    def facts(images: int = 1, **state: float) -> View:
        return View(0.0, {"a": DeviceView(**state)}, images=images)  # type: ignore[arg-type]

    assert finish_ms(ONE, 0, "a", facts()) == 10.0
    assert finish_ms(ONE, 0, "a", facts(images=3)) == 30.0
    assert finish_ms(ONE, 0, "a", facts(outstanding=2)) == 30.0
    assert finish_ms(ONE, 0, "a", facts(outstanding=2, work_ms=5.0)) == 15.0
    assert finish_ms(ONE, 0, "a", facts(images=2, work_ms=5.0, slowdown=2.0)) == 50.0


# -- replicas


def test_of_replicas_that_end_at_once_the_first_is_taken_and_the_way_there_is_added() -> None:
    both = book(ONE, plan("two", stage("c", "image", "logits"), stage_ms=(10.0,)))
    for facts, device in (
        ({}, "a"),
        ({"a": DeviceView(work_ms=0.1)}, "b"),
        ({"a": DeviceView(work_ms=5.0), "b": DeviceView(work_ms=3.0)}, "c"),
    ):
        snapshot = view(**{"a": True, "b": True, "c": True, **facts})
        choice, _ = replicas.choose(both, snapshot, IMAGE, None)
        assert choice.route == ((device,),)
    far = book(ONE, policy="replicas", hop_ms={"a": 7.0, "b": 2.0})
    for work_ms, device in ((4.9, "b"), (5.1, "a")):
        snapshot = view(a=True, b=DeviceView(work_ms=work_ms))
        assert replicas.choose(far, snapshot, IMAGE, None)[0].route == ((device,),)
        assert replicas.forward(far, ONE, 0, snapshot, None)[0] == device
    near = book(ONE, policy="replicas", hop_ms={"a": 0.5})
    for work_ms, device in ((0.4, "b"), (0.6, "a")):
        snapshot = view(a=True, b=DeviceView(work_ms=work_ms))
        assert replicas.choose(near, snapshot, IMAGE, None)[0].route == ((device,),)
        assert replicas.forward(near, ONE, 0, snapshot, None)[0] == device


# -- fluid


TOGETHER = PAIR.plans[0]


def waiting(count: int, now: float = 0.0, images: int = 1, **devices: DeviceView) -> View:
    facts = {"a": DeviceView(), "b": DeviceView(), **devices}
    return View(now, facts, waiting=count, images=images)


def test_what_waits_and_what_was_begun_are_a_backlog_but_not_the_request_itself() -> None:
    assert backlog(TOGETHER, waiting(0)) == backlog(TOGETHER, waiting(1)) == 0.0
    assert backlog(TOGETHER, waiting(3)) == pytest.approx(2 / RATE)
    assert backlog(TOGETHER, waiting(3, images=4)) == pytest.approx(8 / RATE)
    assert backlog(TOGETHER, waiting(3, a=DeviceView(slowdown=2.0))) == pytest.approx(4 / RATE)
    assert backlog(TOGETHER, waiting(3, a=DeviceView(slowdown=0.5))) == pytest.approx(2 / RATE)
    busy = DeviceView(work_ms=30.0, slowdown=2.0)
    assert backlog(TOGETHER, waiting(0, b=busy)) == pytest.approx(0.06)
    assert backlog(TOGETHER, waiting(2, b=busy)) == pytest.approx(0.06 + 2 / RATE)


def test_a_mode_is_left_past_its_mark_and_not_at_it() -> None:
    at_high, above = waiting(51, now=9.0), waiting(52, now=9.0)
    assert next_mood(Mood(), TOGETHER, at_high, MARKS) == Mood()
    assert next_mood(Mood(), TOGETHER, above, MARKS) == Mood(True, 9.0, 1.0)
    apart = Mood(True, 8.0)
    assert next_mood(apart, TOGETHER, waiting(11, now=9.5), MARKS) == Mood(True, 9.5, 1.0)
    assert next_mood(apart, TOGETHER, waiting(10, now=9.5), MARKS) == Mood(False, 9.5, 1.0)
    assert next_mood(apart, TOGETHER, waiting(0, now=8.99), MARKS) == apart
    assert next_mood(apart, TOGETHER, waiting(0, now=9.0), MARKS) == Mood(False, 9.0, 1.0)


def test_too_early_together_needs_a_longer_calm_each_time_up_to_a_bound_and_is_forgotten() -> None:
    mood = Mood(False, 0.0, 1.0)
    assert next_mood(mood, TOGETHER, waiting(60, now=4.0), MARKS) == Mood(True, 4.0, 1.0)
    early = next_mood(mood, TOGETHER, waiting(60, now=math.nextafter(4.0, 0.0)), MARKS)
    assert (early.apart, early.patience) == (True, 2.0)
    assert not next_mood(Mood(True, 0.0, 2.0), TOGETHER, waiting(0, now=2.0), MARKS).apart
    assert next_mood(Mood(True, 0.0, 2.0), TOGETHER, waiting(0, now=1.9), MARKS).apart
    patience = 1.0
    for _ in range(9):
        patience = next_mood(Mood(False, 0.0, patience), TOGETHER, waiting(60), MARKS).patience
    assert patience == MOST_PATIENCE == 32.0
    rested = next_mood(Mood(False, 0.0, patience), TOGETHER, waiting(60, now=9.0), MARKS)
    assert rested.patience == 1.0
