"""A job: one stage of one attempt at one request, on one worker; and the inbox that holds them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shoal.core.actions import Away
from shoal.core.events import JobKey
from shoal.core.messages import Care, Itinerary, Resume, Task
from shoal.core.shared.gather import Gather
from shoal.core.shared.routes import devices_at
from shoal.core.worker.attempts import RequestKey, request_of
from shoal.plan.plan import Exit, Home, Plan, Stage


@dataclass(slots=True)
class Job:
    """What has come for a stage so far. ``key`` names it for good; ``part`` is run.

    ``task`` is that of the attempt that it works for, which goes where ``asked`` says; a newer one
    may take it over.
    ``redirect`` is set when the gateway changed its mind about what follows while the job waits or
    runs. ``alone`` jobs are not run together with others: their part does not treat requests one by
    one, or a run with others failed. ``size`` is the bytes of its inputs, ``home`` says
    what of its outputs stays here. ``overdue`` ones wait beyond the deadline of slices, for that of
    this worker itself. Times in seconds.
    """

    key: JobKey
    part: str
    task: Task
    asked: Itinerary
    plan: Plan
    gather: Gather
    arrived: float
    expires: float
    started: float = 0.0
    alone: bool = False
    redirect: Resume | None = None
    size: int = 0
    home: Home | None = None
    overdue: bool = False
    stage: Stage = field(init=False)
    """The stage that it runs."""

    def __post_init__(self) -> None:
        self.stage = self.plan.stages[self.key.stage]

    @property
    def follow(self) -> Task | Resume:
        """What says how to go on after this job."""
        return self.redirect or self.task

    @property
    def itinerary(self) -> Itinerary:
        """Where it goes."""
        return self.redirect.itinerary if self.redirect is not None else self.asked

    @property
    def care(self) -> Care:
        """How it is run."""
        return self.itinerary.care

    @property
    def images(self) -> int:
        """How many images it is of."""
        return self.asked.images

    @property
    def opens(self) -> float:
        """When it need not wait for others any more, in seconds: one whose time would run out
        meanwhile does not wait at all."""
        opens = self.arrived + self.stage.batch_wait_ms / 1e3
        return opens if opens < self.expires else self.arrived

    @property
    def work(self) -> tuple[str, tuple[str, ...], Exit | None, Away | None, Home | None]:
        """What is computed: the same for plans and playbooks that share the part."""
        return self.part, self.stage.outputs, self.stage.exit, self.away, self.home

    @property
    def away(self) -> Away | None:
        """Which of those who run this stage together are missing, if its part reckons with that:
        who is not asked to run it, and whose slices were missing on the way here."""
        join = self.stage.join
        if join is None or not join.away:
            return None
        holders = set(devices_at(self.asked.route, self.key.stage) or join.slices)
        holders.difference_update(self.absent)
        return Away(join.away, tuple(name not in holders for name in join.slices))

    @property
    def absent(self) -> tuple[str, ...]:
        """Devices whose slices are missing in its inputs."""
        before = self.plan.stages[self.key.stage - 1].parts if self.key.stage else ()
        return self.gather.missing(before)

    def runs(self, stage: int, itinerary: Itinerary) -> bool:
        """Whether it is this stage of the plan that an attempt follows."""
        mine, its = self.asked, itinerary
        return (self.task.stage, mine.plan, mine.playbook) == (stage, its.plan, its.playbook)

    def batches_with(self, other: Job) -> bool:
        """Whether both can be run as one: the same work on whole bodies, whoever asks for it."""
        if self.lonely or other.lonely or self.work != other.work:
            return False
        return self.gather.join is None and other.gather.join is None

    @property
    def lonely(self) -> bool:
        """Whether it is never run together with others."""
        return self.alone or self.care is not Care.NONE


class Inbox:
    """Jobs that gather, wait and run: at most ``limit`` of them, whose inputs take at most
    ``limit_bytes``, with the slices that wait to be told where they go, unless there is only one.
    ``most_images`` tells how many images a part has memory for at once."""

    def __init__(
        self,
        limit: int,
        limit_bytes: float = math.inf,
        most_images: Callable[[str], float] = lambda part: math.inf,
    ) -> None:
        self.limit = limit
        self.bytes = 0
        self._limit_bytes = limit_bytes
        self._most_images = most_images
        self.jobs: dict[JobKey, Job] = {}
        self.running: set[JobKey] = set()
        self.dropped: Callable[[JobKey], object] = lambda key: None
        """Told of each job that is not here any more."""
        self.opens: float | None = None
        """When a job that waits for others may be run without, in seconds; None while another run
        takes place first."""
        self._ready: OrderedDict[JobKey, None] = OrderedDict()
        self._apart: OrderedDict[JobKey, None] = OrderedDict()
        self._of: dict[RequestKey, list[Job]] = {}

    @property
    def waiting(self) -> int:
        """Jobs that are not running."""
        return len(self.jobs) - len(self.running)

    def beside(self, request: RequestKey) -> int:
        """How many images all other requests are of."""
        return sum(jobs[0].images for key, jobs in self._of.items() if key != request)

    def has_room(self, now: float, size: int, new: bool) -> bool:
        """Whether another job, with an input of ``size`` bytes, may come in, after those that
        expired, or wait in vain, have made room. A quarter is reserved for requests under way: a
        ``new`` one is cheaper to turn away."""
        limit, most_bytes = self.limit, self._limit_bytes
        if new:
            limit, most_bytes = max(1, limit - limit // 4 - 1), 0.75 * most_bytes

        def is_full() -> bool:
            too_much = self.bytes + size > most_bytes and self.bytes > 0
            return len(self.jobs) >= limit or too_much

        if is_full():
            for job in list(self.jobs.values()):
                if (job.expires <= now or self._in_vain(job)) and job.key not in self.running:
                    self.drop(job.key)
        return not is_full()

    def _in_vain(self, job: Job) -> bool:
        """Whether a job waits for a slice of this worker, and nothing is here that makes it: it was
        turned away, say. Else those that wait so keep out what they wait for."""
        jobs = self._of[request_of(job.key)]
        waits = job.overdue and not job.gather.complete
        return waits and all(other.key.stage >= job.key.stage for other in jobs)

    def hold(self, job: Job, size: int) -> None:
        """An input of a job has come, of ``size`` bytes."""
        job.size += size
        self.bytes += size

    def add(self, job: Job) -> None:
        """Take a new job in."""
        self.jobs[job.key] = job
        self._of.setdefault(request_of(job.key), []).append(job)

    def make_ready(self, key: JobKey, first: bool = False) -> None:
        """Queue a job to be run, at the end or as the ``first``."""
        self.running.discard(key)
        self._ready.pop(key, None)
        queue = self._apart if self.jobs[key].care is Care.APART else self._ready
        queue[key] = None
        if first:
            queue.move_to_end(key, last=False)

    def next_batch(self, now: float) -> list[Job]:
        """Take the jobs to be run next out of the queue: the first that need not wait for others,
        and with it as many of the same work as the stage allows. Expired ones are dropped."""
        self.opens = None
        if not self._ready:
            return []
        tried: set[Any] = set()
        for key in list(self._ready):
            first = self.jobs.get(key)
            if first is None:
                continue
            if first.care is Care.APART:  # since it was taken over by a newer attempt
                self.make_ready(key)
                continue
            if tried and first.work in tried and not first.lonely:
                continue
            if first.expires <= now:
                self.drop(key)
                continue
            batch, full = self._batch(first, now)
            opens = first.opens
            if first.lonely or full or now >= opens:
                self.opens = None  # looked at again when this run is over
                for job in batch:
                    del self._ready[job.key]
                    job.started = now
                    self.running.add(job.key)
                return batch
            tried.add(first.work)
            self.opens = opens if self.opens is None else min(opens, self.opens)
        return []

    def next_apart(self, now: float) -> Job | None:
        """Take the next job out of the queue that is run in a process of its own."""
        while self._apart:
            key, _ = self._apart.popitem(last=False)
            job = self.jobs[key]
            if job.expires > now:
                job.started = now
                self.running.add(key)
                return job
            self.drop(key)
        return None

    def _batch(self, first: Job, now: float) -> tuple[list[Job], bool]:
        """``first`` and those of its work that wait behind it, as many images as may be run at
        once; whether there is no room for another, or for one that waits."""
        most = float(first.stage.batch)
        if most > 1:
            most = min(most, self._most_images(first.part))
        batch, room, full = [first], most - first.images, False
        for key in self._ready:
            if room <= 0:
                break
            job = self.jobs[key]
            if job is first or job.expires <= now or not job.batches_with(first):
                continue
            if job.images > room:
                full = True
                continue
            batch.append(job)
            room -= job.images
        return batch, full or room <= 0

    def finish(self, key: JobKey) -> Job | None:
        """Take a job out after its run; None when it was dropped meanwhile."""
        job = self.jobs.get(key)
        self.drop(key)
        return job

    def drop(self, key: JobKey) -> None:
        """Forget a job; if it runs, its outcome will be ignored."""
        job = self.jobs.pop(key, None)
        if job is None:
            return
        self.dropped(key)
        self.bytes -= job.size
        self.running.discard(key)
        self._ready.pop(key, None)
        self._apart.pop(key, None)
        request = request_of(key)
        jobs = self._of[request]
        jobs.remove(job)
        if not jobs:
            del self._of[request]

    def of_request(self, request: RequestKey) -> list[Job]:
        """The jobs of a request, all attempts and stages (a copy)."""
        return list(self._of.get(request, ()))
