"""The worker as a state machine: events in, actions out; no socket, no clock, no tensor.

A task comes in; when everything that its stage needs is there, it is run; then the request leaves
by an early exit, is answered, or goes on to the next stage. What was passed on is kept for a
while, so that the gateway can have the request go on from here when a later device is lost.

Who recovers what: the gateway owns its requests and decides all recovery; a worker tells it what
it cannot do (:class:`~shoal.core.messages.Refused`) and otherwise forgets nothing that it was
given before the request is over, superseded or expired. Clocks are never compared between
devices: a message carries the time that is left.

This file says which event leads where, and runs jobs; ``intake`` makes jobs of what comes in,
``onward`` sends on what they made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from shoal.core.actions import Drained, Run, Send, WorkerAction
from shoal.core.events import (
    Appeared,
    Body,
    Drain,
    Fetched,
    JobKey,
    LinkMeasured,
    Loaded,
    Outcome,
    PeerEvent,
    Ran,
    RunEvent,
    RunFailed,
    Tick,
    Vanished,
)
from shoal.core.messages import (
    Busy,
    Care,
    DeviceInfo,
    Forget,
    Heard,
    Hello,
    Holding,
    Install,
    Installed,
    Leave,
    Load,
    News,
    RequestMessage,
    Resume,
    StageTrace,
    Task,
    ToWorker,
    Uninstall,
    Why,
)
from shoal.core.policy import LinkView, Policy, find_policy
from shoal.core.settings import WorkerSettings
from shoal.core.shared.membership import Membership
from shoal.core.shared.timers import soonest
from shoal.core.worker.attempts import Attempts, RequestKey, request_of
from shoal.core.worker.intake import Intake
from shoal.core.worker.itineraries import Itineraries
from shoal.core.worker.job import Inbox, Job
from shoal.core.worker.kept import Kept, Output
from shoal.core.worker.library import Library
from shoal.core.worker.neighbours import Neighbours
from shoal.core.worker.onward import Onward
from shoal.core.worker.outgoing import Outgoing
from shoal.core.worker.reports import Reports
from shoal.core.worker.trials import Trials
from shoal.errors import PlanError

_SMOOTHING = 0.2
_LEAST_HELD_BYTES = 16 << 20
"""Of inputs that wait; a quarter of the memory limit where that is more."""


WorkerEvent: TypeAlias = PeerEvent | RunEvent | Drain | Tick


class WorkerCore:
    """One worker. ``info.memory`` bounds the parts that are loaded and what they run; as much as a
    quarter of it may be inputs that wait, and another quarter outputs."""

    def __init__(
        self,
        info: DeviceInfo,
        settings: WorkerSettings | None = None,
        *,
        policies: Callable[[str], Policy] = find_policy,
    ) -> None:
        self.info = info
        self.settings = settings = settings or WorkerSettings()
        self.name = info.name
        self.library = Library(info.name, info.memory)
        self.members = Membership(settings.grace_s)
        self.neighbours = Neighbours(info.name, self.members)
        quarter = info.memory // 4 if info.memory else None
        held_bytes = math.inf if quarter is None else max(_LEAST_HELD_BYTES, quarter)
        self.inbox = Inbox(settings.inbox, held_bytes, self.library.most_images)
        keep_bytes = settings.keep_bytes
        most_bytes = keep_bytes if quarter is None else min(keep_bytes, quarter)
        self.kept = Kept(most_bytes)
        self.attempts = Attempts()
        self.itineraries = Itineraries()
        self.outgoing = Outgoing(settings.inbox, most_bytes)
        self._policies = policies
        self._onward = Onward(self, policies)
        self._intake = Intake(self, self._onward)
        self._reports = Reports(self.library, self.members, lambda: self.load)
        self._trials = Trials(self.inbox.jobs)
        self.wake_at = math.inf
        """When this worker wants a Tick, in seconds."""
        self._runs: dict[tuple[JobKey, ...], int] = {}  # those under way, and their images
        self._apart: Job | None = None  # run in a process of its own
        self._run_ms = 0.0
        self._drained = False

    def introduce(self, incarnation: str) -> None:
        """Take the incarnation under which this node is seen, before anything is handled."""
        self.info = msgspec.structs.replace(self.info, incarnation=incarnation)

    def handle(self, event: WorkerEvent, now: float) -> list[WorkerAction]:
        """Take an event at time ``now`` (seconds, any origin); what shall be done."""
        return self._finish(self._react(event, now), now)

    def hear(
        self, sender: str, message: ToWorker | News, body: Body, size: int, now: float
    ) -> list[WorkerAction]:
        """Take a message, whose body takes ``size`` bytes; what shall be done."""
        return self._finish(self._heard(sender, message, body, size, now), now)

    def unasked(self, gateway: str, now: float) -> list[WorkerAction]:
        """A gateway could not be asked for leave to run a suspect request."""
        self._drop(self._trials.lost(gateway))
        return self._finish([], now)

    def untaken(self, to: str, message: Task | Resume) -> None:
        """A peer did not get what this node sent it; a task may be of its gateway, which gives
        whole inputs and says no load."""
        if isinstance(message, Task) and (message.sliced or message.load is not None):
            self.neighbours.kept_back(to)

    def refuse(
        self, about: RequestMessage, stage: int, why: Why, text: str, absent: tuple[str, ...]
    ) -> Send:
        """The refusal of an attempt that did not leave this worker as it should."""
        return self._onward.refuse(about, stage, why, text, absent)

    @property
    def load(self) -> Load:
        """How busy this worker is."""
        return Load(self.inbox.waiting, len(self._runs), len(self.outgoing), self._run_ms)

    def reachable(self, name: str) -> bool:
        """Whether a message can be sent to ``name``."""
        return name == self.name or self.members.alive(name)

    def _react(self, event: WorkerEvent, now: float) -> list[WorkerAction]:
        match event:
            case Ran():
                return self._ran(event, now)
            case RunFailed():
                return self._run_failed(event, now)
            case Fetched(_, part):
                return self.library.fetched(part, now)
            case Loaded(_, part, error):
                return self.library.loaded(part, error)
            case Appeared(name, incarnation):
                return self._appeared(name, incarnation, now)
            case Vanished(name, incarnation):
                return self._vanished(name, incarnation, now)
            case LinkMeasured(peer, bytes_per_s, rtt_ms, age_s, at_least):
                self.neighbours.links[peer] = LinkView(bytes_per_s, rtt_ms, now - age_s, at_least)
                self.outgoing.changed = True
                return []
            case Drain():
                return self._drain()
            case Tick():
                return self._tick(now)

    # -- messages

    def _heard(
        self, sender: str, message: ToWorker | News, body: Body, size: int, now: float
    ) -> list[WorkerAction]:
        match message:
            case Task() | Resume() | Leave() | Forget() if self.members.former(
                message.gateway, message.incarnation
            ):
                return []
            case Task(gateway, incarnation):
                self._settle(gateway, incarnation, message.settled)
                if message.giver != gateway and message.load is not None:
                    self.neighbours.heard(message.giver, message.load)
                    self.outgoing.changed = True
                self._reports.taken = True
                return self._intake.task(message, body, size, now)
            case Resume():
                return self._intake.resume(message, now)
            case Leave(gateway):
                return self._leave(message) if gateway == sender else []
            case Forget(gateway, incarnation, numbers, settled):
                if gateway != sender:
                    return []
                self._settle(gateway, incarnation, settled)
                for number in numbers:
                    self.attempts.over((gateway, incarnation, number))
                    self._forget((gateway, incarnation, number))
                return []
            case Install():
                return self._install(sender, message, now)
            case Heard(part):
                return self.library.heard(sender, part)
            case Uninstall(playbook):
                actions = self.library.uninstall(sender, playbook)
                self._onward.forget()
                return actions
            case Hello(info):
                if info.name == sender:
                    self.members.hello(info)
                    self.outgoing.changed = True
                return []
            case Holding(parts):
                self.members.holding(sender, parts)
                return []
            case Busy(load):
                self.neighbours.heard(sender, load)
                self.outgoing.changed = True
                return []

    def _install(self, sender: str, message: Install, now: float) -> list[WorkerAction]:
        """A playbook whose policy is not installed here is refused whole: a hop could not be
        decided."""
        book = message.playbook
        try:
            self._policies(book.policy.name)
        except PlanError as error:
            refused = dict.fromkeys(book.parts_of(self.name), str(error))
            return [Send(sender, Installed(book.id, (), refused))]
        busy = {job.asked.playbook for job in self.inbox.jobs.values()} | self.outgoing.playbooks
        actions = self.library.install(sender, message, now, busy)
        self._onward.forget()
        return actions

    # -- runs

    def _start_runs(self, now: float) -> list[WorkerAction]:
        actions: list[WorkerAction] = []
        while len(self._runs) < self.settings.capacity and not self._trials.held:
            batch = self.inbox.next_batch(now)
            if not batch:
                break
            first = batch[0]
            if first.care is Care.NONE:
                actions.append(self._run(batch))
            elif self._runs:  # it has to wait for them, and the others for it
                self.inbox.make_ready(first.key, first=True)
                break
            else:
                actions.append(self._trials.ask(first, now))
        while self._apart is None and (job := self.inbox.next_apart(now)) is not None:
            actions.append(self._run_apart(job))
        return actions

    def _run(self, batch: list[Job], apart: bool = False) -> Run:
        part, outputs, exit, away, home = batch[0].work
        jobs = tuple(job.key for job in batch)
        if not apart:
            self._runs[jobs] = sum(job.images for job in batch)
        given = tuple(job.gather.given() for job in batch)
        return Run(jobs, part, given, outputs, exit, apart, away, home)

    def _run_apart(self, job: Job) -> WorkerAction:
        """Have a job run in a process of its own, if there is memory for another copy of its
        part."""
        why = self.library.crowded(job.part)
        if why:
            self._drop(job.key)
            return self._onward.refuse(job.follow, job.key.stage, Why.NO_SANDBOX, why)
        self._apart = job
        return self._run([job], apart=True)

    def _ended(self, jobs: tuple[JobKey, ...]) -> int:
        """A run is over; how many images were in it."""
        if self._apart is not None and (self._apart.key,) == jobs:
            images, self._apart = self._apart.images, None
            return images
        return self._runs.pop(jobs)

    def _leave(self, leave: Leave) -> list[WorkerAction]:
        """A gateway lets a suspect request be run, or not."""
        key, run = self._trials.leave(leave)
        job = self.inbox.jobs.get(key) if key is not None else None
        if job is None:
            return []
        if run:
            return [self._run([job])]
        if job.follow.attempt > leave.attempt:
            self.inbox.make_ready(job.key, first=True)  # a newer attempt has taken it over
            return []
        self._drop(key)
        return [self._onward.refuse(job.follow, job.key.stage, Why.NO_LEAVE)]

    def _ran(self, ran: Ran, now: float) -> list[WorkerAction]:
        images = self._ended(ran.jobs)
        if len(self.outgoing) and not self.inbox.waiting:
            self.outgoing.changed = True  # there is nothing else to do here
        self._run_ms += (_SMOOTHING if self._run_ms else 1.0) * (ran.run_ms - self._run_ms)
        actions: list[WorkerAction] = []
        for key, outcome in zip(ran.jobs, ran.outcomes, strict=True):
            job = self.inbox.finish(key)
            if job is not None:
                actions += self._job_done(job, outcome, ran, images, now)
        return [*actions, *self._trials.ran(ran.jobs[0], now)]

    def _job_done(
        self, job: Job, outcome: Outcome, ran: Ran, images: int, now: float
    ) -> list[WorkerAction]:
        stage, follow, itinerary = job.stage, job.follow, job.itinerary
        redirected = job.redirect is not None
        done = follow.stage - 1 if redirected else follow.stage
        self.attempts.done(request_of(follow), follow.attempt, done)
        step = StageTrace(job.key.stage, self.name, run_ms=ran.run_ms, batch=images)
        if itinerary.traced:
            step = msgspec.structs.replace(
                step,
                wait_ms=(job.started - job.arrived) * 1e3,
                bytes_out=outcome.size,
                started_s=ran.started_s,
                bytes_in=outcome.size_in,
            )
        trace = (*job.gather.traces, step)
        sure = outcome.confidence
        leaves = (
            stage.exit is not None
            and sure is not None
            and sure >= itinerary.values.threshold(job.key.stage, stage.exit.threshold)
        )
        if leaves or (not redirected and job.key.stage == len(job.plan.stages) - 1):
            return [self._onward.answer(job, outcome, leaves, trace)]
        plan = self.library.plan(itinerary.playbook, itinerary.plan)
        if plan is None:
            return [self._onward.refuse(follow, follow.stage, Why.UNKNOWN_PLAN)]
        output = Output(
            playbook=job.asked.playbook,
            plan=job.asked.plan,
            stage=job.key.stage,
            attempt=follow.attempt,
            names=stage.outputs,
            body=outcome.body,
            size=outcome.size,
            codec=stage.codec,
            absent=job.absent,
            trace=trace,
            expires=job.expires,
            images=job.images,
        )
        return self._onward.pass_on(follow, itinerary, plan, output, job.expires, now)

    def _run_failed(self, failed: RunFailed, now: float) -> list[WorkerAction]:
        jobs, apart = failed.jobs, self._apart
        self._ended(jobs)
        if len(jobs) > 1:
            for key in reversed([key for key in jobs if key in self.inbox.jobs]):
                self.inbox.jobs[key].alone = True
                self.inbox.make_ready(key, first=True)
            return []
        actions: list[WorkerAction] = []
        job = self.inbox.finish(jobs[0])
        if job is None and failed.why is Why.RUN_KILLED:
            job = apart  # also of one that was given up: it may be asked for again
        if job is not None:
            stage = job.key.stage
            actions.append(self._onward.refuse(job.follow, stage, failed.why, failed.text))
        return [*actions, *self._trials.ran(jobs[0], now)]

    # -- peers

    def _appeared(self, name: str, incarnation: str, now: float) -> list[WorkerAction]:
        actions: list[WorkerAction] = []
        self.outgoing.changed = True
        if self.members.appeared(name, incarnation, now):
            self._drop(self._trials.lost(name))
            self.neighbours.restarted(name)
            actions = self._gateway_gone(name, but=incarnation)
        return [*actions, *self._reports.greeting(self.info, name)]

    def _vanished(self, name: str, incarnation: str, now: float) -> list[WorkerAction]:
        """A peer is silent: do not wait for its slices, and say of what was passed on to it and
        may not have arrived that it has nobody to run it (the gateway may see that peer well)."""
        if not self.members.vanished(name, incarnation, now):
            return []
        self.outgoing.changed = True
        self._drop(self._trials.lost(name))
        actions = self._intake.lost(name)
        for request, output in self.kept.passed_to(name):
            if output.expires > now and not self.attempts.superseded(request, output.attempt):
                about = RequestMessage(*request, output.attempt)
                actions.append(
                    self._onward.refuse(about, output.onward, Why.PEER_ABSENT, absent=(name,))
                )
        return actions

    def _tick(self, now: float) -> list[WorkerAction]:
        actions = self._intake.due(now) + self.library.due(now)
        job = self._drop(self._trials.late(now))
        if job is not None:
            actions.append(self._onward.refuse(job.follow, job.key.stage, Why.NO_LEAVE))
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
        self._intake.forget_owner(name, but)
        self.kept.drop_owner(name, but)
        self.outgoing.drop_owner(name, but)
        self.attempts.forget(name, but)
        actions = self.library.uninstall(name)
        self._onward.forget()
        return actions

    def _drop(self, key: JobKey | None) -> Job | None:
        """Give up a job."""
        job = self.inbox.jobs.get(key) if key is not None else None
        if job is not None:
            self._intake.drop(job)
        return job

    def _settle(self, gateway: str, incarnation: str, below: int) -> None:
        for number in self.attempts.settle((gateway, incarnation), below):
            self._forget((gateway, incarnation, number))
        self._intake.settle(gateway, incarnation, below)

    def _forget(self, request: RequestKey) -> None:
        self.kept.drop(request)
        self.outgoing.drop(request)
        self._intake.forget(request)

    def _finish(self, actions: list[WorkerAction], now: float) -> list[WorkerAction]:
        """What follows from any event: runs that can begin, reports, when to wake up."""
        actions += self._onward.due(now)
        actions += self._start_runs(now)
        idle = not self.inbox.jobs and not len(self.outgoing)
        if self.info.draining and not self._drained and idle:
            self._drained = True
            actions.append(Drained())
        actions += self._reports.due(now)
        self.wake_at = soonest(
            self._intake.next(),
            self._trials.next(),
            self.library.next(),
            self.members.next_expiry(),
            self._reports.next(),
            self.inbox.opens,
            self.outgoing.next(),
        )
        return actions
