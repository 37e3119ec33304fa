"""How a request leaves a worker: passed on to the next stage, answered, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.core.actions import Send, WorkerAction
from shoal.core.events import Outcome
from shoal.core.messages import (
    Answered,
    Itinerary,
    Moved,
    RequestMessage,
    Resume,
    StageTrace,
    Task,
    Why,
    refusal,
)
from shoal.core.policy import Hold, Policy, View
from shoal.core.shared.routes import Hop, devices_at, left_out, next_hop, visited
from shoal.core.worker.attempts import request_of
from shoal.core.worker.job import Job
from shoal.core.worker.kept import Output
from shoal.core.worker.neighbours import Without
from shoal.core.worker.outgoing import Held
from shoal.errors import PolicyError
from shoal.plan.plan import Plan, Playbook, Spread

if TYPE_CHECKING:
    from shoal.core.worker.worker import WorkerCore


class Onward:
    """The messages in which the requests of one worker leave it."""

    def __init__(self, worker: WorkerCore, policies: Callable[[str], Policy]) -> None:
        self._worker = worker
        self._policies = policies
        self._memories: dict[str, Any] = {}  # of policies, by playbook
        self._dice = Random(f"{worker.name} hops")

    def pass_on(
        self,
        follow: Task | Resume,
        itinerary: Itinerary,
        plan: Plan,
        output: Output,
        expires: float,
        now: float,
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
        book = worker.library.playbook(itinerary.playbook)
        if book is None:
            worker.outgoing.drop(request_of(follow))
            return [self.refuse(follow, stage, Why.UNKNOWN_PLAN)]
        hop, broken = self._hop(book, plan, stage, itinerary, output.images, now)
        if not sliced:
            to = hop.targets if isinstance(hop, Hop) else ()
            kept = replace(output, attempt=follow.attempt, expires=expires, to=to, onward=stage)
            worker.kept.put(request_of(follow), kept)
        if isinstance(hop, Hold):
            return self._hold(Held(follow, itinerary, plan, output, expires, hop.until), stage)
        worker.outgoing.drop(request_of(follow))
        if hop is None and broken:
            return [self.refuse(follow, stage, Why.POLICY_FAILED, broken)]
        if hop is None:
            away = [n for n in devices_at(itinerary.route, stage) if not worker.reachable(n)]
            return [self.refuse(follow, stage, Why.PEER_ABSENT, absent=away)]
        # Who was absent where others ran a stage may not have been told there.
        told = set() if itinerary.free else visited(itinerary.route, itinerary.start, stage)
        told.difference_update(output.absent)
        absent = output.absent
        if not sliced:
            absent = tuple(sorted(left_out(plan, stage, hop).union(absent)))
        if hop.decided:
            itinerary = msgspec.structs.replace(itinerary, route=hop.route)
        task = Task(
            *request_of(follow),
            follow.attempt,
            stage=stage,
            giver=worker.name,
            budget_ms=(expires - now) * 1e3,
            sliced=sliced,
            settled=worker.attempts.settled((follow.gateway, follow.incarnation)),
            absent=absent,
            trace=output.trace,
            load=None if sliced else worker.load,
            itinerary=itinerary,
        )
        codec = plan.stages[stage - 1].codec if stage else output.codec
        actions: list[WorkerAction] = []
        for target in hop.targets:
            worker.neighbours.gave(target)
            # One of those who join is told all that led here; from the others it would come again.
            trace = output.trace if target == hop.targets[0] else ()
            to_tell = None if target in told else itinerary
            if (trace, to_tell) != (task.trace, task.itinerary):
                task = msgspec.structs.replace(task, trace=trace, itinerary=to_tell)
            actions.append(Send(target, task, output.body, codec))
        if hop.decided:
            moved = Moved(*request_of(follow), follow.attempt, stage, hop.route)
            actions.append(Send(follow.gateway, moved))
        return actions

    def _hop(
        self,
        book: Playbook,
        plan: Plan,
        stage: int,
        itinerary: Itinerary,
        images: int,
        now: float,
    ) -> tuple[Hop | Hold | None, str]:
        """Who runs a stage, or until when to hold it; or nobody, and what the policy raised if that
        is why."""
        worker = self._worker
        neighbours = worker.neighbours
        neighbours.own = worker.load
        policy, broken = self._policies(book.policy.name), ""
        route, reach = itinerary.route, worker.reachable
        for without in (itinerary.without, ()) if itinerary.without else ((),):
            devices = Without(neighbours, without) if without else neighbours
            drawn = self._dice.random()
            waiting = worker.inbox.waiting
            view = View(now, devices, neighbours.links, waiting, images, drawn, worker.name)
            memory = self._memories.get(book.id)
            try:
                hop, memory = next_hop(policy, book, plan, stage, route, view, reach, memory)
            except PolicyError as error:
                broken = str(error)
                continue
            if hop is not None:
                if memory is not None:
                    self._memories[book.id] = memory
                return hop, ""
        return None, broken

    def _hold(self, held: Held, stage: int) -> list[WorkerAction]:
        """Wait with an output, as the policy says."""
        if self._worker.outgoing.hold(held):
            return []
        text = "too much waits here to be passed on"
        return [self.refuse(held.follow, stage, Why.OVERLOADED, text)]

    def due(self, now: float) -> list[WorkerAction]:
        """Ask the policies again about what is held. What one is still held for, others of its step
        are held for as well."""
        outgoing = self._worker.outgoing
        due = outgoing.due(now)
        if not due:
            return []
        actions: list[WorkerAction] = []
        stuck: dict[tuple[str, str, int], float] = {}
        for held in due:
            if held.step in stuck:
                until = stuck[held.step]
                if held.until < until:
                    outgoing.hold(held._replace(until=until))
                continue
            follow, itinerary, plan, output, expires, _ = held
            actions += self.pass_on(follow, itinerary, plan, output, expires, now)
            still = outgoing.until(request_of(follow))
            if still is not None:
                stuck[held.step] = still
        return actions

    def forget(self) -> None:
        """Policies of playbooks that are not installed any more remember nothing."""
        for playbook in list(self._memories):
            if self._worker.library.playbook(playbook) is None:
                del self._memories[playbook]

    def answer(
        self, job: Job, outcome: Outcome, leaves: bool, trace: tuple[StageTrace, ...]
    ) -> Send:
        """The answer of a request that is done, or leaves early."""
        task = job.task
        answer = Answered(
            gateway=task.gateway,
            incarnation=task.incarnation,
            number=task.number,
            attempt=task.attempt,
            plan=job.asked.plan,
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
