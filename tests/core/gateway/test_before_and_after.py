"""A gateway before anything has happened, at the very moment, and when what happened is over."""

import math

import pytest
from tests.core.toys import find, pipeline

from shoal.core.events import Appeared, Arrived
from shoal.core.gateway.devices import Devices, Given
from shoal.core.gateway.gateway import GatewayCore
from shoal.core.gateway.limits import Limits
from shoal.core.gateway.loads import MAX_KNOWN, Loads
from shoal.core.gateway.queue import Queue, turn
from shoal.core.gateway.settling import Settling
from shoal.core.gateway.suspects import KEEP_S, LATE_S, MAX_CASES, MAX_LATE, Suspects
from shoal.core.messages import (
    Answered,
    Care,
    DeviceInfo,
    Load,
    Refused,
    StageTrace,
    Trial,
    Why,
)
from shoal.core.node import NodeCore
from shoal.core.settings import GatewaySettings
from shoal.core.shared.routes import LinkName
from shoal.core.worker.worker import WorkerCore

PLAN = pipeline("ab", "a", "b")
ROUTE = (("a",), ("b",))


def everybody(name: str) -> bool:
    return True


def test_what_an_earlier_life_is_told_before_this_one_is_seen_means_nothing() -> None:
    core = GatewayCore("g", GatewaySettings(), policies=find, digest=lambda body: (str(body),))
    node = NodeCore(WorkerCore(DeviceInfo("g", "g2"), policies=find), core)
    node.handle(Appeared("a", "a1"), 0.0)
    for message in (
        Answered("g", "g1", 3, 1, "plan", 0, "a"),
        Refused("g", "g1", 3, 1, 0, Why.OVERLOADED),
        Trial("g", "g1", 3, 1, 0),
    ):
        assert list(node.handle(Arrived("a", message, "body"), 0.0)) == []


# -- limits


def pause_s(limits: Limits, now: float) -> float:
    at = limits.opens(now)
    assert at is not None
    return at - now


def test_after_an_answer_the_next_refusal_is_the_first_again() -> None:
    limits, fresh = Limits("g"), Limits("g")
    for _ in range(6):
        limits.refused("a", 9, 0.0)
    assert pause_s(limits, 0.0) > 0.2
    limits.answered("a")
    limits.refused("a", 9, 0.0)
    fresh.refused("a", 9, 0.0)
    assert pause_s(limits, 0.0) < 0.04
    assert pause_s(fresh, 0.0) < 0.04


def test_a_later_refusal_with_more_outstanding_gives_no_more_room() -> None:
    limits = Limits("g")
    limits.refused("a", 3, 0.0)
    limits.refused("a", 8, 0.0)
    assert limits.full("a", 3, 99.0)
    assert not limits.full("a", 2, 99.0)


def test_the_pause_that_ends_first_is_told_and_none_that_is_over() -> None:
    limits = Limits("g")
    limits.refused("a", 1, 0.0)
    limits.refused("b", 1, 5.0)
    first, second = limits.opens(0.0), limits.opens(1.0)
    assert first is not None
    assert second is not None
    assert 0.0 < first < 0.04 < 5.0 < second < 5.04
    assert limits.full("a", 0, math.nextafter(first, 0.0))
    assert not limits.full("a", 0, first)
    assert limits.opens(first) == second
    assert limits.opens(second) is None


def test_who_starts_anew_takes_its_links_along_and_no_others() -> None:
    limits = Limits("g")
    mine = [LinkName("g", "a"), LinkName("a", "b")]
    others = LinkName("g", "b")
    for taker in ("a", "b", *mine, others):
        limits.refused(taker, 1, 0.0)
    assert bool(limits)
    limits.forget("a")
    assert (limits.devices(), limits.links()) == (["b"], [others])
    limits.forget("b")
    assert not limits


# -- suspects


def test_what_ended_is_charged_for_a_while_to_the_moment() -> None:
    suspects = Suspects(lambda body: (str(body),))
    suspects.note_late(1, ("p",), {"a": "a1"}, {}, 100.0)
    suspects.lost("a", "a1", 100.0 + LATE_S)
    assert suspects.care(("p",)) is Care.NONE
    suspects.lost("a", "a1", math.nextafter(100.0 + LATE_S, 0.0))
    assert suspects.care(("p",)) is Care.ALONE


def test_who_ran_alone_is_charged_and_not_those_beside_it() -> None:
    suspects = Suspects(lambda body: (str(body),))
    suspects.note_late(1, ("p",), {"a": "a1"}, {"a": "a1"}, 0.0)
    suspects.note_late(2, ("q",), {"a": "a1"}, {"a": "a0"}, 0.0)
    assert suspects.lost("a", "a1", 1.0)
    assert (suspects.care(("p",)), suspects.care(("q",))) == (Care.ALONE, Care.NONE)
    suspects.charge(("p",), "b", "b1", False, 1.0)
    assert suspects.care(("p",)) is Care.APART, "once alone, twice in all"


