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

import msgspec

from shoal.core.actions import Drained, Run, Send, Wake, WorkerAction
from shoal.core.attempts import Attempts
from shoal.core.events import (
    Appeared,
    Arrived,
    Body,
    Drain,
    JobKey,
    Loaded,
    Outcome,
    Ran,
    RunFailed,
    Tick,
    Vanished,
    WorkerEvent,
)
from shoal.core.job import Inbox, Job
from shoal.core.kept import Kept, Output
from shoal.core.library import Library
from shoal.core.membership import Membership
from shoal.core.messages import (
    Answer,
    DeviceInfo,
    Forget,
    Hello,
    Install,
    Load,
    Message,
    Moved,
    Refused,
    RequestMessage,
    Resume,
    StageTrace,
    Task,
    Uninstall,
    Why,
)
from shoal.core.policy import DeviceView, View, find_policy
from shoal.core.timers import Timers
from shoal.plan.plan import Plan, Spread

_SMOOTHING = 0.2


class WorkerCore:
    """One worker. ``capacity`` jobs run at once, ``inbox`` jobs are held at most, ``keep_bytes``
    of outputs are kept, ``info.memory`` bounds the parts that are loaded."""

    def __init__(
        self,
        info: DeviceInfo,
        *,
        capacity: int = 1,
        inbox: int = 256,
        keep_bytes: int = 64 << 20,
        grace_s: float = 5.0,
    ) -> None:
        self.info = info
        self.name = info.name
        self.library = Library(info.name, info.memory)
        self.members = Membership(grace_s)
        self.inbox = Inbox(inbox)
        self.kept = Kept(keep_bytes)
        self._attempts = Attempts()
        self._capacity = capacity
        self._timers: Timers[JobKey] = Timers()
        self._wake: float | None = None
        self._running = 0
        self._run_ms = 0.0

    def handle(self, event: WorkerEvent, now: float) -> list[WorkerAction]:
        """Take an event at time ``now`` (seconds, any origin); what shall be done."""
        actions = self._react(event, now)
        actions += self._start_runs(now)
        if self.info.draining and not self.inbox.jobs:
            actions.append(Drained())
        return actions + self._next_wake()

    def introduce(self, incarnation: str) -> None:
        """Take the incarnation under which this node is seen, before anything is handled."""
        self.info = msgspec.structs.replace(self.info, incarnation=incarnation)

    @property
    def load(self) -> Load:
        """How busy this worker is."""
        return Load(self.inbox.waiting, self._running, 0, self._run_ms)

    def _react(self, event: WorkerEvent, now: float) -> list[WorkerAction]:
        match event:
            case Arrived(sender, message, body):
                return self._arrived(sender, message, body, now)
            case Ran():
                return self._ran(event, now)
            case RunFailed(jobs, text, damaged):
                return self._run_failed(jobs, text, damaged)
            case Loaded(playbook, part, error):
                return self.library.loaded(playbook, part, error)
            case Appeared(name, incarnation):
                return self._appeared(name, incarnation, now)
            case Vanished(name, incarnation):
                return self._vanished(name, incarnation, now)
            case Drain():
                return self._drain()
            case Tick():
                return self._tick(now)

    # -- messages

    def _arrived(self, sender: str, message: Message, body: Body, now: float) -> list[WorkerAction]:
        match message:
            case Task():
                return self._task(message, body, now)
            case Resume():
                return self._resume(message, now)
            case Forget(gateway, numbers):
                for number in numbers:
                    self._over(gateway, number)
                return []
            case Install():
                return self.library.install(sender, message)
            case Uninstall(playbook):
                return self.library.uninstall(sender, playbook)
            case Hello(info):
                self.members.hello(info)
                return []
            case _:
                return []

    def _task(self, task: Task, body: Body, now: float) -> list[WorkerAction]:
        self._settle(task.gateway, task.settled)
        if self._attempts.stale(task.gateway, task.number, task.attempt, task.stage):
            return []
        key = JobKey(task.gateway, task.number, task.attempt, task.stage)
        job = self.inbox.jobs.get(key)
        if job is None:
            made = self._new_job(key, task, now)
            if isinstance(made, Why):
                return [self._refuse(task, task.stage, made)]
            job = made
        elif not job.awaited:
            return []
        job.give(task, body)
        if not job.awaited:
            self._timers.clear(key)
            self.inbox.make_ready(key)
        return []

    def _new_job(self, key: JobKey, task: Task, now: float) -> Job | Why:
        book = self.library.playbook(task.playbook)
        if book is None:
            return Why.UNKNOWN_PLAN
        try:
            plan = book.plan(task.plan)
            part = plan.stages[task.stage].parts[self.name]
        except (KeyError, IndexError):
            return Why.UNKNOWN_PLAN
        if self.info.draining:
            return Why.DRAINING
        if not self.library.ready(part):
            return Why.PART_MISSING
        if self._attempts.note(task.gateway, task.number, task.attempt):
            self._drop_older(task.gateway, task.number, task.attempt)
        if self.inbox.full:
            return Why.OVERLOADED
        join, awaited = None, {task.giver}
        before = plan.stages[task.stage - 1] if task.stage else None
        if before is not None and before.spread is Spread.ALL:
            join = before.join
            givers = task.route[task.stage - 1] if task.route else tuple(before.parts)
            awaited |= {g for g in givers if g == self.name or self.members.alive(g)}
        expires = now + task.budget_ms / 1e3
        job = Job(key, task, plan, now, expires, awaited, join)
        if join is not None:
            self._timers.set(key, min(expires, now + join.deadline_ms / 1e3))
        self.inbox.add(job)
        return job

    def _resume(self, resume: Resume, now: float) -> list[WorkerAction]:
        gateway, number = resume.gateway, resume.number
        if self._attempts.stale(gateway, number, resume.attempt):
            return []
        self._attempts.note(gateway, number, resume.attempt)
        book = self.library.playbook(resume.playbook)
        try:
            plan = book.plan(resume.plan) if book else None
            wanted = plan.stages[resume.stage].inputs if plan else ()
        except (KeyError, IndexError):
            plan = None
        if plan is None:
            return [self._refuse(resume, resume.stage, Why.UNKNOWN_PLAN)]
        for job in self.inbox.of_request(gateway, number):
            if set(job.plan.stages[job.key.stage].outputs) == set(wanted):
                job.redirect = resume
                return []
        kept = self.kept.get(gateway, number)
        if kept is None or set(kept.names) != set(wanted):
            return [self._refuse(resume, resume.stage, Why.NOT_KEPT)]
        return self._pass_on(resume, plan, kept, now + resume.budget_ms / 1e3, now)

    # -- runs

    def _start_runs(self, now: float) -> list[WorkerAction]:
        actions: list[WorkerAction] = []
        while self._running < self._capacity:
            batch = self.inbox.next_batch(now)
            if not batch:
                break
            self._running += 1
            head = batch[0]
            stage = head.plan.stages[head.key.stage]
            actions.append(
                Run(
                    jobs=tuple(job.key for job in batch),
                    part=stage.parts[self.name],
                    given=tuple(job.given() for job in batch),
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
        key, stage, sure = job.key, job.plan.stages[job.key.stage], outcome.confidence
        self._attempts.done(key.gateway, key.number, key.attempt, key.stage)
        wait_ms = (job.started - job.arrived) * 1e3
        trace = StageTrace(
            stage=key.stage,
            device=self.name,
            wait_ms=wait_ms,
            run_ms=ran.run_ms,
            bytes_out=outcome.size,
            batch=len(ran.jobs),
            started_s=ran.started_s,
        )
        done = Output(
            attempt=key.attempt,
            names=stage.outputs,
            body=outcome.body,
            size=outcome.size,
            codec=stage.codec,
            absent=tuple(sorted(job.absent)),
            trace=(*job.traces, trace),
        )
        leaves = stage.exit is not None and sure is not None and sure >= stage.exit.threshold
        if leaves or (job.redirect is None and key.stage == len(job.plan.stages) - 1):
            answer = Answer(
                gateway=key.gateway,
                number=key.number,
                attempt=key.attempt,
                plan=job.plan.name,
                stage=key.stage,
                giver=self.name,
                left_early=leaves,
                confidence=sure,
                absent=done.absent,
                trace=done.trace,
                load=self.load,
            )
            return [
                Send(
                    key.gateway, answer, outcome.exit_body if leaves else outcome.body, stage.codec
                )
            ]
        if job.redirect is not None:
            follow: Task | Resume = job.redirect
            book = self.library.playbook(follow.playbook)
            if book is None:
                return [self._refuse(follow, follow.stage, Why.UNKNOWN_PLAN)]
            plan = book.plan(follow.plan)
        else:
            follow, plan = job.task, job.plan
        self.kept.put(key.gateway, key.number, done)
        return self._pass_on(follow, plan, done, job.expires, now)

    def _run_failed(self, jobs: tuple[JobKey, ...], text: str, damaged: bool) -> list[WorkerAction]:
        self._running -= 1
        why = Why.BAD_BODY if damaged else Why.RUN_FAILED
        dropped = [job for key in jobs if (job := self.inbox.finish(key)) is not None]
        return [self._refuse(job.redirect or job.task, job.key.stage, why, text) for job in dropped]

    def _pass_on(
        self, follow: Task | Resume, plan: Plan, done: Output, expires: float, now: float
    ) -> list[WorkerAction]:
        """Send an output to whoever runs what follows."""
        number = follow.stage if isinstance(follow, Resume) else follow.stage + 1
        stage = plan.stages[number]
        if follow.route:
            targets = tuple(t for t in follow.route[number] if self._reachable(t))
        else:
            targets = self._forward(follow.playbook, plan, number, now)
        if not targets:
            return [self._refuse(follow, number, Why.PEER_ABSENT)]
        if stage.spread is Spread.ONE:
            targets = targets[:1]
        task = Task(
            gateway=follow.gateway,
            number=follow.number,
            attempt=follow.attempt,
            playbook=follow.playbook,
            plan=plan.name,
            stage=number,
            giver=self.name,
            route=follow.route,
            budget_ms=(expires - now) * 1e3,
            settled=self._attempts.settled(follow.gateway),
            absent=done.absent,
            trace=done.trace,
            load=self.load,
        )
        actions: list[WorkerAction] = [Send(t, task, done.body, done.codec) for t in targets]
        if not follow.route:
            moved = Moved(follow.gateway, follow.number, follow.attempt, number, targets[0])
            actions.append(Send(follow.gateway, moved))
        return actions

    def _forward(self, playbook: str, plan: Plan, number: int, now: float) -> tuple[str, ...]:
        book = self.library.playbook(playbook)
        stage = plan.stages[number]
        if stage.spread is Spread.ALL:
            return tuple(t for t in stage.parts if self._reachable(t))
        devices = {t: DeviceView(usable=self._reachable(t)) for t in stage.parts}
        if book is None:
            return ()
        view = View(now, devices, waiting=self.inbox.waiting)
        chosen = find_policy(book.policy.name).forward(book, plan, number, view)
        return (chosen,) if chosen is not None else ()

    def _reachable(self, name: str) -> bool:
        return name == self.name or self.members.alive(name)

    # -- peers and ends

    def _appeared(self, name: str, incarnation: str, now: float) -> list[WorkerAction]:
        known = self.members.get(name)
        actions: list[WorkerAction] = []
        if known is not None and known.incarnation != incarnation:
            actions = self._gateway_gone(name)
        self.members.appeared(name, incarnation, now)
        return [*actions, Send(name, Hello(self.info))]

    def _vanished(self, name: str, incarnation: str, now: float) -> list[WorkerAction]:
        if not self.members.vanished(name, incarnation, now):
            return []
        waiting = [job for job in self.inbox.jobs.values() if name in job.awaited]
        return [action for job in waiting for action in self._miss(job, {name})]

    def _tick(self, now: float) -> list[WorkerAction]:
        self._wake = None
        actions: list[WorkerAction] = []
        for key in self._timers.due(now):
            job = self.inbox.jobs.get(key)
            if job is not None and job.awaited:
                actions += self._miss(job, set(job.awaited))
        for name in self.members.expire(now):
            actions += self._gateway_gone(name)
        return actions

    def _miss(self, job: Job, givers: set[str]) -> list[WorkerAction]:
        """Go on without the slices of ``givers``."""
        job.awaited -= givers
        job.absent |= givers
        if job.awaited:
            return []
        self._timers.clear(job.key)
        if len(job.bodies) < (job.join.least if job.join else 1):
            self.inbox.drop(job.key)
            return [self._refuse(job.task, job.key.stage, Why.TOO_FEW_SLICES)]
        self.inbox.make_ready(job.key)
        return []

    def _drain(self) -> list[WorkerAction]:
        self.info = msgspec.structs.replace(self.info, draining=True)
        alive = [name for name, _ in self.members.items() if self.members.alive(name)]
        return [Send(name, Hello(self.info)) for name in alive]

    def _gateway_gone(self, name: str) -> list[WorkerAction]:
        for job in list(self.inbox.jobs.values()):
            if job.key.gateway == name:
                self.inbox.drop(job.key)
        self.kept.drop_if(name)
        self._attempts.forget(name)
        return self.library.uninstall(name)

    def _settle(self, gateway: str, below: int) -> None:
        if self._attempts.settle(gateway, below):
            self.kept.drop_if(gateway, below)
            for job in list(self.inbox.jobs.values()):
                if job.key.gateway == gateway and job.key.number < below:
                    self._drop(job)

    def _over(self, gateway: str, number: int) -> None:
        self._attempts.over(gateway, number)
        self.kept.drop(gateway, number)
        for job in self.inbox.of_request(gateway, number):
            self._drop(job)

    def _drop_older(self, gateway: str, number: int, attempt: int) -> None:
        for job in self.inbox.of_request(gateway, number):
            if job.attempt < attempt:
                self._drop(job)

    def _drop(self, job: Job) -> None:
        self._timers.clear(job.key)
        self.inbox.drop(job.key)

    def _refuse(self, about: RequestMessage, stage: int, why: Why, text: str = "") -> Send:
        refused = Refused(about.gateway, about.number, about.attempt, stage, why, text, self.load)
        return Send(about.gateway, refused)

    def _next_wake(self) -> list[WorkerAction]:
        times = [t for t in (self._timers.next(), self.members.next_expiry()) if t is not None]
        wake = min(times, default=None)
        if wake is None or wake == self._wake:
            return []
        self._wake = wake
        return [Wake(wake)]
