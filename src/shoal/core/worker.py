"""The worker as a state machine: events in, actions out; no socket, no clock, no tensor.

A task comes in; when everything that its stage needs is there, it is run; then the request leaves
by an early exit, is answered, or goes on to the next stage. What was passed on is kept for a
while, so that the gateway can have the request go on from here when a later device is lost.

Who recovers what: the gateway owns its requests and decides all recovery; a worker tells it what
it cannot do (:class:`~shoal.core.messages.Refused`) and otherwise forgets nothing that it was
given before the request is over, superseded or expired. Clocks are never compared between
devices: a message carries the time that is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from shoal.core.actions import Drained, Run, Send, Wake, WorkerAction
from shoal.core.attempts import Attempts, RequestKey, request_of
from shoal.core.events import (
    Appeared,
    Arrived,
    Body,
    Drain,
    JobKey,
    LinkMeasured,
    Loaded,
    Outcome,
    Ran,
    RunFailed,
    Tick,
    Unsent,
    Vanished,
    WorkerEvent,
)
from shoal.core.gather import Gather
from shoal.core.job import Inbox, Job, same_step
from shoal.core.kept import Kept, Output
from shoal.core.library import Library
from shoal.core.membership import Membership
from shoal.core.messages import (
    DeviceInfo,
    Forget,
    Hello,
    Install,
    Installed,
    Load,
    Message,
    RequestMessage,
    Resume,
    StageTrace,
    Task,
    Uninstall,
    Why,
)
from shoal.core.neighbours import Neighbours
from shoal.core.onward import Onward
from shoal.core.policy import LinkView, Policy, find_policy
from shoal.core.routes import runs
from shoal.core.timers import Timers
from shoal.errors import PlanError
from shoal.plan.plan import Plan

_SMOOTHING = 0.2


class WorkerCore:
    """One worker. ``capacity`` jobs run at once, ``inbox`` jobs are held at most, ``keep_bytes``
    of outputs are kept, ``info.memory`` bounds the parts that are loaded. What is held for a
    gateway is freed when it has not been seen for ``grace_s``."""

    def __init__(
        self,
        info: DeviceInfo,
        *,
        capacity: int = 1,
        inbox: int = 256,
        keep_bytes: int = 64 << 20,
        grace_s: float = 5.0,
        policies: Callable[[str], Policy] = find_policy,
    ) -> None:
        self.info = info
        self.name = info.name
        self.library = Library(info.name, info.memory)
        self.members = Membership(grace_s)
        self.neighbours = Neighbours(info.name, self.members)
        self.inbox = Inbox(inbox)
        self.kept = Kept(keep_bytes)
        self.attempts = Attempts()
        self._policies = policies
        self._onward = Onward(self, policies)
        self._capacity = capacity
        self._timers: Timers[JobKey] = Timers()
        self._wake: float | None = None
        self._running = 0
        self._run_ms = 0.0
        self._drained = False

    def introduce(self, incarnation: str) -> None:
        """Take the incarnation under which this node is seen, before anything is handled."""
        self.info = msgspec.structs.replace(self.info, incarnation=incarnation)

    def handle(self, event: WorkerEvent, now: float) -> list[WorkerAction]:
        """Take an event at time ``now`` (seconds, any origin); what shall be done."""
        actions = self._react(event, now)
        actions += self._start_runs(now)
        if self.info.draining and not self._drained and not self.inbox.jobs:
            self._drained = True
            actions.append(Drained())
        return actions + self._next_wake()

    @property
    def load(self) -> Load:
        """How busy this worker is."""
        return Load(self.inbox.waiting, self._running, 0, self._run_ms)

    def reachable(self, name: str) -> bool:
        """Whether a message can be sent to ``name``."""
        return name == self.name or self.members.alive(name)

    def _react(self, event: WorkerEvent, now: float) -> list[WorkerAction]:
        match event:
            case Arrived(sender, message, body):
                return self._arrived(sender, message, body, now)
            case Ran():
                return self._ran(event, now)
            case RunFailed(jobs, text, damaged):
                return self._run_failed(jobs, text, damaged)
            case Loaded(_, part, error):
                return self.library.loaded(part, error)
            case Appeared(name, incarnation):
                return self._appeared(name, incarnation, now)
            case Vanished(name, incarnation):
                return self._vanished(name, incarnation, now)
            case Unsent(to, Task() as task, full):
                why = Why.OVERLOADED if full else Why.PEER_ABSENT
                return [self._onward.refuse(task, task.stage, why, absent=(to,))]
            case Unsent():
                return []
            case LinkMeasured(peer, bytes_per_s, rtt_ms):
                self.neighbours.links[peer] = LinkView(bytes_per_s, rtt_ms)
                return []
            case Drain():
                return self._drain()
            case Tick():
                return self._tick(now)

    # -- messages

    def _arrived(self, sender: str, message: Message, body: Body, now: float) -> list[WorkerAction]:
        match message:
            case RequestMessage() | Forget() if self.members.former(
                message.gateway, message.incarnation
            ):
                return []
            case Task():
                return self._task(message, body, now)
            case Resume():
                return self._resume(message, now)
            case Forget(gateway, incarnation, numbers, settled):
                self._settle(gateway, incarnation, settled)
                for number in numbers:
                    self.attempts.over((gateway, incarnation, number))
                    self._forget((gateway, incarnation, number))
                return []
            case Install():
                return self._install(sender, message)
            case Uninstall(playbook):
                return self.library.uninstall(sender, playbook)
            case Hello(info) if info.name == sender:
                self.members.hello(info)
                return []
            case _:
                return []

    def _install(self, sender: str, message: Install) -> list[WorkerAction]:
        """A playbook whose policy is not installed here is refused whole: a hop could not be
        decided."""
        book = message.playbook
        try:
            self._policies(book.policy.name)
        except PlanError as error:
            refused = dict.fromkeys(book.parts_of(self.name), str(error))
            return [Send(sender, Installed(book.id, (), refused))]
        return self.library.install(sender, message)

    def _task(self, task: Task, body: Body, now: float) -> list[WorkerAction]:
        request = request_of(task)
        self._settle(task.gateway, task.incarnation, task.settled)
        if task.giver != task.gateway:
            self.neighbours.heard(task.giver, task.load)
        if self.attempts.stale(request, task.attempt, task.stage):
            return []
        plan = self.library.plan(task.playbook, task.plan)
        if plan is None or not self._has_role(plan, task.stage):
            return [self._onward.refuse(task, task.stage, Why.UNKNOWN_PLAN)]
        if self.attempts.note(request, task.attempt):
            taken_over = self._take_over(request, task, plan, now)
            if taken_over is not None:
                return taken_over
        job = self._job_for(request, task)
        if job is None:
            made = self._new_job(task, plan, now)
            if isinstance(made, Why):
                return [self._onward.refuse(task, task.stage, made)]
            job = made
        elif job.gather.complete:
            return []
        job.gather.give(task.giver, body, task.absent, task.trace)
        if job.gather.complete:
            return self._gathered(job)
        return []

    def _has_role(self, plan: Plan, stage: int) -> bool:
        return 0 <= stage < len(plan.stages) and self.name in plan.stages[stage].parts

    def _job_for(self, request: RequestKey, task: Task) -> Job | None:
        """The job that a task of this very attempt belongs to."""
        for job in self.inbox.of_request(request):
            if job.follow.attempt == task.attempt and job.key.stage == task.stage:
                return job
        return None

    def _new_job(self, task: Task, plan: Plan, now: float) -> Job | Why:
        if self.info.draining:
            return Why.DRAINING
        if not self.library.ready(plan.stages[task.stage].parts[self.name]):
            return Why.PART_MISSING
        if not self.inbox.has_room(now, new=not task.trace):
            return Why.OVERLOADED
        gather = Gather({task.giver})
        expires = now + task.budget_ms / 1e3
        key = JobKey(*request_of(task), task.attempt, task.stage)
        if task.sliced and task.stage:
            before = plan.stages[task.stage - 1]
            gather.join = before.join
            givers = runs(task.route, task.stage - 1) or before.parts
            gather.awaited.update(name for name in givers if self.reachable(name))
            wait_s = before.join.deadline_ms / 1e3 if before.join else 0.0
            self._timers.set(key, min(expires, now + wait_s))
        job = Job(key, task, plan, gather, now, expires)
        self.inbox.add(job)
        return job

    def _take_over(
        self, request: RequestKey, task: Task, plan: Plan, now: float
    ) -> list[WorkerAction] | None:
        """A newer attempt has come: let it have the work that was done here for an older one if
        that is the same step, and give up the rest. None: there is no such work.

        So a request that is sent again since its answer was long in coming costs a message, not
        another run behind all that waits here.
        """
        heir = None
        for job in self.inbox.of_request(request):
            whole = not task.sliced and job.gather.join is None and job.gather.complete
            if heir is None and whole and same_step(job.task, task):
                heir = job
                job.task, job.redirect = task, None
                job.expires = now + task.budget_ms / 1e3
            else:
                self._drop(job)
        if heir is not None:
            return []
        kept = self.kept.get(request)
        if kept is None or task.sliced:
            return None
        if (kept.playbook, kept.plan, kept.stage) != (task.playbook, task.plan, task.stage):
            return None
        self.attempts.done(request, task.attempt, task.stage)
        return self._onward.pass_on(task, plan, kept, now + task.budget_ms / 1e3, now)

    def _resume(self, resume: Resume, now: float) -> list[WorkerAction]:
        request = request_of(resume)
        if self.attempts.stale(request, resume.attempt, resume.stage - 1):
            return []
        self.attempts.note(request, resume.attempt)
        plan = self.library.plan(resume.playbook, resume.plan)
        if plan is None or not 0 <= resume.stage < len(plan.stages):
            return [self._onward.refuse(resume, resume.stage, Why.UNKNOWN_PLAN)]
        wanted = frozenset(plan.stages[resume.stage].inputs)
        redirected = False
        for job in self.inbox.of_request(request):
            if not redirected and job.gather.complete and wanted == frozenset(job.stage.outputs):
                job.redirect = resume
                redirected = True
            else:
                self._drop(job)
        if redirected:
            return []
        kept = self.kept.get(request)
        if kept is None or frozenset(kept.names) != wanted:
            return [self._onward.refuse(resume, resume.stage, Why.NOT_KEPT)]
        self.attempts.done(request, resume.attempt, resume.stage - 1)
        return self._onward.pass_on(resume, plan, kept, now + resume.budget_ms / 1e3, now)

    # -- runs

    def _start_runs(self, now: float) -> list[WorkerAction]:
        actions: list[WorkerAction] = []
        while self._running < self._capacity:
            batch = self.inbox.next_batch(now)
            if not batch:
                break
            self._running += 1
            stage = batch[0].stage
            actions.append(
                Run(
                    jobs=tuple(job.key for job in batch),
                    part=stage.parts[self.name],
                    given=tuple(job.gather.given() for job in batch),
                    outputs=stage.outputs,
                    exit=stage.exit,
                )
            )
        return actions

    def _ran(self, ran: Ran, now: float) -> list[WorkerAction]:
        self._running -= 1
        self._run_ms += (_SMOOTHING if self._run_ms else 1.0) * (ran.run_ms - self._run_ms)
        actions: list[WorkerAction] = []
        for key, outcome in zip(ran.jobs, ran.outcomes, strict=True):
            job = self.inbox.finish(key)
            if job is not None:
                actions += self._job_done(job, outcome, ran, now)
        return actions

    def _job_done(self, job: Job, outcome: Outcome, ran: Ran, now: float) -> list[WorkerAction]:
        stage, follow = job.stage, job.follow
        redirected = job.redirect is not None
        done = follow.stage - 1 if redirected else follow.stage
        self.attempts.done(request_of(follow), follow.attempt, done)
        step = StageTrace(
            stage=job.key.stage,
            device=self.name,
            wait_ms=(job.started - job.arrived) * 1e3,
            run_ms=ran.run_ms,
            bytes_out=outcome.size,
            batch=len(ran.jobs),
            started_s=ran.started_s,
        )
        trace = (*job.gather.traces, step)
        sure = outcome.confidence
        leaves = stage.exit is not None and sure is not None and sure >= stage.exit.threshold
        if leaves or (not redirected and job.key.stage == len(job.plan.stages) - 1):
            return [self._onward.answer(job, outcome, leaves, trace)]
        plan = self.library.plan(follow.playbook, follow.plan)
        if plan is None:
            return [self._onward.refuse(follow, follow.stage, Why.UNKNOWN_PLAN)]
        output = Output(
            playbook=job.task.playbook,
            plan=job.task.plan,
            stage=job.key.stage,
            attempt=follow.attempt,
            names=stage.outputs,
            body=outcome.body,
            size=outcome.size,
            codec=stage.codec,
            absent=job.absent,
            trace=trace,
            expires=job.expires,
        )
        return self._onward.pass_on(follow, plan, output, job.expires, now)

    def _run_failed(self, jobs: tuple[JobKey, ...], text: str, damaged: bool) -> list[WorkerAction]:
        self._running -= 1
        if len(jobs) > 1:
            for key in reversed([key for key in jobs if key in self.inbox.jobs]):
                self.inbox.jobs[key].alone = True
                self.inbox.make_ready(key, first=True)
            return []
        why = Why.BAD_BODY if damaged else Why.RUN_FAILED
        dropped = [job for key in jobs if (job := self.inbox.finish(key)) is not None]
        return [self._onward.refuse(job.follow, job.key.stage, why, text) for job in dropped]

    # -- slices

    def _gathered(self, job: Job) -> list[WorkerAction]:
        """Nothing more is awaited for a job."""
        self._timers.clear(job.key)
        if not job.gather.enough:
            self.inbox.drop(job.key)
            text = f"{len(job.gather.bodies)} came"
            about = job.task, job.key.stage, Why.TOO_FEW_SLICES
            return [self._onward.refuse(*about, text, job.absent)]
        self.inbox.make_ready(job.key)
        return []

    def _miss(self, job: Job, givers: Iterable[str]) -> list[WorkerAction]:
        """Go on without the slices of ``givers``."""
        job.gather.awaited.difference_update(givers)
        return self._gathered(job) if job.gather.complete else []

    # -- peers

    def _appeared(self, name: str, incarnation: str, now: float) -> list[WorkerAction]:
        actions: list[WorkerAction] = []
        if self.members.appeared(name, incarnation, now):
            actions = self._gateway_gone(name, but=incarnation)
        return [*actions, Send(name, Hello(self.info))]

    def _vanished(self, name: str, incarnation: str, now: float) -> list[WorkerAction]:
        """A peer is silent: do not wait for its slices, and say of what was passed on to it and
        may not have arrived that it has nobody to run it (the gateway may see that peer well)."""
        if not self.members.vanished(name, incarnation, now):
            return []
        actions: list[WorkerAction] = []
        for job in [job for job in self.inbox.jobs.values() if name in job.gather.awaited]:
            actions += self._miss(job, (name,))
        for request, output in self.kept.passed_to(name):
            if output.expires > now and not self.attempts.superseded(request, output.attempt):
                about = RequestMessage(*request, output.attempt)
                actions.append(
                    self._onward.refuse(about, output.onward, Why.PEER_ABSENT, absent=(name,))
                )
        return actions

    def _tick(self, now: float) -> list[WorkerAction]:
        self._wake = None
        actions: list[WorkerAction] = []
        for key in self._timers.due(now):
            job = self.inbox.jobs.get(key)
            if job is not None and not job.gather.complete:
                actions += self._miss(job, tuple(job.gather.awaited))
        for name in self.members.expire(now):
            actions += self._gateway_gone(name)
            self.neighbours.gone(name)
        return actions

    def _drain(self) -> list[WorkerAction]:
        self.info = msgspec.structs.replace(self.info, draining=True)
        alive = [name for name, _ in self.members.items() if self.members.alive(name)]
        return [Send(name, Hello(self.info)) for name in alive]

    # -- ends

    def _gateway_gone(self, name: str, but: str | None = None) -> list[WorkerAction]:
        """Free what is held for a gateway, or for its incarnations other than ``but``."""
        for job in list(self.inbox.jobs.values()):
            if job.key.gateway == name and job.key.incarnation != but:
                self._drop(job)
        self.kept.drop_owner(name, but)
        self.attempts.forget(name, but)
        return self.library.uninstall(name)

    def _settle(self, gateway: str, incarnation: str, below: int) -> None:
        for number in self.attempts.settle((gateway, incarnation), below):
            self._forget((gateway, incarnation, number))

    def _forget(self, request: RequestKey) -> None:
        self.kept.drop(request)
        for job in self.inbox.of_request(request):
            self._drop(job)

    def _drop(self, job: Job) -> None:
        self._timers.clear(job.key)
        self.inbox.drop(job.key)

    def _next_wake(self) -> list[WorkerAction]:
        """Ask for a tick if one is needed before the one that was asked for; one that comes too
        early does no harm."""
        times = [t for t in (self._timers.next(), self.members.next_expiry()) if t is not None]
        wake = min(times, default=None)
        if wake is None or (self._wake is not None and self._wake <= wake):
            return []
        self._wake = wake
        return [Wake(wake)]