def test_what_is_charged_again_is_remembered_from_then_on() -> None:
    suspects = Suspects(lambda body: (str(body),))
    suspects.charge(("p",), "a", "a1", False, 0.0)
    suspects.charge(("q",), "a", "a1", False, 1.0)
    suspects.charge(("p",), "b", "b1", False, 2.0)
    suspects.expire(KEEP_S + 1.0)
    assert (suspects.care(("p",)), suspects.care(("q",))) == (Care.ALONE, Care.NONE)
    for number in range(MAX_CASES - 1):
        suspects.charge((str(number),), "a", "a1", False, 2.0)
    assert suspects.care(("p",)) is Care.ALONE, "there is just room for it"
    suspects.charge(("one more",), "a", "a1", False, 2.0)
    assert suspects.care(("p",)) is Care.NONE
    assert len(suspects) == MAX_CASES


def test_the_latest_that_ended_are_known_by_their_number() -> None:
    suspects = Suspects(lambda body: (str(body),))
    for number in range(MAX_LATE + 1):
        suspects.note_late(number, (str(number),), {}, {}, 0.0)
    assert suspects.late(0) == suspects.late(MAX_LATE + 1) == ()
    assert suspects.late(1) == ("1",)
    assert suspects.late(MAX_LATE) == (str(MAX_LATE),)


def test_the_worst_that_is_known_of_any_of_them_counts() -> None:
    suspects = Suspects(lambda body: (str(body),))
    suspects.charge(("p",), "a", "a1", False, 0.0)
    suspects.charge(("p",), "b", "b1", True, 0.0)
    suspects.charge(("q",), "a", "a1", False, 0.0)
    assert suspects.care(("q", "p")) is suspects.care(("p", "q")) is Care.APART
    assert suspects.care(("q", "r")) is Care.ALONE


# -- loads


def test_of_what_is_being_loaded_and_killed_the_latest_is_remembered() -> None:
    loads = Loads()
    for number in range(MAX_KNOWN):
        loads.begun(f"d{number}", "p", "1")
    assert len(loads) == MAX_KNOWN
    loads.begun("d0", "q", "1")
    loads.begun("one more", "p", "1")
    assert loads.at_it("d0", "1"), "it has begun again"
    assert not loads.at_it("d1", "1")
    for life in ("1", "2"):
        for number in range(MAX_KNOWN):
            loads.begun(f"d{number}", "p", life)
            loads.died(f"d{number}", life, 0.0)
    assert all(loads.barred(f"d{number}", ["p"], 1.0) for number in range(MAX_KNOWN))
    for life in ("1", "2"):
        loads.begun("one more", "p", life)
        loads.died("one more", life, 0.0)
    assert loads.barred("one more", ["p"], 1.0)
    assert not loads.barred("d0", ["p"], 1.0)


def test_a_death_of_one_part_says_nothing_of_another_and_one_of_an_earlier_life_nothing() -> None:
    loads = Loads()
    loads.begun("a", "p", "a1")
    loads.died("a", "a1", 0.0)
    loads.begun("a", "q", "a2")
    loads.died("a", "a2", 0.0)
    loads.begun("a", "p", "a3")
    loads.died("a", "a2", 0.0)
    assert loads.barred("a", ["p", "q"], 0.0) == {}
    assert len(loads) == 2


# -- the queue


def test_it_looks_again_when_the_first_thing_changes_that_is_known_to() -> None:
    queue = Queue()
    queue.stuck(10.0, None, 10.05, 10.02, 9.0, 10.0, -math.inf)
    assert queue.next() == 10.02
    queue.stuck(10.01, 10.015)
    assert queue.next() == 10.015
    queue.due(math.nextafter(10.015, 0.0))
    assert queue.next() == 10.015
    queue.due(10.015)
    assert queue.next() is None
    queue.stuck(10.015, 99.0)
    assert queue.next() == pytest.approx(10.115)


def test_who_waits_twice_with_another_turn_waits_once() -> None:
    queue = Queue()
    queue.put(turn(1, 0, 5.0))
    queue.put(turn(2, 0, 4.0))
    queue.put(turn(1, 0, 3.0))
    assert (len(queue), queue.first()) == (2, 1)
    queue.drop(1)
    assert (len(queue), queue.first()) == (1, 2)


# -- settling


def test_a_device_is_told_a_second_later_and_not_more_often_than_each_second() -> None:
    settling = Settling()
    settling.note("a", 9, now=10.0)
    settling.note("b", 9, now=10.5)
    assert settling.next() == 11.0, "what comes meanwhile puts nothing off"
    settling.settled = 3
    assert settling.due(math.nextafter(11.0, 0.0), everybody) == []
    assert settling.due(11.0, everybody) == ["a", "b"]
    assert settling.next() == 12.0
    settling.settled = 4
    assert settling.due(11.5, everybody) == []
    assert settling.due(12.0, everybody) == ["a", "b"]


