"""Runs of requests of which a worker may die: one at a time, and only when its gateway knows.

A request is *suspect* when a device was lost while it may have run it (see
``core/gateway/suspects.py``). To tell what a worker dies of, its gateway must know what runs there
when it dies. So the worker asks before it runs a suspect request, tells when that is over, and runs
nothing else from the moment that it asks until it hears that this is known: two round trips, for
suspects only.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from enum import Enum, auto

from shoal.core.actions import Send
from shoal.core.events import JobKey
from shoal.core.messages import Leave, RequestMessage, Trial
from shoal.core.worker.attempts import request_of
from shoal.core.worker.job import Job

PATIENCE_S = 2.0
"""Longest wait for a gateway: what it has to say may have to travel behind large tensors."""


class _Step(Enum):
    ASKED = auto()
    RUNS = auto()
    TOLD = auto()


@dataclass(slots=True)
class _Trial:
    key: JobKey
    about: RequestMessage
    step: _Step
    until: float


class Trials:
    """The trial of one worker, if one is held. ``jobs`` are those that are not over."""

    def __init__(self, jobs: Container[JobKey]) -> None:
        self._jobs = jobs
        self._trial: _Trial | None = None

    @property
    def held(self) -> bool:
        """Whether nothing else may be run."""
        trial = self._trial
        if trial is not None and trial.step is _Step.ASKED and trial.key not in self._jobs:
            self._trial = None  # it was given up meanwhile
        return self._trial is not None

    def ask(self, job: Job, now: float) -> Send:
        """Ask for leave to run a job."""
        key, follow = job.key, job.follow
        about = RequestMessage(key.gateway, key.incarnation, key.number, follow.attempt)
        self._trial = _Trial(key, about, _Step.ASKED, now + PATIENCE_S)
        return self._tell(self._trial, over=False)

    def leave(self, leave: Leave) -> tuple[JobKey | None, bool]:
        """A gateway answers: the job to be run now, or to be given up (False); None: neither."""
        trial = self._trial
        mine = trial is not None and leave.stage == trial.key.stage
        if trial is None or not mine or request_of(leave) != request_of(trial.key):
            return None, False
        if trial.step is _Step.ASKED:
            trial.step = _Step.RUNS
            if not leave.run:
                self._trial = None
            return trial.key, leave.run
        if trial.step is _Step.TOLD:
            self._trial = None
        return None, False

    def ran(self, key: JobKey, now: float) -> list[Send]:
        """A run is over."""
        trial = self._trial
        if trial is None or trial.step is not _Step.RUNS or trial.key != key:
            return []
        trial.step, trial.until = _Step.TOLD, now + PATIENCE_S
        return [self._tell(trial, over=True)]

    def late(self, now: float) -> JobKey | None:
        """Wait no longer for an answer that does not come: the job that is not run, if any."""
        return self._end() if self._trial is not None and now >= self._trial.until else None

    def lost(self, gateway: str) -> JobKey | None:
        """A gateway can be neither asked nor told: the job that is not run, if any."""
        mine = self._trial is not None and self._trial.key.gateway == gateway
        return self._end() if mine else None

    def _end(self) -> JobKey | None:
        """Wait no longer, except for a run: the job that was to be run, if any."""
        trial = self._trial
        if trial is None or trial.step is _Step.RUNS:
            return None
        self._trial = None
        return trial.key if trial.step is _Step.ASKED else None

    def next(self) -> float | None:
        """When :meth:`late` has something to do, in seconds."""
        trial = self._trial
        return None if trial is None or trial.step is _Step.RUNS else trial.until

    def _tell(self, trial: _Trial, over: bool) -> Send:
        about = trial.about
        message = Trial(
            about.gateway, about.incarnation, about.number, about.attempt, trial.key.stage, over
        )
        return Send(about.gateway, message)
