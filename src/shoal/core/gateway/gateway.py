"""The gateway as a state machine: it owns its requests until each is answered once or failed.

A request is admitted or refused at once; a policy picks its plan; its input is kept until it is
over. Whatever is heard to go wrong (a device that is lost, a refusal, a time-out) leads to one
decision: go on from a tensor that a worker kept, start again on what is alive, or wait for a
device until the deadline. Work may be done twice; an answer is given once.

This file says which event leads where. ``playbooks`` has what is in use, ``installing`` gets it
installed, ``usable`` says what of it can be used,
``chooser`` asks the policies, ``flights`` begins attempts, ``answers`` ends requests well,
``recovery`` (by ``blame``) goes on with them when something went wrong, ``state`` holds it all.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

from shoal.core.actions import GatewayAction, Reject, Send
from shoal.core.events import (
    Adopt,
    Appeared,
    Body,
    Cancelled,
    ClientEvent,
    LinkMeasured,
    PeerEvent,
    Release,
    Submitted,
    Tick,
    Vanished,
)
from shoal.core.gateway.answers import Answers
from shoal.core.gateway.blame import blame
from shoal.core.gateway.devices import Devices
from shoal.core.gateway.playbooks import Playbooks
from shoal.core.gateway.queue import LOOK_AGAIN_S
from shoal.core.gateway.recovery import Recovery
from shoal.core.gateway.request import Request
from shoal.core.gateway.state import GatewayState
from shoal.core.gateway.suspects import Digests
from shoal.core.gateway.usable import Usable
from shoal.core.log import Log
from shoal.core.messages import (
    Answered,
    Busy,
    DeviceInfo,
    Heard,
    Hello,
    Holding,
    Installed,
    Loading,
    Moved,
    News,
    Refused,
    Resume,
    Task,
    ToGateway,
    Trial,
    Why,
    refusal,
)
from shoal.core.policy import LinkView, Policy, find_policy
from shoal.core.settings import GatewaySettings
from shoal.core.shared.membership import Membership
from shoal.core.shared.routes import LinkName
from shoal.plan.plan import Playbook

GatewayEvent: TypeAlias = PeerEvent | ClientEvent | Tick


class GatewayCore:
    """One gateway. ``digest`` names what is in a body: requests of the same digests are the same.
    ``log`` is that of its node, of so many ``steps``: what is decided and shows in no action is
    remarked there."""

    def __init__(
        self,
        name: str,
        settings: GatewaySettings | None = None,
        *,
        policies: Callable[[str], Policy] = find_policy,
        digest: Callable[[Body], Digests],
        steps: int | None = None,
    ) -> None:
        self.name = name
        self.settings = settings = settings or GatewaySettings()
        self.log = Log(name, steps)
        self._state = GatewayState(name, policies, settings, digest, self.log)
        self._answers = Answers(self._state)
        self._recovery = Recovery(self._state, self._answers)
        self.wake_at = math.inf
        """When this gateway wants a Tick, in seconds."""

    # -- what its node calls

    def handle(self, event: GatewayEvent, now: float) -> list[GatewayAction]:
        """Take an event at time ``now`` (seconds, any origin); what shall be done."""
        return self._finish(self._react(event, now), now)

    def hear(
        self, sender: str, message: ToGateway | News, body: Body, now: float
    ) -> list[GatewayAction]:
        """Take a message; what shall be done."""
        return self._finish(self._heard(sender, message, body, now), now)

    def untold(
        self, to: str, about: Task | Resume, why: Why, text: str, now: float
    ) -> list[GatewayAction]:
        """A message of an attempt at a request of this gateway did not leave the node for ``to``:
        as if that had refused it, though it is not to blame for a link that is full."""
        refused = refusal(about, about.stage, why, text, absent=(to,))
        return self._finish(self._attempted(to, refused, None, now), now)

    def unforgotten(self, to: str, now: float) -> list[GatewayAction]:
        """A device could not be told which requests are over: it is to hear it later."""
        self._state.owe((to,), self._state.last_number, now)
        return self._finish([], now)

    def unready(self, playbook: Playbook) -> dict[str, str]:
        """Devices of a playbook that have not said yet that it is installed, and why."""
        return self._state.usable.unready(playbook)

    def servable(self, playbook: Playbook, now: float = 0.0) -> bool:
        """Whether a request could be served by ``playbook`` with what is there and ready."""
        book = self._state.playbooks.get(playbook.id)
        return book is not None and self._state.chooser.servable(book, now)

    @property
    def members(self) -> Membership:
        """The peers."""
        return self._state.members

    @property
    def devices(self) -> Devices:
        """What is known of the devices."""
        return self._state.devices

    @property
    def playbooks(self) -> Playbooks:
        """The playbooks in use."""
        return self._state.playbooks

    @property
    def usable(self) -> Usable:
        """Which of them, and of their devices, can be used now."""
        return self._state.usable

    @property
    def requests(self) -> OrderedDict[int, Request]:
        """The requests that are not over, by number."""
        return self._state.requests

    # -- events

    def _react(self, event: GatewayEvent, now: float) -> list[GatewayAction]:
        match event:
            case Submitted():
                return self._submit(event, now)
            case Appeared(name, incarnation):
                return [*self._appeared(name, incarnation, now), *self._state.repairing.look(now)]
            case Vanished(name, incarnation):
                if not self.members.vanished(name, incarnation, now):
                    return []
                self._state.installing.vanished(name)
                lost = self._recovery.lost(name, incarnation, now)
                return [*lost, *self._state.repairing.look(now)]
            case LinkMeasured(peer, bytes_per_s, rtt_ms, age_s, at_least):
                self._state.chooser.links[peer] = LinkView(
                    bytes_per_s, rtt_ms, now - age_s, at_least
                )
                return []
            case Cancelled(number):
                request = self.requests.get(number)
                return self._state.end(request, now, stop=True) if request else []
            case Adopt(playbook):
                adopted = self._state.installing.adopt(playbook, now)
                return [*adopted, *self._state.repairing.look(now)]
            case Release():
                return [*self._state.installing.release()]
            case Tick():
                return self._tick(now)

    def _heard(
        self, sender: str, message: ToGateway | News, body: Body, now: float
    ) -> list[GatewayAction]:
        match message:
            case Answered() | Refused() | Moved():
                return self._attempted(sender, message, body, now)
            case Trial(gateway, incarnation):
                mine = (gateway, incarnation) == (self.name, self._state.flights.incarnation)
                return self._recovery.trial(sender, message, now) if mine else []
            case Loading(part):
                self._state.loads.begun(sender, part, self.members.life(sender))
                return [Send(sender, Heard(part))]
            case Installed():
                self._state.installing.installed(sender, message, now)
                return [*self._state.repairing.look(now), *self._state.installing.retire()]
            case Hello(info):
                return self._hello(info, now) if info.name == sender else []
            case Holding(parts):
                self.members.holding(sender, parts)
                return []
            case Busy(load):
                device = self.devices.get(sender)
                if device is not None:
                    device.load = load
                return []

    def _tick(self, now: float) -> list[GatewayAction]:
        actions: list[GatewayAction] = []
        for number in self._state.deadlines.due(now):
            request = self.requests[number]
            actions += [self._too_late(request), *self._state.end(request, now, stop=True)]
        for number in self._state.flights.doubts.due(now):
            actions += self._recovery.doubt(self.requests[number], now)
        return actions + self._state.due(now)

    def _finish(self, actions: list[GatewayAction], now: float) -> list[GatewayAction]:
        """What follows from any event: requests that can begin, when to wake up."""
        if self._state.queue:
            self._dispatch(actions, now)
        while self._state.chooser.broken:
            actions += self._broken(now)
            self._dispatch(actions, now)
        self.wake_at = self._state.next_due()
        return actions

    # -- requests

    def _submit(self, asked: Submitted, now: float) -> list[GatewayAction]:
        state, number = self._state, asked.number
        if number <= state.last_number:
            raise ValueError(f"request {number} came after {state.last_number}; numbers count up")
        state.last_number = number
        most = self.settings.max_pending
        if len(state.requests) >= most:
            state.chooser.refused += 1
            wait_s = state.admission.retry_after_s(len(state.requests))
            text = (
                f"{most} requests are pending; wait for answers before sending more, "
                f"some {wait_s:.1f} s"
            )
            return [Reject(number, "overloaded", text, retry_after_s=wait_s)]
        deadline = now + max(0.0, asked.budget_ms / 1e3)
        request = state.requests[number] = Request(
            number, asked.body, now, deadline, asked.images, asked.priority, asked.traced
        )
        if not state.may_run(request, now):
            del state.requests[number]
            return [self._recovery.condemn(request)]
        before = self._before(request, asked.budget_ms / 1e3)
        if before:
            del state.requests[number]
            state.chooser.refused += 1
            wait_s = state.admission.retry_after_s(before)
            text = (
                f"{before} requests come before it, and it has {asked.budget_ms:.0f} ms: it would "
                f"not be answered in time; come back in some {wait_s:.1f} s"
            )
            return [Reject(number, "overloaded", text, retry_after_s=wait_s)]
        state.deadlines.set(number, deadline)
        state.queue.put(request.turn)
        return []

    def _before(self, request: Request, budget_s: float) -> int:
        """How many come before a request that is not to be expected to be answered in time; else
        0."""
        state = self._state
        if not state.queue or state.admission.in_time(
            state.flights.count + len(state.queue), budget_s
        ):
            return 0  # whatever its priority
        before = state.flights.count + state.queue.before(request.turn)
        return 0 if state.admission.in_time(before, budget_s) else before

    def _dispatch(self, actions: list[GatewayAction], now: float) -> None:
        """Begin as many of the waiting requests as the window allows."""
        state = self._state
        state.chooser.waiting = len(state.queue)
        while (number := state.queue.first()) is not None:
            if not state.admission.may_begin(now):
                if state.admission.opens is not None:
                    state.queue.stuck(now, state.admission.opens)
                return
            request = state.requests[number]
            stopped = self._recovery.stopped(request, now)
            if stopped is not None:
                actions += stopped
                continue
            picked = state.chooser.pick(request, now)
            begun = state.flights.begin(request, picked, now) if picked else None
            if begun is None and request.narrow:
                # It lacks a device that has memory for it; others need not wait for that.
                state.queue.drop(number)
                state.queue.pause(request.turn, now + LOOK_AGAIN_S)
                continue
            if begun is None:
                if not state.flights.count:
                    state.admission.stalled()
                state.queue.stuck(now, state.flights.held_until, state.devices.limits.opens(now))
                return
            state.queue.drop(number)
            actions += begun

    def _attempted(
        self, sender: str, message: Answered | Refused | Moved, body: Body, now: float
    ) -> list[GatewayAction]:
        """A worker says something about an attempt."""
        if (message.gateway, message.incarnation) != (self.name, self._state.flights.incarnation):
            return []
        device = self.devices.get(sender)
        if device is not None and not isinstance(message, Moved):
            device.load = message.load
        actions = self._believe(sender, message, now) if isinstance(message, Refused) else []
        request = self.requests.get(message.number)
        if request is None:
            self._state.owe((sender,), min(message.number, self._state.last_number), now)
            return actions
        request.touched.add(sender)
        late = message.attempt < request.attempt and request.asks(sender)
        if isinstance(message, Refused) and not late:
            request.done_by(sender)
        current = request.in_flight and message.attempt == request.attempt
        match message:
            case Answered():
                taken = self._answers.take(request, message, body, now)
                return self._recovery.reconsider(request, now) if taken is None else taken
            case Moved() if current:
                return self._recovery.moved(request, sender, message, now)
            case Refused() if message.attempt == request.attempt and not current:
                # It is given up already; but of several that refuse, each knows something.
                request.blame(blame(request, sender, message).shun)
                return actions
            case Refused() if current:
                if message.why is Why.DRAINING:  # what is older may be of an earlier life of it
                    self.devices.draining(sender)
                return actions + self._recovery.refused(request, sender, message, now)
            case _:
                return actions

    def _believe(self, sender: str, refused: Refused, now: float) -> list[GatewayAction]:
        """What a refusal says of the device, whatever becomes of the request."""
        state = self._state
        request = state.requests.get(refused.number)
        if refused.why is Why.OVERLOADED:
            state.devices.overloaded(sender, now)
        if refused.why is Why.LINK_FULL:
            giver = self.name if sender in refused.absent else sender
            named = filter(request.touched.__contains__, refused.absent) if request else ()
            for taker in named:
                link = LinkName(giver, taker)
                used = sum(link in each.links(self.name) for each in state.requests.values())
                state.devices.limits.refused(link, used - 1, now)
        if refused.why in (Why.RUN_KILLED, Why.NO_SANDBOX):
            late = state.suspects.late(refused.number)
            digests = state.digests(request) if request is not None else late
            if digests:
                text = f"{refused.why} on {sender} ({refused.text})"
                state.suspects.prove(digests, text, now)
        if refused.why in (Why.UNKNOWN_PLAN, Why.PART_MISSING):
            tried = request.tries.get(refused.attempt) if request else None
            if tried is not None:
                return [*state.installing.reinstall(sender, tried.playbook, now)]
        return []

    def _broken(self, now: float) -> list[GatewayAction]:
        """The requests that wait since a policy raised: to ask it again would hardly help."""
        actions: list[GatewayAction] = []
        broken, self._state.chooser.broken = self._state.chooser.broken, {}
        for number, text in broken.items():
            request = self.requests.get(number)
            if request is not None and not request.in_flight:
                actions.append(Reject(number, "policy", text))
                actions += self._state.end(request, now, stop=True)
        return actions

    def _too_late(self, request: Request) -> Reject:
        waited_ms = (request.deadline - request.admitted) * 1e3
        heard = f" ({'; '.join(request.faults)})" if request.faults else ""
        if request.in_flight:
            return Reject(request.number, "deadline", f"no answer within {waited_ms:.0f} ms{heard}")
        lacking = "no playbook is in use"
        for book in self.playbooks.all()[-1:]:
            unusable = self.usable.unusable(book)
            lacking = ", ".join(f"{name} {why}" for name, why in unusable.items())
        if lacking:
            text = f"nothing alive could serve it within {waited_ms:.0f} ms: {lacking}{heard}"
            return Reject(request.number, "unserved", text)
        text = f"it got no turn within {waited_ms:.0f} ms{heard}"
        return Reject(request.number, "deadline", text)

    # -- devices

    def _appeared(self, name: str, incarnation: str, now: float) -> list[GatewayAction]:
        state = self._state
        if name == self.name:
            state.flights.incarnation = incarnation
        known = state.members.alive(name)
        actions: list[GatewayAction] = []
        former = state.members.life(name)
        if state.members.appeared(name, incarnation, now):
            state.devices.restarted(name)
            state.settling.forget(name)
            actions += self._recovery.lost(name, former, now)
            state.loads.died(name, former, now)
        elif known:
            return []
        else:
            state.devices.doubt(name)
            state.suspects.lives(name, incarnation)
            state.loads.ended(name)
        peer = state.members.get(name)
        if peer is not None and peer.info is not None:
            return actions + self._hello(peer.info, now)
        state.installing.install_soon(name, now)
        return actions

    def _hello(self, info: DeviceInfo, now: float) -> list[GatewayAction]:
        """A device says what it is, and so that it has not seen this gateway before, or not for a
        while: it may have forgotten what it was told."""
        if not self.members.hello(info):
            return []
        self._state.owe((info.name,), self._state.last_number, now)
        self.devices.draining(info.name, info.draining)
        return [] if info.draining else [*self._state.installing.install(info.name, now)]
