"""The inbox of a worker: jobs by key, run in order and in batches."""

from dataclasses import replace

import msgspec
import pytest
from tests.core.toys import every, one, plan

from shoal.core.events import JobKey
from shoal.core.messages import Itinerary, Task
from shoal.core.shared.gather import Gather
from shoal.core.worker.job import Inbox, Job

PLAN = plan("p", one(0, 6, "a", batch=3), every(6, 9, "ab"), one(9, 12, "a", batch=3))


def job(number: int, stage: int = 0, expires: float = 9.0, attempt: int = 1) -> Job:
    task = Task("g", "g1", number, attempt, stage, "g", 1000.0)
    gather = Gather(set(), PLAN.stages[1].join if stage == 2 else None)
    part = PLAN.stages[stage].parts["a"]
    key = JobKey("g", "g1", number, attempt, stage)
    return Job(key, part, task, Itinerary("book", "p", ()), PLAN, gather, 0.0, expires)


def patient(waiting: Job, wait_ms: float) -> Job:
    """As ``waiting``, of a stage whose jobs wait for others to be run with them."""
    first, *others = PLAN.stages
    stage = msgspec.structs.replace(first, batch_wait_ms=wait_ms)
    return replace(waiting, plan=msgspec.structs.replace(PLAN, stages=(stage, *others)))


def filled(*jobs: Job, limit: int = 8) -> Inbox:
    inbox = Inbox(limit)
    for one_job in jobs:
        inbox.add(one_job)
        inbox.make_ready(one_job.key)
    return inbox


def numbers(batch: list[Job]) -> list[int]:
    return [one_job.key.number for one_job in batch]


def test_the_same_step_is_run_together_up_to_the_batch_of_the_stage() -> None:
    inbox = filled(*map(job, range(5)))
    assert numbers(inbox.next_batch(1.0)) == [0, 1, 2]
    assert numbers(inbox.next_batch(1.0)) == [3, 4]
    assert inbox.next_batch(1.0) == []
    assert (inbox.waiting, len(inbox.running)) == (0, 5)


def several(images: int, waiting: Job) -> Job:
    """As ``waiting``, of so many images."""
    return replace(waiting, asked=msgspec.structs.replace(waiting.asked, images=images))


def test_the_batch_of_a_stage_is_of_images() -> None:
    inbox = filled(several(2, job(0)), several(2, job(1)), job(2), several(5, job(3)), job(4))
    batches = [numbers(inbox.next_batch(1.0)) for _ in range(4)]
    assert batches == [[0, 2], [1, 4], [3], []]


def test_who_leaves_no_room_for_the_next_waits_for_no_others() -> None:
    inbox = filled(*(patient(several(2, job(k)), wait_ms=50) for k in range(2)))
    assert numbers(inbox.next_batch(0.0)) == [0]
    assert inbox.next_batch(0.0) == [], "there may be one more of a single image"
    assert numbers(inbox.next_batch(0.05)) == [1]


def test_a_job_of_enough_images_waits_for_no_others() -> None:
    inbox = filled(patient(several(3, job(0)), wait_ms=50), patient(job(1), wait_ms=50))
    assert numbers(inbox.next_batch(0.0)) == [0]
    assert inbox.next_batch(0.0) == []


def test_another_step_slices_and_lone_jobs_are_not_run_with_others() -> None:
    alone = replace(job(3), alone=True)
    other = replace(job(5), part="another")
    inbox = filled(job(0, 2), job(1, 2), job(2), alone, job(4), other)
    batches = [numbers(inbox.next_batch(1.0)) for _ in range(5)]
    assert batches == [[0], [1], [2, 4], [3], [5]]


def test_a_job_waits_for_others_as_long_as_its_stage_says() -> None:
    inbox = filled(*(patient(job(k), wait_ms=50) for k in range(2)))
    assert inbox.next_batch(0.0) == []
    assert inbox.opens == pytest.approx(0.05)
    third = patient(job(2), wait_ms=50)
    inbox.add(third)
    inbox.make_ready(third.key)
    assert numbers(inbox.next_batch(0.01)) == [0, 1, 2]
    assert inbox.opens is None


