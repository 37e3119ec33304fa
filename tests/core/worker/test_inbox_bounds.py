"""An inbox to the last job that fits, and to the moment; trials that nobody answers."""

import math
from dataclasses import replace

import msgspec
from tests.core.worker.test_job import filled, job, numbers, patient, several

from shoal.core.events import JobKey
from shoal.core.messages import Care, Leave, Trial
from shoal.core.worker.job import Inbox, Job
from shoal.core.worker.trials import PATIENCE_S, Trials


def careful(waiting: Job, care: Care) -> Job:
    return replace(waiting, asked=msgspec.structs.replace(waiting.asked, care=care))


# -- room


def test_three_quarters_are_for_new_requests_and_all_for_those_under_way() -> None:
    for limit, new in ((1, 1), (2, 1), (4, 2), (8, 5), (16, 11)):
        inbox, taken = Inbox(limit), 0
        while inbox.has_room(0.0, 0, new=True):
            inbox.add(job(taken))
            taken += 1
        assert taken == new
        while inbox.has_room(0.0, 0, new=False):
            inbox.add(job(taken))
            taken += 1
        assert taken == limit


def test_the_last_byte_that_fits_comes_in() -> None:
    inbox = Inbox(8, limit_bytes=100)
    held = job(0)
    inbox.add(held)
    inbox.hold(held, 40)
    assert inbox.has_room(0.0, 35, new=True)
    assert not inbox.has_room(0.0, 36, new=True)
    assert inbox.has_room(0.0, 60, new=False)
    assert not inbox.has_room(0.0, 61, new=False)


def test_only_what_has_expired_and_does_not_run_makes_room() -> None:
    inbox = filled(job(0, expires=1.0), job(1, 2, expires=1.0), job(2, expires=1.5), limit=3)
    assert numbers(inbox.next_batch(0.0)) == [0, 2]
    assert not inbox.has_room(math.nextafter(1.0, 0.0), 0, new=False)
    assert inbox.has_room(1.0, 0, new=False)
    assert {key.number for key in inbox.jobs} == {0, 2}
    inbox.add(job(3))
    assert not inbox.has_room(8.0, 0, new=False), "those that run are still here"


# -- to the moment


def test_what_ends_at_this_very_moment_is_not_run() -> None:
    inbox = filled(job(0, expires=1.0), job(1, expires=math.nextafter(1.0, 2.0)))
    assert numbers(inbox.next_batch(1.0)) == [1]
    apart = filled(*(careful(job(k, expires=1.0 + k), Care.APART) for k in range(2)))
    found = apart.next_apart(1.0)
    assert found is not None
    assert (found.key.number, found.started) == (1, 1.0)
    assert len(apart.jobs) == 1


def test_what_has_expired_is_left_out_of_a_batch_and_takes_no_room_in_it() -> None:
    inbox = filled(job(0), job(1, expires=1.0), job(2), job(3))
    assert numbers(inbox.next_batch(1.0)) == [0, 2, 3]


def test_of_several_that_wait_for_others_the_first_moment_is_told() -> None:
    one, other = patient(job(0), wait_ms=80), replace(patient(job(1), wait_ms=50), part="another")
    for order in ((one, other), (other, one)):
        inbox = filled(*order)
        assert inbox.next_batch(0.0) == []
        assert inbox.opens == 0.05
        assert inbox.next_batch(math.nextafter(0.05, 0.0)) == []
        assert numbers(inbox.next_batch(0.05)) == [1]


def test_one_that_would_end_just_when_it_need_not_wait_any_more_does_not_wait() -> None:
    assert numbers(filled(patient(job(0, expires=0.05), wait_ms=50)).next_batch(0.0)) == [0]
    later = math.nextafter(0.05, 1.0)
    assert filled(patient(job(0, expires=later), wait_ms=50)).next_batch(0.0) == []


