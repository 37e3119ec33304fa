"""What a worker remembers and holds: to the last that fits, to the moment, and for whom."""

import math

from tests.core.toys import pipeline

from shoal.core.messages import DeviceInfo, Itinerary, Load, Task
from shoal.core.policy import LinkView
from shoal.core.shared.membership import Membership
from shoal.core.worker.attempts import Attempts, RequestKey, request_of
from shoal.core.worker.itineraries import Early, Itineraries
from shoal.core.worker.kept import MAX_KEPT, Kept, Output
from shoal.core.worker.neighbours import Neighbours
from shoal.core.worker.outgoing import Held, Outgoing

PLAN = pipeline("ab", "a", "b")
ITINERARY = Itinerary("book", "ab", (("a",), ("b",)))


def of(number: int, gateway: str = "g", life: str = "g1") -> RequestKey:
    return gateway, life, number


def task(number: int, gateway: str = "g", life: str = "g1", attempt: int = 1) -> Task:
    return Task(gateway, life, number, attempt, 1, "a", 100.0)


def output(size: int, to: tuple[str, ...] = ()) -> Output:
    return Output("book", "ab", 0, 1, ("t6",), "body", size, "raw", (), (), 9.0, to)


def held(
    number: int, size: int = 10, expires: float = 9.0, until: float = 5.0, gateway: str = "g"
) -> Held:
    return Held(task(number, gateway), ITINERARY, PLAN, output(size), expires, until)


# -- outputs that are held


def test_what_just_fits_is_held_and_one_more_is_not() -> None:
    outgoing = Outgoing(limit=3, limit_bytes=100)
    assert outgoing.hold(held(0, 60))
    assert outgoing.hold(held(1, 40))
    assert not outgoing.hold(held(2, 1)), "there is no room for a byte"
    assert outgoing.hold(held(1, 39)), "it takes the place of the older one"
    assert outgoing.hold(held(2, 1))
    assert not outgoing.hold(held(3, 0)), "there are three"
    assert outgoing.hold(held(2, 1)), "its own place is free for it"
    assert len(outgoing) == 3


def test_one_alone_is_held_however_large_and_one_that_grew_too_large_is_let_go() -> None:
    outgoing = Outgoing(limit=3, limit_bytes=100)
    assert outgoing.hold(held(0, 500))
    assert outgoing.hold(held(0, 600))
    outgoing.drop(of(0))
    assert outgoing.hold(held(1, 50))
    assert outgoing.hold(held(2, 50))
    assert not outgoing.hold(held(2, 51))
    assert outgoing.until(of(2)) is None
    assert outgoing.hold(held(3, 50)), "what was let go has made room"


def test_what_is_held_is_looked_at_to_the_moment_and_let_go_to_the_moment() -> None:
    outgoing = Outgoing(9, 100)
    outgoing.hold(held(0, until=5.0, expires=9.0))
    outgoing.hold(held(1, until=7.0, expires=6.0))
    assert outgoing.next() == 5.0
    assert outgoing.until(of(0)) == 5.0
    assert outgoing.due(math.nextafter(5.0, 0.0)) == []
    assert [one.follow.number for one in outgoing.due(5.0)] == [0]
    outgoing.drop(of(0))
    assert outgoing.next() == 6.0, "nobody needs it then"
    assert outgoing.due(math.nextafter(6.0, 0.0)) == []
    assert len(outgoing) == 1
    assert outgoing.due(6.0) == []
    assert (len(outgoing), outgoing.next(), outgoing.playbooks) == (0, None, set())


def test_what_was_learned_has_all_looked_at_once() -> None:
    outgoing = Outgoing(9, 100)
    outgoing.changed = True
    assert outgoing.due(0.0) == []
    outgoing.hold(held(0))
    assert outgoing.due(0.0) == [], "it was learned before anything was held"
    outgoing.changed = True
    assert len(outgoing.due(0.0)) == 1
    assert outgoing.due(0.0) == []


def test_what_is_held_for_a_gateway_goes_with_it() -> None:
    outgoing = Outgoing(9, 100)
    outgoing.hold(held(0, 50))
    outgoing.hold(held(0, 50, gateway="h"))
    outgoing.drop_owner("g", but="g1")
    assert len(outgoing) == 2
    outgoing.drop_owner("g", but="g2")
    assert (len(outgoing), outgoing.until(of(0, "h"))) == (1, 5.0)
    assert outgoing.hold(held(1, 50)), "and its bytes"


# -- outputs that are kept


def test_what_just_fits_is_kept_beside_the_others() -> None:
    kept = Kept(100)
    kept.put(of(0), output(60, to=("b",)))
    kept.put(of(1), output(40))
    assert (len(kept), kept.bytes) == (2, 100)
    kept.put(of(2), output(100))
    assert (len(kept), kept.bytes) == (1, 100)
    assert kept.get(of(2)) is not None
    for number in range(MAX_KEPT):
        kept.put(of(10 + number), output(0))
    assert len(kept) == MAX_KEPT
    assert kept.bytes == 0


# -- attempts


def test_the_last_that_fits_is_remembered_and_the_first_goes_then() -> None:
    attempts = Attempts(limit=2, owners=2)
    attempts.note(of(5), 3)
    attempts.note(of(4), 3)
    assert attempts.superseded(of(5), 2)
    assert attempts.superseded(of(4), 2)
    attempts.note(of(6), 3)
    assert not attempts.superseded(of(4), 2)
    assert attempts.superseded(of(5), 2)
    attempts.note(of(1, life="g2"), 3)
    assert attempts.superseded(of(5), 2)
    assert attempts.superseded(of(1, life="g2"), 2)
    attempts.forget("g", but="g2")
    assert not attempts.superseded(of(5), 2)
    assert attempts.superseded(of(1, life="g2"), 2)
    attempts.forget("h")
    assert attempts.superseded(of(1, life="g2"), 2)
    attempts.forget("g")
    assert len(attempts) == 0