def test_nobody_waits_behind_one_who_waits_for_others() -> None:
    other = replace(job(5), part="another")
    inbox = filled(patient(job(0), wait_ms=50), other)
    assert numbers(inbox.next_batch(0.0)) == [5]
    assert numbers(inbox.next_batch(0.0)) == []
    assert numbers(inbox.next_batch(0.06)) == [0]


def test_what_gathers_still_is_not_run() -> None:
    inbox = Inbox(8)
    inbox.add(job(0))
    assert inbox.next_batch(0.0) == []
    assert inbox.waiting == 1


def test_what_has_expired_is_dropped_and_not_run() -> None:
    inbox = filled(job(0, expires=1.0), job(1))
    assert numbers(inbox.next_batch(1.0)) == [1]
    assert len(inbox.jobs) == 1
    assert inbox.of_request(("g", "g1", 0)) == []


def test_a_job_can_be_put_first_again_after_its_run() -> None:
    inbox = filled(job(0), job(1), job(2), job(3))
    (first, *_) = inbox.next_batch(0.0)
    inbox.make_ready(first.key, first=True)
    assert numbers(inbox.next_batch(0.0)) == [0, 3]


def test_a_job_that_was_dropped_while_it_ran_has_no_outcome() -> None:
    inbox = filled(job(0), job(1))
    inbox.next_batch(0.0)
    inbox.drop(job(0).key)
    inbox.drop(job(0).key)
    assert inbox.finish(job(0).key) is None
    assert inbox.finish(job(1).key) is not None
    assert (inbox.jobs, inbox.running, inbox.waiting) == ({}, set(), 0)


def test_the_jobs_of_a_request_are_those_of_all_its_attempts_and_stages() -> None:
    inbox = filled(job(0), job(0, 2), job(0, attempt=2), job(1))
    found = inbox.of_request(("g", "g1", 0))
    assert [(j.key.attempt, j.key.stage) for j in found] == [(1, 0), (1, 2), (2, 0)]
    found.clear()
    assert len(inbox.of_request(("g", "g1", 0))) == 3


def test_a_job_names_whose_slices_its_inputs_lack() -> None:
    late = job(0, 2)
    late.gather.give("b", "slice", (), ())
    assert late.absent == ("a",)
    assert job(0).absent == ()


def test_the_same_work_is_run_together_whichever_gateway_and_playbook_ask_for_it() -> None:
    other = job(1)
    other.task = Task("h", "h1", 1, 1, 0, "h", 1000.0)
    other.asked = Itinerary("its book", "its plan", ())
    assert numbers(filled(job(0), other).next_batch(0.0)) == [0, 1]


def test_a_job_whose_time_would_run_out_while_it_waits_for_others_does_not_wait() -> None:
    inbox = filled(patient(job(0, expires=0.04), wait_ms=50))
    assert numbers(inbox.next_batch(0.0)) == [0]


def test_what_waits_for_others_is_looked_at_again_after_a_run_and_not_before() -> None:
    inbox = filled(patient(job(0), wait_ms=50), replace(job(5), part="another"))
    assert numbers(inbox.next_batch(0.0)) == [5]
    assert inbox.opens is None
    assert inbox.next_batch(0.01) == []
    assert inbox.opens == pytest.approx(0.05)


def test_no_more_images_are_run_together_than_there_is_memory_for() -> None:
    inbox = Inbox(8, most_images=lambda part: 2)
    for one_job in map(job, range(5)):
        inbox.add(one_job)
        inbox.make_ready(one_job.key)
    assert [numbers(inbox.next_batch(1.0)) for _ in range(3)] == [[0, 1], [2, 3], [4]]


def test_inputs_that_wait_are_bounded_but_for_one_alone() -> None:
    inbox = Inbox(8, limit_bytes=100)
    assert inbox.has_room(0.0, 1000, new=True), "or it would never come in"
    first, second = job(0), job(1, expires=1.0)
    for one_job in (first, second):
        inbox.add(one_job)
        inbox.hold(one_job, 30)
    assert inbox.bytes == 60
    assert not inbox.has_room(0.0, 30, new=True), "a quarter is for requests under way"
    assert inbox.has_room(0.0, 30, new=False)
    assert not inbox.has_room(0.0, 50, new=False)
    assert inbox.has_room(1.0, 50, new=False), "what has expired makes room"
    inbox.drop(first.key)
    inbox.drop(first.key)
    assert inbox.bytes == 0
