"""What comes in to a worker becomes jobs that are ready to run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from shoal.core.actions import WorkerAction
from shoal.core.events import Body, JobKey
from shoal.core.messages import Itinerary, Resume, Task, Why
from shoal.core.shared.gather import Gather
from shoal.core.shared.routes import devices_at
from shoal.core.shared.timers import Timers, soonest
from shoal.core.worker.attempts import RequestKey, request_of
from shoal.core.worker.itineraries import Early
from shoal.core.worker.job import Job
from shoal.core.worker.onward import Onward
from shoal.plan.plan import Plan

if TYPE_CHECKING:
    from shoal.core.worker.worker import WorkerCore


class Intake:
    """Takes tasks and resumes, and gathers slices until their deadline."""

    def __init__(self, worker: WorkerCore, onward: Onward) -> None:
        self._worker = worker
        self._onward = onward
        self._deadlines: Timers[JobKey] = Timers()
        worker.inbox.dropped = self._deadlines.clear

    # -- messages

    def task(self, task: Task, body: Body, size: int, now: float) -> list[WorkerAction]:
        """A task has come: a whole body, or one slice of it, of ``size`` bytes."""
        worker, request = self._worker, request_of(task)
        if worker.attempts.stale(request, task.attempt, task.stage):
            return []
        told = task.itinerary
        itinerary = told or worker.itineraries.of(request, task.attempt)
        if itinerary is None:
            return self._wait(task, body, size, now)
        early = self._learn(request, task.attempt, told, now) if told is not None else []
        return [*self._take(task, itinerary, body, size, now), *early]

    def _wait(self, task: Task, body: Body, size: int, now: float) -> list[WorkerAction]:
        """It is not known yet where a task goes: it has outrun what tells it."""
        inbox, waiting = self._worker.inbox, self._worker.itineraries
        if waiting.waiting >= inbox.limit or not inbox.has_room(now, size, new=False):
            return [self._onward.refuse(task, task.stage, Why.OVERLOADED)]
        inbox.bytes += size
        waiting.wait(Early(task, body, size, now + task.budget_ms / 1e3))
        return []

    def _learn(
        self, request: RequestKey, attempt: int, itinerary: Itinerary, now: float
    ) -> list[WorkerAction]:
        """It is told where an attempt goes: what waited for that goes on, what waited for an older
        one is given up."""
        worker, actions = self._worker, list[WorkerAction]()
        worker.itineraries.learn(request, attempt, itinerary)
        for early in worker.itineraries.take(request):
            worker.inbox.bytes -= early.size
            if early.task.attempt == attempt:
                actions += self._take(early.task, itinerary, early.body, early.size, now)
            elif early.task.attempt > attempt:
                actions += self._wait(early.task, early.body, early.size, now)
        return actions

    def _take(
        self, task: Task, itinerary: Itinerary, body: Body, size: int, now: float
    ) -> list[WorkerAction]:
        worker, request = self._worker, request_of(task)
        plan = worker.library.plan(itinerary.playbook, itinerary.plan)
        if plan is None or not self._makes_sense(task, plan):
            return [self._onward.refuse(task, task.stage, Why.UNKNOWN_PLAN)]
        worker.library.use(itinerary.playbook, now)
        if itinerary.images > 1:
            part = plan.stages[task.stage].parts[worker.name]
            text = worker.library.too_large(part, itinerary.images)
            if text:
                return [self._onward.refuse(task, task.stage, Why.TOO_LARGE, text)]
        if worker.attempts.note(request, task.attempt):
            worker.outgoing.drop(request)
            taken_over = self._take_over(request, task, itinerary, plan, now)
            if taken_over is not None:
                return taken_over
        job = self._job_for(request, task)
        if job is None:
            made = self._new_job(task, itinerary, plan, size, now)
            if isinstance(made, Why):
                return [self._onward.refuse(task, task.stage, made)]
            job = made
        elif job.gather.complete:
            return []
        worker.inbox.hold(job, size)
        job.gather.give(task.giver, body, task.absent, task.trace)
        return self._gathered(job) if job.gather.complete else []

    def resume(self, resume: Resume, now: float) -> list[WorkerAction]:
        """Let a request go on from what was made here for an older attempt at it."""
        worker, request = self._worker, request_of(resume)
        if worker.attempts.stale(request, resume.attempt, resume.stage - 1):
            return []
        worker.attempts.note(request, resume.attempt)
        worker.outgoing.drop(request)
        early = self._learn(request, resume.attempt, resume.itinerary, now)
        return [*self._resume(resume, request, now), *early]

    def _resume(self, resume: Resume, request: RequestKey, now: float) -> list[WorkerAction]:
        worker, itinerary = self._worker, resume.itinerary
        plan = worker.library.plan(itinerary.playbook, itinerary.plan)
        if plan is None or not 0 <= resume.stage < len(plan.stages):
            return [self._onward.refuse(resume, resume.stage, Why.UNKNOWN_PLAN)]
        wanted = frozenset(plan.stages[resume.stage].inputs)
        redirected = False
        for job in worker.inbox.of_request(request):
            if not redirected and job.gather.complete and wanted == frozenset(job.stage.outputs):
                job.redirect = resume
                redirected = True
            else:
                self.drop(job)
        if redirected:
            return []
        kept = worker.kept.get(request)
        if kept is None or frozenset(kept.names) != wanted:
            return [self._onward.refuse(resume, resume.stage, Why.NOT_KEPT)]
        worker.attempts.done(request, resume.attempt, resume.stage - 1)
        expires = now + resume.budget_ms / 1e3
        return self._onward.pass_on(resume, itinerary, plan, kept, expires, now)

    def _makes_sense(self, task: Task, plan: Plan) -> bool:
        """Whether this worker has a part in the stage, and slices come only where they are to be
        joined."""
        if not 0 <= task.stage < len(plan.stages):
            return False
        if task.sliced and (task.stage == 0 or plan.stages[task.stage - 1].join is None):
            return False
        return self._worker.name in plan.stages[task.stage].parts

    def _job_for(self, request: RequestKey, task: Task) -> Job | None:
        """The job that a task of this very attempt belongs to."""
        for job in self._worker.inbox.of_request(request):
            if job.follow.attempt == task.attempt and job.key.stage == task.stage:
                return job
        return None

    def _new_job(
        self, task: Task, itinerary: Itinerary, plan: Plan, size: int, now: float
    ) -> Job | Why:
        worker = self._worker
        if worker.info.draining:
            return Why.DRAINING
        part = plan.stages[task.stage].parts[worker.name]
        if not worker.library.ready(part):
            return Why.PART_MISSING
        if not worker.inbox.has_room(now, size, new=task.giver == task.gateway and not task.trace):
            return Why.OVERLOADED
        gather = Gather({task.giver}, codec=plan.alike(task.stage))
        expires = now + task.budget_ms / 1e3
        key = JobKey(*request_of(task), task.attempt, task.stage)
        if task.sliced:
            before = plan.stages[task.stage - 1]
            givers = devices_at(itinerary.route, task.stage - 1) or before.parts
            gather.join = before.join
            gather.awaited.update(filter(worker.reachable, givers))
            if before.join is not None and before.join.at_home:
                gather.needs = worker.name
            wait_s = before.join.deadline_ms / 1e3 if before.join else 0.0
            # Others wait there as they do here.
            images = itinerary.images + worker.inbox.beside(request_of(task))
            self._deadlines.set(key, min(expires, now + wait_s * images))
        alone = not worker.library.stacks(itinerary.playbook, part)
        home = plan.home(task.stage, worker.name)
        job = Job(key, part, task, itinerary, plan, gather, now, expires, alone=alone, home=home)
        worker.inbox.add(job)
        return job

    def _take_over(
        self, request: RequestKey, task: Task, itinerary: Itinerary, plan: Plan, now: float
    ) -> list[WorkerAction] | None:
        """A newer attempt has come: let it have the work that was done here for an older one if
        that is the same step, and give up the rest. None: there is no such work.

        So a request that is sent again since its answer was long in coming costs a message, not
        another run behind all that waits here.
        """
        worker, heir = self._worker, None
        expires = now + task.budget_ms / 1e3
        for job in worker.inbox.of_request(request):
            whole = not task.sliced and job.gather.join is None and job.gather.complete
            if heir is None and whole and job.runs(task.stage, itinerary):
                heir = job
                job.task, job.asked, job.redirect, job.expires = task, itinerary, None, expires
            else:
                self.drop(job)
        if heir is not None:
            return []
        kept = worker.kept.get(request)
        if kept is None or task.sliced:
            return None
        made = itinerary.playbook, itinerary.plan, task.stage
        if (kept.playbook, kept.plan, kept.stage) != made:
            return None
        worker.attempts.done(request, task.attempt, task.stage)
        return self._onward.pass_on(task, itinerary, plan, kept, expires, now)

    # -- slices

    def lost(self, giver: str) -> list[WorkerAction]:
        """No more slices come from a device."""
        jobs = self._worker.inbox.jobs.values()
        actions: list[WorkerAction] = []
        for job in [job for job in jobs if giver in job.gather.awaited]:
            actions += self._miss(job, (giver,))
        return actions

    def due(self, now: float) -> list[WorkerAction]:
        """Wait no more for slices whose deadline has come, nor to be told where tasks go whose own
        has."""
        actions: list[WorkerAction] = []
        self._give_up(self._worker.itineraries.late(now))
        for key in self._deadlines.due(now):
            job = self._worker.inbox.jobs.get(key)
            if job is None or job.gather.complete:
                continue
            mine = {job.gather.needs} if now < job.expires else set[str]()
            actions += self._miss(job, job.gather.awaited - mine)
            if not job.gather.complete:
                job.overdue = True
                self._deadlines.set(key, job.expires)
        return actions

    def next(self) -> float | None:
        """When :meth:`due` has work to do next, in seconds."""
        slices, told = self._deadlines.next(), self._worker.itineraries.next()
        return slices if told is None else soonest(slices, told)

    def _miss(self, job: Job, givers: Iterable[str]) -> list[WorkerAction]:
        job.gather.awaited.difference_update(givers)
        return self._gathered(job) if job.gather.complete else []

    def _gathered(self, job: Job) -> list[WorkerAction]:
        """Nothing more is awaited for a job."""
        if job.gather.enough:
            self._deadlines.clear(job.key)
            self._worker.inbox.make_ready(job.key)
            return []
        self._worker.inbox.drop(job.key)
        text = f"{len(job.gather.bodies)} came"
        stage, why = job.key.stage, Why.TOO_FEW_SLICES
        return [self._onward.refuse(job.task, stage, why, text, job.absent)]

    # -- ends

    def forget(self, request: RequestKey) -> None:
        """A request is over."""
        self._give_up(self._worker.itineraries.drop(request))
        for job in self._worker.inbox.of_request(request):
            self.drop(job)

    def settle(self, gateway: str, incarnation: str, below: int) -> None:
        """Requests are over, also such as nothing was heard of but tasks that wait."""
        self._give_up(self._worker.itineraries.settle(gateway, incarnation, below))

    def forget_owner(self, gateway: str, but: str | None) -> None:
        """A gateway is gone, or its incarnations other than ``but``."""
        self._give_up(self._worker.itineraries.drop_owner(gateway, but))
        for job in list(self._worker.inbox.jobs.values()):
            if job.key.gateway == gateway and job.key.incarnation != but:
                self.drop(job)

    def _give_up(self, early: Iterable[Early]) -> None:
        for one in early:
            self._worker.inbox.bytes -= one.size

    def drop(self, job: Job) -> None:
        """Give a job up."""
        self._worker.inbox.drop(job.key)
