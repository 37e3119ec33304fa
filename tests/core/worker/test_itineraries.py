"""Where an attempt goes is told to each hop once, and what outruns that waits for it."""

from __future__ import annotations

from typing import Any

from tests.core.alone import LoneWorker, of, sent
from tests.core.toys import Story, every, one, plan, playbook

from shoal.core.actions import Deliver, Run, Send
from shoal.core.events import Vanished
from shoal.core.messages import Forget, Itinerary, Refused, Task, Why
from shoal.core.worker.itineraries import Early, Itineraries
from shoal.runtime import wire

GATHERED = playbook(plan("two", every(0, 6, "ab"), every(6, 12, "ab")))
ROUTE = (("a", "b"), ("a", "b"))


def itinerary(attempt: int = 1) -> Itinerary:
    return Itinerary("book", "two", ROUTE)


def slice_of(giver: str, number: int = 0, attempt: int = 1, budget_ms: float = 1000.0) -> Task:
    """A slice of stage 0 for stage 1, from a giver that told no itinerary."""
    return Task("g", "g1", number, attempt, 1, giver, budget_ms, sliced=True)


def first(number: int = 0, attempt: int = 1) -> Task:
    """The task of stage 0, which tells the itinerary."""
    return Task("g", "g1", number, attempt, 0, "g", 1000.0, itinerary=itinerary())


def held(worker: LoneWorker) -> tuple[int, int, int]:
    """Tasks that wait to be told, jobs, and bytes of both."""
    return worker.core.itineraries.waiting, len(worker.core.inbox.jobs), worker.core.inbox.bytes


def test_who_worked_for_an_attempt_before_is_not_told_again() -> None:
    worker = LoneWorker(GATHERED)
    (run,) = of(Run, worker.hear("g", first(), "x"))
    told = {to: task.itinerary for to, task in sent(Task, worker.ran(run))}
    assert told == {"b": None}


def test_who_did_not_is_told() -> None:
    book = playbook(plan("line", one(0, 4, "a"), one(4, 8, "b"), one(8, 12, "a")))
    worker = LoneWorker(book)
    (run,) = of(Run, worker.task(0, "line"))
    ((to, task),) = sent(Task, worker.ran(run))
    assert (to, task.itinerary) == ("b", Itinerary("book", "line", (("a",), ("b",), ("a",))))


def test_who_did_not_get_it_where_it_was_to_is_told_by_the_next() -> None:
    """``b`` does not see ``c``, which ``a`` sees: nobody else would tell it."""
    both = every(4, 8, "ac", least=1), every(8, 12, "ac", least=1)
    book = playbook(plan("some", one(0, 4, "b"), *both))
    worker = LoneWorker(book)
    (run,) = of(Run, worker.task(0, "some", stage=1, giver="b", absent=("c",)))
    tasks = dict(sent(Task, worker.ran(run)))
    assert list(tasks) == ["c"]
    assert tasks["c"].itinerary is not None
    assert tasks["c"].absent == ("c",)


def test_who_cannot_be_given_its_part_is_not_waited_for() -> None:
    book = playbook(plan("some", one(0, 4, "a"), every(4, 12, "bc", least=1)))
    worker = LoneWorker(book, "b")
    (run,) = of(Run, worker.task(0, "some"))
    ((to, task),) = sent(Task, worker.ran(run))
    assert (to, task.absent) == ("b", ("c",))


def test_a_slice_that_outruns_what_tells_its_way_waits_for_it() -> None:
    worker = LoneWorker(GATHERED)
    assert worker.hear("b", slice_of("b"), "b's slice", 50) == []
    assert held(worker) == (1, 0, 50)
    (run,) = of(Run, worker.hear("g", first(), "x", 10))
    assert held(worker) == (0, 2, 60)
    (joined,) = of(Run, worker.ran(run))
    assert set(joined.given[0].bodies) == {"a", "b"}
    assert held(worker)[0] == 0