def test_one_that_fills_the_batch_just_so_waits_for_nobody() -> None:
    assert numbers(filled(patient(several(3, job(0)), 50)).next_batch(0.0)) == [0]
    assert filled(patient(several(2, job(0)), 50)).next_batch(0.0) == []
    both = filled(patient(several(2, job(0)), 50), patient(job(1), 50))
    assert numbers(both.next_batch(0.0)) == [0, 1]


def test_a_stage_that_runs_one_at_a_time_is_not_asked_for_memory() -> None:
    inbox = Inbox(8, most_images=lambda part: 0)
    lone = job(0)
    inbox.add(lone)
    inbox.make_ready(lone.key)
    assert numbers(inbox.next_batch(0.0)) == [0], "one is run however little memory there is"


def test_who_is_run_with_care_is_run_alone_and_behind_nobody_who_waits() -> None:
    inbox = filled(patient(job(0), 50), careful(patient(job(1), 50), Care.ALONE), job(2, 2))
    assert numbers(inbox.next_batch(0.0)) == [1]
    assert numbers(inbox.next_batch(0.0)) == [2]
    assert inbox.next_batch(0.0) == []


# -- trials


def leave(key: JobKey, run: bool = True, stage: int | None = None) -> Leave:
    at = key.stage if stage is None else stage
    return Leave(key.gateway, key.incarnation, key.number, key.attempt, at, run)


def test_a_trial_is_asked_for_run_told_and_over() -> None:
    suspect = job(0)
    trials = Trials({suspect.key})
    assert not trials.held
    assert trials.next() is None
    sent = trials.ask(suspect, 1.0)
    assert (sent.to, sent.message) == ("g", Trial("g", "g1", 0, 1, 0))
    assert (trials.held, trials.next()) == (True, 1.0 + PATIENCE_S)
    assert trials.leave(leave(suspect.key, stage=1)) == (None, False)
    assert trials.leave(leave(job(1).key)) == (None, False)
    assert trials.leave(leave(suspect.key)) == (suspect.key, True)
    assert (trials.held, trials.next()) == (True, None)
    assert trials.late(99.0) is None, "a run takes what it takes"
    assert trials.lost("g") is None
    assert trials.ran(job(1).key, 5.0) == []
    (told,) = trials.ran(suspect.key, 5.0)
    assert told.message == Trial("g", "g1", 0, 1, 0, over=True)
    assert trials.ran(suspect.key, 5.0) == [], "told once"
    assert (trials.held, trials.next()) == (True, 5.0 + PATIENCE_S)
    assert trials.leave(leave(suspect.key)) == (None, False)
    assert (trials.held, trials.next()) == (False, None)


def test_who_gets_no_answer_waits_for_so_long_and_no_longer() -> None:
    suspect = job(0)
    trials = Trials({suspect.key})
    trials.ask(suspect, 1.0)
    assert trials.late(math.nextafter(1.0 + PATIENCE_S, 0.0)) is None
    assert trials.held
    assert trials.late(1.0 + PATIENCE_S) == suspect.key
    assert not trials.held
    assert trials.leave(leave(suspect.key)) == (None, False), "it comes too late"
    trials.ask(suspect, 5.0)
    trials.leave(leave(suspect.key))
    trials.ran(suspect.key, 6.0)
    assert trials.late(6.0 + PATIENCE_S) is None, "it was run"
    assert not trials.held


def test_who_may_not_run_it_or_loses_its_gateway_or_its_job_holds_nothing_up() -> None:
    suspect = job(0)
    jobs = {suspect.key}
    trials = Trials(jobs)
    trials.ask(suspect, 0.0)
    assert trials.leave(leave(suspect.key, run=False)) == (suspect.key, False)
    assert not trials.held
    trials.ask(suspect, 0.0)
    assert trials.lost("h") is None
    assert trials.held
    assert trials.lost("g") == suspect.key
    assert not trials.held
    trials.ask(suspect, 0.0)
    jobs.clear()
    assert not trials.held, "it was given up meanwhile"
    assert trials.next() is None
