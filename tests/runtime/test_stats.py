"""Counts and times in bounded memory."""

import pytest

from shoal.errors import DeadlineError
from shoal.runtime import stats
from shoal.runtime.answer import Answer
from shoal.runtime.observer import ObservedRequest
from shoal.runtime.stats import RECENT, Recorder

REQUEST = ObservedRequest(0, 0.0, 1)


def answer(plan, latency_ms, attempts=1, degraded=False):
    return Answer({}, plan, (), latency_ms, attempts, degraded=degraded)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(stats.time, "monotonic", lambda: Clock.now)
    return Clock


def test_nothing_happened_yet():
    empty = Recorder().stats(0, {})
    assert (empty.answered, empty.failed, empty.images_per_s, empty.p99_ms) == (0, 0, 0.0, 0.0)


def test_what_happened_is_counted(clock):
    recorder = Recorder()
    for k in range(11):
        plan, ms = "fast" if k else "slow", 10.0 + k
        recorder.answered(REQUEST, answer(plan, ms, attempts=1 + (k == 3), degraded=k == 4))
        clock.now += 0.5
    recorder.failed(REQUEST, DeadlineError("late"))
    got = recorder.stats(pending=2, devices={})
    assert (got.answered, got.failed, got.pending, got.retried, got.degraded) == (11, 1, 2, 1, 1)
    assert got.plans == {"slow": 1, "fast": 10}
    assert got.images_per_s == pytest.approx(2.0)
    assert (got.p50_ms, got.max_ms) == (15.0, 20.0)


def test_percentiles_are_of_the_last_answers_and_memory_is_bounded(clock):
    recorder = Recorder()
    recorder.answered(REQUEST, answer("plan", 1e6))
    for _ in range(RECENT):
        recorder.answered(REQUEST, answer("plan", 5.0))
    got = recorder.stats(0, {})
    assert got.answered == RECENT + 1
    assert (got.p99_ms, got.max_ms) == (5.0, 1e6)
    assert len(recorder._recent) == RECENT