def test_slices_that_wait_count_as_inputs_that_are_held() -> None:
    worker = LoneWorker(GATHERED, memory=64 << 20)
    assert worker.hear("b", slice_of("b", 0), "b's slice", 10 << 20) == []
    ((_, refused),) = sent(Refused, worker.hear("b", slice_of("b", 1), "b's slice", 10 << 20))
    assert refused.why is Why.OVERLOADED


def test_nothing_waits_for_a_request_that_is_over() -> None:
    worker = LoneWorker(GATHERED)
    worker.hear("b", slice_of("b", 0), "b's slice", 50)
    worker.hear("b", slice_of("b", 1), "b's slice", 50)
    worker.hear("g", Forget("g", "g1", (), settled=1))
    assert held(worker) == (1, 0, 50)


def test_what_waits_for_an_older_attempt_is_given_up_and_for_a_newer_one_kept() -> None:
    worker = LoneWorker(GATHERED)
    worker.hear("b", slice_of("b", attempt=1), "old", 5)
    worker.hear("b", slice_of("b", attempt=3), "new", 7)
    worker.hear("g", first(attempt=2), "x", 10)
    assert held(worker) == (1, 1, 17)


def test_nobody_waits_longer_than_the_deadline() -> None:
    worker = LoneWorker(GATHERED)
    worker.hear("b", slice_of("b", budget_ms=100.0), "b's slice", 50)
    assert worker.core.wake_at == 0.1
    worker.now = 0.1
    worker.take_tick()
    assert held(worker) == (0, 0, 0)


def test_what_waits_goes_with_its_request_and_with_its_gateway() -> None:
    worker = LoneWorker(GATHERED)
    worker.hear("b", slice_of("b", number=0), "x", 5)
    worker.hear("b", slice_of("b", number=1), "x", 7)
    worker.hear("g", Forget("g", "g1", (0,)))
    assert held(worker) == (1, 0, 7)
    worker.take(Vanished("g", "g1"))
    worker.now = 10.0
    worker.take_tick()
    assert held(worker) == (0, 0, 0)


def test_no_more_wait_than_there_is_room_for() -> None:
    worker = LoneWorker(GATHERED, inbox=2)
    worker.hear("b", slice_of("b", 0), "x", 5)
    worker.hear("b", slice_of("b", 1), "x", 5)
    ((to, refused),) = sent(Refused, worker.hear("b", slice_of("b", 2), "x", 5))
    assert (to, refused.why) == ("g", Why.OVERLOADED)
    assert held(worker) == (2, 0, 10)


def test_the_latest_requests_are_remembered() -> None:
    known = Itineraries(limit=2)
    for number in range(3):
        known.learn(("g", "g1", number), 1, itinerary())
    assert known.of(("g", "g1", 0), 1) is None
    assert known.of(("g", "g1", 2), 1) == itinerary()
    assert known.of(("g", "g1", 2), 2) is None, "of another attempt nothing is known"
    known.wait(Early(slice_of("b"), "x", 5, 9.0))
    assert [early.size for early in known.drop_owner("g")] == [5]
    assert len(known) == known.waiting == 0


def heads(book: Any, devices: list[str]) -> tuple[int, int]:
    """Bytes of the heads of all messages of one image, and how many messages these are."""
    story = Story(devices, book)
    story.world.run(1.0)
    sizes: list[int] = []

    def watch(node: Any, event: Any, actions: Any) -> None:
        sizes.extend(len(wire.encode(send.message)) for send in of(Send, actions))

    story.world.watch = watch
    story.ask(1)
    story.end()
    ((answer,),) = story.world.replies.values()
    assert isinstance(answer.what, Deliver)
    assert len(answer.what.trace) == len(book.plans[0].stages) * len(devices)
    return sum(sizes), len(sizes)


def test_heads_grow_with_the_messages_and_not_with_their_square() -> None:
    names = [f"worker-{k}" for k in range(8)]
    gathered = [every(k, k + 1, names) for k in range(13)]
    size, count = heads(playbook(plan("gathered", *gathered), layers=13), names)
    assert count == 8 + 12 * 56 + 8
    assert size < 100_000