def test_a_device_that_may_hold_the_first_that_is_not_over_is_told_again() -> None:
    settling = Settling()
    settling.note("a", 5, now=0.0)
    settling.note("a", 2, now=0.0)
    settling.settled = 5
    assert settling.due(1.0, everybody) == ["a"]
    assert len(settling) == 1, "the fifth is not over"
    assert settling.due(2.0, everybody) == []
    settling.settled = 6
    assert settling.due(3.0, everybody) == ["a"]
    assert len(settling) == 0
    settling.note("a", 6, now=4.0)
    settling.settled = 7
    assert settling.due(5.0, everybody) == ["a"]


def test_nothing_is_told_to_anybody_while_nothing_is_over() -> None:
    settling = Settling()
    settling.note("a", 0, now=0.0)
    assert settling.due(1.0, everybody) == []
    settling.settled = 1
    assert settling.due(2.0, everybody) == ["a"]
    assert settling.next() is None


# -- devices


def test_a_device_that_fails_seems_slower_up_to_a_bound_until_it_answers_as_it_should() -> None:
    devices = Devices()
    devices.failed("nobody")
    assert devices.get("nobody") is None
    device = devices["a"]
    devices.failed("a")
    assert device.slowdown == 2.0
    for _ in range(20):
        devices.failed("a")
    assert device.slowdown == 100.0
    for _ in range(200):
        devices.observe(PLAN, (StageTrace(0, "a", run_ms=10.0),), 1.0)
    assert device.slowdown == pytest.approx(1.0, abs=0.01)


def test_one_run_that_stood_still_says_little() -> None:
    devices = Devices()
    devices["a"]
    devices.observe(PLAN, (StageTrace(0, "a", run_ms=1e6),), 1.0)
    assert devices["a"].slowdown == pytest.approx(1.0 + 0.1 * 3.0)
    devices.observe(PLAN, (StageTrace(0, "a", run_ms=0.0),), 1.0)
    assert devices["a"].slowdown == pytest.approx(1.3 * 0.9)
    devices.observe(None, (StageTrace(0, "a", run_ms=1e6),), 1.0)
    assert devices["a"].slowdown == pytest.approx(1.3 * 0.9)


def test_what_is_heard_of_its_work_is_newer_than_what_it_was_asked_then() -> None:
    devices = Devices()
    assert not devices.heard_since("a", -math.inf)
    devices["a"]
    assert not devices.heard_since("a", 0.0)
    devices.observe(PLAN, (StageTrace(0, "a", run_ms=10.0),), 5.0)
    assert devices.heard_since("a", 4.9)
    assert not devices.heard_since("a", 5.0)


def test_what_a_device_has_is_known_per_playbook_and_forgotten_where_it_ends() -> None:
    devices = Devices()
    versions = [devices.version]

    def changed() -> bool:
        versions.append(devices.version)
        return versions[-1] != versions[-2]

    for book in ("one", "two"):
        devices.installed("a", book, ["p"], {"q": "no room"})
        assert changed()
    devices.uninstalled("ab", "one")
    assert changed()
    assert devices["a"].ready == {"two": {"p"}}
    assert devices["a"].refused == {"two": {"q": "no room"}}
    assert devices.lacks("a", "two")
    assert changed()
    assert not devices.lacks("a", "two"), "that is known"
    devices.installed("a", "two", ["p"], {})
    assert changed()
    devices.doubt("a")
    assert changed()
    assert devices["a"].ready == {}
    devices.draining("a")
    assert changed()
    assert devices["a"].draining
    devices.draining("a", False)
    assert not devices["a"].draining
    assert changed()
    devices["a"].load = Load(waiting=3)
    devices.restarted("a")
    assert changed()
    assert devices["a"].load == Load()


def test_a_device_that_no_playbook_names_leaves_no_trace() -> None:
    devices = Devices("g")
    given: Given = {}
    devices.give(given, PLAN, ROUTE, range(2))
    devices.overloaded("a", 0.0)
    devices.limits.refused(LinkName("g", "a"), 1, 0.0)
    devices.forget("a")
    devices.forget("a")
    assert devices.get("a") is None
    assert set(devices.known()) == {"b"}
    assert not devices.limits


def test_the_one_that_is_refused_is_not_among_those_that_it_takes() -> None:
    devices = Devices()
    for _ in range(3):
        devices.give({}, PLAN, ROUTE, range(1))
    devices.overloaded("a", 0.0)
    assert not devices.limits.full("a", 1, 9.0)
    assert devices.limits.full("a", 2, 9.0)
