"""A job: one stage of one attempt at one request, on one worker; and the inbox that holds them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from shoal.core.actions import Given
from shoal.core.events import Body, JobKey
from shoal.core.messages import Resume, StageTrace, Task
from shoal.plan.plan import Join, Plan


@dataclass(slots=True)
class Job:
    """What has come for a stage so far.

    ``awaited`` are the givers whose slices have not come (empty: ready to run). ``redirect`` is
    set when the gateway changed its mind about what follows while the job waits or runs.
    """

    key: JobKey
    task: Task
    plan: Plan
    arrived: float
    expires: float
    awaited: set[str]
    join: Join | None
    bodies: dict[str, Body] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    traces: dict[StageTrace, None] = field(default_factory=dict)
    started: float = 0.0
    redirect: Resume | None = None

    @property
    def attempt(self) -> int:
        """The attempt that this job now works for."""
        return self.redirect.attempt if self.redirect else self.key.attempt

    def give(self, task: Task, body: Body) -> None:
        """Add what one giver sent; the first from each giver counts."""
        if task.giver not in self.bodies:
            self.bodies[task.giver] = body
            self.absent.update(task.absent)
            self.traces.update(dict.fromkeys(task.trace))
        self.awaited.discard(task.giver)

    def given(self) -> Given:
        """The bodies for the run."""
        return Given(self.bodies, self.join)

    def batches_with(self, other: Job) -> bool:
        """Whether both can be run as one: the same step on whole bodies."""
        a, b = self.task, other.task
        same = a.playbook == b.playbook and a.plan == b.plan and a.stage == b.stage
        return same and self.join is None and other.join is None


class Inbox:
    """Jobs that gather, wait and run; at most ``limit`` of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.jobs: dict[JobKey, Job] = {}
        self.running: set[JobKey] = set()
        self._ready: deque[JobKey] = deque()

    @property
    def full(self) -> bool:
        """Whether another job must be refused."""
        return len(self.jobs) >= self.limit

    @property
    def waiting(self) -> int:
        """Jobs that are not running."""
        return len(self.jobs) - len(self.running)

    def add(self, job: Job) -> None:
        """Take a new job in."""
        self.jobs[job.key] = job

    def make_ready(self, key: JobKey) -> None:
        """Queue a job to be run."""
        self._ready.append(key)

    def next_batch(self, now: float) -> list[Job]:
        """Take the jobs to be run next out of the queue, as many at once as their stage allows;
        those that have expired are dropped."""
        head = self._next_alive(now)
        if head is None:
            return []
        batch = [head]
        size = head.plan.stages[head.key.stage].batch
        while len(batch) < size and self._ready:
            other = self.jobs.get(self._ready[0])
            if other is not None and not other.batches_with(head):
                break
            self._ready.popleft()
            if other is not None:
                batch.append(other)
        for job in batch:
            job.started = now
            self.running.add(job.key)
        return batch

    def finish(self, key: JobKey) -> Job | None:
        """Take a job out after its run; None when it was dropped meanwhile."""
        self.running.discard(key)
        return self.jobs.pop(key, None)

    def drop(self, key: JobKey) -> None:
        """Forget a job; if it runs, its outcome will be ignored."""
        self.running.discard(key)
        self.jobs.pop(key, None)

    def of_request(self, gateway: str, number: int) -> list[Job]:
        """The jobs of a request, all attempts and stages."""
        return [j for k, j in self.jobs.items() if k.gateway == gateway and k.number == number]

    def _next_alive(self, now: float) -> Job | None:
        while self._ready:
            job = self.jobs.get(self._ready.popleft())
            if job is None:
                continue
            if job.expires > now:
                return job
            self.drop(job.key)
        return None
