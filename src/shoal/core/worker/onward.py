"""How a request leaves a worker: passed on to the next stage, answered, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from shoal.core.actions import Send, WorkerAction
from shoal.core.events import Outcome
from shoal.core.messages import (
    Answer,
    Moved,
    RequestMessage,
    Resume,
    StageTrace,
    Task,
    Why,
    refusal,
)
from shoal.core.policy import Policy, View
from shoal.core.shared.routes import next_hop, runs
from shoal.core.worker.attempts import request_of
from shoal.core.worker.job import Job
from shoal.core.worker.kept import Output
from shoal.core.worker.neighbours import Without
from shoal.errors import PolicyError
from shoal.plan.plan import Plan, Spread

if TYPE_CHECKING:
    from shoal.core.worker.worker import WorkerCore


class Onward:
    """The messages in which the requests of one worker leave it."""

    def __init__(self, worker: WorkerCore, policies: Callable[[str], Policy]) -> None:
        self._worker = worker
        self._policies = policies

    def pass_on(
        self, follow: Task | Resume, plan: Plan, output: Output, expires: float, now: float
    ) -> list[WorkerAction]:
        """Send an output to whoever runs what follows, and keep it (the slices of an ALL stage
        are not kept: no single device could go on from them)."""
        if expires <= now:
            return []
        worker = self._worker
        stage, sliced = follow.stage, False
        if isinstance(follow, Task):
            sliced = plan.stages[follow.stage].spread is Spread.ALL
            stage += 1
        book = worker.library.playbook(follow.playbook)
        if book is None:
            return [self.refuse(follow, stage, Why.UNKNOWN_PLAN)]
        load = worker.neighbours.own = worker.load
        policy, hop, broken = self._policies(book.policy.name), None, ""
        for without in (follow.without, ()) if follow.without else ((),):
            devices = Without(worker.neighbours, without) if without else worker.neighbours
            links, waiting = worker.neighbours.links, worker.inbox.waiting
            view = View(now, devices, links, waiting, output.images)
            try:
                reach = worker.reachable
                hop = hop or next_hop(policy, book, plan, stage, follow.route, view, reach)
            except PolicyError as error:
                broken = str(error)
        if not sliced:
            to = hop.targets if hop else ()
            kept = replace(output, attempt=follow.attempt, expires=expires, to=to, onward=stage)
            worker.kept.put(request_of(follow), kept)
        if hop is None and broken:
            return [self.refuse(follow, stage, Why.POLICY_FAILED, broken)]
        if hop is None:
            absent = [name for name in runs(follow.route, stage) if not worker.reachable(name)]
            return [self.refuse(follow, stage, Why.PEER_ABSENT, absent=absent)]
        task = Task(
            gateway=follow.gateway,
            incarnation=follow.incarnation,
            number=follow.number,
            attempt=follow.attempt,
            playbook=follow.playbook,
            plan=plan.name,
            stage=stage,
            giver=worker.name,
            route=hop.route,
            budget_ms=(expires - now) * 1e3,
            sliced=sliced,
            without=follow.without,
            settled=worker.attempts.settled((follow.gateway, follow.incarnation)),
            absent=output.absent,
            trace=output.trace,
            load=load,
            images=output.images,
            care=follow.care,
        )
        codec = plan.stages[stage - 1].codec if stage else output.codec
        actions: list[WorkerAction] = []
        for target in hop.targets:
            worker.neighbours.gave(target)
            actions.append(Send(target, task, output.body, codec))
        if hop.decided:
            moved = Moved(*request_of(follow), follow.attempt, stage, hop.route)
            actions.append(Send(follow.gateway, moved))
        return actions

    def answer(
        self, job: Job, outcome: Outcome, leaves: bool, trace: tuple[StageTrace, ...]
    ) -> Send:
        """The answer of a request that is done, or leaves early."""
        task = job.task
        answer = Answer(
            gateway=task.gateway,
            incarnation=task.incarnation,
            number=task.number,
            attempt=task.attempt,
            plan=task.plan,
            stage=job.key.stage,
            giver=self._worker.name,
            left_early=leaves,
            confidence=outcome.confidence,
            absent=job.absent,
            trace=trace,
            load=self._worker.load,
        )
        body = outcome.exit_body if leaves else outcome.body
        return Send(task.gateway, answer, body, job.stage.codec)

    def refuse(
        self,
        about: RequestMessage,
        stage: int,
        why: Why,
        text: str = "",
        absent: Iterable[str] = (),
    ) -> Send:
        """Tell the gateway that the attempt does not go on from ``stage``, and why."""
        refused = refusal(about, stage, why, text, tuple(absent), self._worker.load)
        return Send(about.gateway, refused)