def test_a_request_that_is_the_first_not_settled_goes_on() -> None:
    attempts = Attempts()
    attempts.note(of(5), 0)
    assert attempts.settle(("g", "g1"), 5) == []
    assert not attempts.stale(of(5), 0, 0)
    assert not attempts.superseded(of(5), 0)
    assert attempts.stale(of(4), 9, 9)
    attempts.over(of(5))
    assert attempts.superseded(of(5), 9)
    assert attempts.settle(("g", "g1"), 6) == [5]


def test_the_same_attempt_is_noted_once_and_a_stage_is_done_once() -> None:
    attempts = Attempts()
    assert not attempts.note(of(1), 0)
    assert not attempts.note(of(1), 0)
    attempts.done(of(1), 0, 2)
    attempts.done(of(1), 0, 1)
    assert attempts.stale(of(1), 0, 2)
    attempts.done(of(1), 1, 7)
    assert not attempts.stale(of(1), 1, 0), "it was not heard of yet"


# -- where attempts go


def early(number: int, expires: float = 5.0, attempt: int = 1, gateway: str = "g") -> Early:
    return Early(task(number, gateway, attempt=attempt), "body", 10, expires)


def test_the_latest_are_known_each_in_its_newest_attempt() -> None:
    known = Itineraries(limit=2)
    known.learn(of(0), 1, ITINERARY)
    known.learn(of(1), 1, ITINERARY)
    known.learn(of(0), 2, ITINERARY)
    assert known.of(of(0), 1) is None
    known.learn(of(2), 1, ITINERARY)
    assert len(known) == 2
    assert known.of(of(0), 2) is ITINERARY, "it was told again"
    assert known.of(of(1), 1) is None


def test_tasks_that_came_too_early_wait_till_the_moment_and_are_given_back_once() -> None:
    known = Itineraries()
    assert known.next() is None
    for one in (early(0, 5.0), early(0, 7.0, attempt=2), early(1, 6.0)):
        known.wait(one)
    assert (known.waiting, known.next()) == (3, 5.0)
    assert known.late(math.nextafter(5.0, 0.0)) == []
    assert [one.expires for one in known.late(5.0)] == [5.0]
    assert (known.waiting, known.next()) == (2, 6.0)
    assert [one.expires for one in known.late(6.5)] == [6.0]
    assert [one.expires for one in known.take(of(0))] == [7.0]
    assert known.take(of(0)) == []
    assert (known.waiting, known.next()) == (0, None)


def test_what_is_over_or_of_a_gateway_that_is_gone_waits_no_more() -> None:
    known = Itineraries()
    for one in (early(3), early(4), early(3, gateway="h")):
        known.wait(one)
    known.learn(of(9), 1, ITINERARY)
    assert [request_of(one.task) for one in known.settle("g", "g1", 4)] == [of(3)]
    assert known.settle("g", "g2", 99) == []
    assert known.waiting == 2
    assert known.drop_owner("g", but="g1") == []
    assert known.of(of(9), 1) is ITINERARY
    assert [request_of(one.task) for one in known.drop_owner("g", but="g2")] == [of(4)]
    assert known.of(of(9), 1) is None
    assert known.waiting == 1


# -- neighbours


def neighbours() -> tuple[Membership, Neighbours]:
    members = Membership()
    for name in "ab":
        members.appeared(name, f"{name}1", 0.0)
    return members, Neighbours("me", members)


def test_what_did_not_leave_is_no_work_of_anybody() -> None:
    _, all_of_them = neighbours()
    all_of_them.kept_back("a")
    assert all_of_them["a"].outstanding == 0
    all_of_them.gave("a")
    all_of_them.gave("a")
    all_of_them.kept_back("a")
    assert all_of_them["a"].outstanding == 1
    all_of_them.kept_back("a")
    all_of_them.kept_back("a")
    assert all_of_them["a"].outstanding == 0
    all_of_them.gave("a")
    assert all_of_them["a"].outstanding == 1


def test_what_waits_and_runs_and_is_held_is_all_work() -> None:
    _, all_of_them = neighbours()
    all_of_them.heard("a", Load(waiting=1, running=2, held=4, run_ms=10.0))
    assert (all_of_them["a"].outstanding, all_of_them["a"].work_ms) == (7, 70.0)
    all_of_them.gave("a")
    assert (all_of_them["a"].outstanding, all_of_them["a"].work_ms) == (8, 80.0)
    assert all_of_them["b"].outstanding == 0


def test_who_starts_anew_owes_nothing_and_who_is_gone_has_no_link() -> None:
    members, all_of_them = neighbours()
    link = LinkView(1e6, 0.01, 0.0)
    for name in "ab":
        all_of_them.gave(name)
        all_of_them.links[name] = link
    all_of_them.restarted("a")
    assert all_of_them["a"].outstanding == 0
    assert set(all_of_them.links) == {"a", "b"}
    all_of_them.gone("b")
    assert set(all_of_them.links) == {"a"}
    members.hello(DeviceInfo("a", "a1", draining=True))
    assert not all_of_them["a"].usable
    assert all_of_them["me"].usable
