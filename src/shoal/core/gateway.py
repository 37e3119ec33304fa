"""The gateway as a state machine: it owns its requests until each is answered once or failed.

A request is admitted or refused at once; a policy picks its plan; its input is kept until it is
over. Whatever is heard to go wrong (a device that is lost, a refusal, a time-out) leads to one
decision: go on from a tensor that a worker kept, start again on what is alive, or wait for a
device until the deadline. Work may be done twice; an answer is given once.

This file says what happens when. ``books`` has the playbooks and gets them installed, ``chooser``
asks the policies, ``flights`` begins attempts, ``recovery`` says what a loss means for one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection

from shoal.core.actions import Deliver, GatewayAction, Given, Reject, Send, Wake
from shoal.core.books import Books
from shoal.core.chooser import Chooser
from shoal.core.devices import Devices
from shoal.core.events import (
    Appeared,
    Arrived,
    Body,
    Cancelled,
    GatewayEvent,
    LinkMeasured,
    Submitted,
    Tick,
    Unsent,
    Vanished,
)
from shoal.core.flights import Flights
from shoal.core.membership import Membership
from shoal.core.messages import (
    Answer,
    DeviceInfo,
    Forget,
    Hello,
    Installed,
    Message,
    Moved,
    Refused,
    Resume,
    Task,
    Why,
)
from shoal.core.policy import LinkView, Policy, find_policy
from shoal.core.queue import Queue
from shoal.core.recovery import PROMPT_REFUSALS, blame, doubted, pause_s, source_before, stuck_at
from shoal.core.request import Request, Try
from shoal.core.routes import runs
from shoal.core.settling import Settling
from shoal.core.timers import Timers
from shoal.plan.plan import Playbook, Spread

MAX_FAILED_ATTEMPTS = 3
_EXTENSIONS = 2


class GatewayCore:
    """One gateway.

    ``max_pending`` bounds the requests it owns; ``window_per_device`` those in flight for each
    usable device (enough to keep every stage busy while tensors travel). ``hedge_s`` sends a
    second attempt when none was answered after that time (None: off). ``timeout_floor_s`` is the
    least time after which an attempt is doubted although its devices seem alive.
    """

    def __init__(
        self,
        name: str,
        *,
        max_pending: int = 1024,
        window_per_device: int = 3,
        hedge_s: float | None = None,
        timeout_floor_s: float = 0.5,
        policies: Callable[[str], Policy] = find_policy,
    ) -> None:
        self.name = name
        self.members = Membership()
        self.devices = Devices()
        self.books = Books(self.members, self.devices, policies)
        self.requests: OrderedDict[int, Request] = OrderedDict()
        self._chooser = Chooser(self.books, self.devices)
        self._settling = Settling()
        self._flights = Flights(
            name,
            self.members,
            self.devices,
            self.books,
            self._chooser,
            self._settling,
            hedge_s,
            timeout_floor_s,
        )
        self._queue = Queue()
        self._deadlines: Timers[int] = Timers()
        self._max_pending = max_pending
        self._window_per_device = window_per_device
        self._last_number = -1
        self._wake: float | None = None

    # -- what a driver calls

    def handle(self, event: GatewayEvent, now: float) -> list[GatewayAction]:
        """Take an event at time ``now`` (seconds, any origin); what shall be done."""
        actions = self._react(event, now)
        if self._queue:
            self._dispatch(actions, now)
        return actions + self._next_wake()

    def adopt(self, playbook: Playbook, now: float) -> list[GatewayAction]:
        """Use a playbook for new requests from when it is installed; older ones stay until nothing
        needs them. PlanError when it is for another network than those in use."""
        actions: list[GatewayAction] = [*self.books.adopt(playbook, now)]
        self._dispatch(actions, now)
        return actions + self._next_wake()

    def release(self) -> list[GatewayAction]:
        """Tell all devices that this gateway leaves."""
        return [*self.books.release()]

    def unready(self, playbook: Playbook) -> dict[str, str]:
        """Devices of a playbook that have not said yet that it is installed, and why."""
        return self.books.unready(playbook)

    def servable(self, playbook: Playbook, now: float = 0.0) -> bool:
        """Whether a request could be served by ``playbook`` with what is there and ready."""
        book = self.books.get(playbook.id)
        return book is not None and self._chooser.servable(book, now)

    def _react(self, event: GatewayEvent, now: float) -> list[GatewayAction]:
        match event:
            case Submitted(number, body, budget_ms):
                return self._submit(number, body, budget_ms, now)
            case Arrived(sender, message, body):
                return self._arrived(sender, message, body, now)
            case Appeared(name, incarnation):
                return self._appeared(name, incarnation, now)
            case Vanished(name, incarnation):
                if not self.members.vanished(name, incarnation, now):
                    return []
                self.books.vanished(name)
                return self._lost(name, now)
            case Unsent(to, message):
                return self._unsent(to, message, now)
            case LinkMeasured(peer, bytes_per_s, rtt_ms):
                self._chooser.links[peer] = LinkView(bytes_per_s, rtt_ms)
                return []
            case Cancelled(number):
                request = self.requests.get(number)
                return self._end(request, now, answered=False) if request else []
            case Tick():
                return self._tick(now)

    def _arrived(
        self, sender: str, message: Message, body: Body, now: float
    ) -> list[GatewayAction]:
        match message:
            case Answer() | Refused() | Moved():
                return self._heard(sender, message, body, now)
            case Installed():
                self.books.installed(sender, message, now)
                return [*self.books.retire()]
            case Hello(info):
                return self._hello(info, now)
            case _:
                return []

    def _tick(self, now: float) -> list[GatewayAction]:
        self._wake = None
        actions: list[GatewayAction] = []
        for number in self._deadlines.due(now):
            request = self.requests[number]
            actions += [self._too_late(request), *self._end(request, now, answered=False)]
        for number in self._flights.doubts.due(now):
            if number in self.requests:
                actions += self._doubt(self.requests[number], now)
        self._queue.due(now)
        actions += self.books.due(now)
        settled = self._settling.settled
        for name in self._settling.due(now, self.members.alive):
            actions.append(Send(name, self._forget(settled=settled)))
        for name in self.members.expire(now):
            self._settling.forget(name)
            self._chooser.links.pop(name, None)
            if not any(name in book.devices for book in self.books.all()):
                self.devices.forget(name)
        return actions

    def _next_wake(self) -> list[GatewayAction]:
        """Ask for a tick if one is needed before the one that was asked for; one that comes too
        early does no harm."""
        wake: float | None = None
        for at in (
            self._deadlines.next(),
            self._flights.doubts.next(),
            self._queue.next(),
            self.books.next(),
            self._settling.next(),
            self.members.next_expiry(),
        ):
            if at is not None and (wake is None or at < wake):
                wake = at
        if wake is None or (self._wake is not None and self._wake <= wake):
            return []
        self._wake = wake
        return [Wake(wake)]

    # -- requests begin

    def _submit(self, number: int, body: Body, budget_ms: float, now: float) -> list[GatewayAction]:
        if number <= self._last_number:
            raise ValueError(f"request {number} came after {self._last_number}; numbers count up")
        self._last_number = number
        if len(self.requests) >= self._max_pending:
            text = f"{self._max_pending} requests are pending; wait for answers before sending more"
            return [Reject(number, "overloaded", text)]
        deadline = now + (budget_ms / 1e3 if budget_ms > 0 else 0.0)
        self.requests[number] = Request(number, body, now, deadline)
        self._deadlines.set(number, deadline)
        self._queue.put(number)
        return []

    def _dispatch(self, actions: list[GatewayAction], now: float) -> None:
        """Begin as many of the waiting requests as the window allows."""
        window = max(4, self._window_per_device * self.books.usable_devices())
        self._chooser.waiting = len(self._queue)
        while self._flights.count < window:
            number = self._queue.first()
            if number is None:
                return
            request = self.requests[number]
            picked = self._chooser.pick(request, now)
            begun = self._flights.begin(request, picked, now) if picked else None
            if begun is None:
                self._queue.stuck(now)
                return
            self._queue.drop(number)
            actions += begun

    # -- what is heard of attempts

    def _heard(
        self, sender: str, message: Answer | Refused | Moved, body: Body, now: float
    ) -> list[GatewayAction]:
        """A worker says something about an attempt."""
        if message.gateway != self.name or message.incarnation != self._flights.incarnation:
            return []
        device = self.devices.get(sender)
        if device is not None and not isinstance(message, Moved):
            device.load = message.load
        actions = self._believe(sender, message, now) if isinstance(message, Refused) else []
        request = self.requests.get(message.number)
        if request is None:
            self._settling.note((sender,), min(message.number, self._last_number), now)
            return actions
        request.touched.add(sender)
        if isinstance(message, Answer):
            return actions + self._answered(request, message, body, now)
        if request.plan is None or message.attempt != request.attempt:
            return actions
        if isinstance(message, Moved):
            return actions + self._moved(request, message, now)
        return actions + self._refused(request, sender, message, now)

    def _answered(
        self, request: Request, answer: Answer, body: Body, now: float
    ) -> list[GatewayAction]:
        tried = request.tries.get(answer.attempt)
        if tried is None or tried.plan.name != answer.plan:
            return []
        plan = tried.plan
        if not 0 <= answer.stage < len(plan.stages):
            return []
        stage = plan.stages[answer.stage]
        if answer.left_early:
            done = stage.exit is not None
        else:
            done = answer.stage == len(plan.stages) - 1 and stage.spread is Spread.ONE
        if done:
            given = Given({answer.giver: body})
            return self._deliver(request, tried, given, answer, now)
        gather = request.gather if answer.attempt == request.attempt else None
        if gather is None or request.plan is None or answer.stage != len(plan.stages) - 1:
            return []
        first = not gather.bodies
        gather.give(answer.giver, body, answer.absent, answer.trace)
        if first and gather.join is not None:
            self._flights.doubts.set(request.number, now + gather.join.deadline_ms / 1e3)
        return self._gathered(request, answer, now)

    def _gathered(self, request: Request, last: Answer | None, now: float) -> list[GatewayAction]:
        """Deliver when every slice of the last stage is there that can still come."""
        gather, plan = request.gather, request.plan
        if gather is None or plan is None or not gather.complete:
            return []
        absent = gather.missing(plan.stages[-1].parts)
        if not gather.enough:
            request.fault(f"only {len(gather.bodies)} slices of the answer came")
            return self._retry(request, len(plan.stages) - 1, now, shun=absent, refused=True)
        answer = Answer(
            gateway=self.name,
            incarnation=self._flights.incarnation,
            number=request.number,
            attempt=request.attempt,
            plan=plan.name,
            stage=len(plan.stages) - 1,
            giver="",
            absent=absent,
            trace=tuple(gather.traces),
        )
        return self._deliver(request, request.tries[request.attempt], gather.given(), answer, now)

    def _deliver(
        self, request: Request, tried: Try, given: Given, answer: Answer, now: float
    ) -> list[GatewayAction]:
        self._flights.answered(tried.playbook, tried.plan.name, now - tried.began)
        self.devices.observe(tried.plan, answer.trace)
        deliver = Deliver(
            number=request.number,
            given=given,
            plan=tried.plan.name,
            attempts=request.attempt,
            left_early=answer.left_early,
            confidence=answer.confidence,
            absent=tuple(sorted(answer.absent)),
            trace=answer.trace,
            accuracy=tried.plan.forecast.accuracy,
        )
        return [deliver, *self._end(request, now, answered=not answer.absent)]

    def _moved(self, request: Request, moved: Moved, now: float) -> list[GatewayAction]:
        """A hop of a free route decided who comes next."""
        plan = request.plan
        if plan is None or not request.reached <= moved.stage < len(plan.stages):
            return []
        known = [runs(request.route, stage) for stage in range(len(plan.stages))]
        told = [runs(moved.route, stage) for stage in range(len(plan.stages))]
        request.route = tuple(old or new for old, new in zip(known, told, strict=True))
        request.reached = moved.stage
        for stage in range(moved.stage, len(plan.stages)):
            if not known[stage] and told[stage]:
                self.devices.give(request.given, plan, request.route, range(stage, stage + 1))
                request.touched.update(told[stage])
                away = [name for name in told[stage] if not self.members.alive(name)]
                request.out.update(away)
        return self._reconsider(request, now)

    def _believe(self, sender: str, refused: Refused, now: float) -> list[GatewayAction]:
        """What a refusal says of the device, whatever becomes of the request."""
        if refused.why is Why.DRAINING:
            self.devices[sender].draining = True
            self.books.changed()
        if refused.why in (Why.UNKNOWN_PLAN, Why.PART_MISSING):
            request = self.requests.get(refused.number)
            tried = request.tries.get(refused.attempt) if request else None
            if tried is not None:
                return [*self.books.reinstall(sender, tried.playbook, now)]
        return []

    def _refused(
        self, request: Request, sender: str, refused: Refused, now: float
    ) -> list[GatewayAction]:
        text = f"{sender}: {refused.why}" + (f" ({refused.text})" if refused.text else "")
        request.fault(text)
        if refused.why in (Why.RUN_FAILED, Why.BAD_BODY):
            request.avoid[sender] = None
            if not request.failed:
                request.failed = True
                request.failures += 1
            if request.failures >= MAX_FAILED_ATTEMPTS:
                reject = Reject(request.number, "remote", text, refused.why)
                return [reject, *self._end(request, now, answered=False)]
        fault = blame(request, sender, refused)
        request.out.update(fault.out)
        if refused.why is Why.NOT_KEPT:
            request.source = None
        if fault.over:
            return self._retry(request, refused.stage, now, shun=fault.shun, refused=True)
        return self._reconsider(request, now, shun=fault.shun, refused=True)

    def _unsent(self, to: str, message: Message, now: float) -> list[GatewayAction]:
        """The link did not take a message."""
        if not isinstance(message, Task | Resume):
            return []
        refused = Refused(
            gateway=message.gateway,
            incarnation=message.incarnation,
            number=message.number,
            attempt=message.attempt,
            stage=message.stage,
            why=Why.OVERLOADED,
            text="the link took no message for it",
        )
        return self._heard(to, refused, None, now)

    # -- recovery

    def _lost(self, name: str, now: float) -> list[GatewayAction]:
        """A device is gone, silent, or has restarted."""
        actions: list[GatewayAction] = []
        for request in list(self.requests.values()):
            self.devices.take_back(request.given, name)
            if request.in_flight and (name in request.touched):
                request.fault(f"{name} was lost")
                request.out.add(name)
                actions += self._reconsider(request, now)
        return actions

    def _reconsider(
        self, request: Request, now: float, shun: Collection[str] = (), refused: bool = False
    ) -> list[GatewayAction]:
        """Go on with the attempt under way if that is possible without the devices that are out
        of it, else otherwise."""
        stage = stuck_at(request)
        if stage is not None:
            return self._retry(request, stage, now, shun, refused)
        if request.gather is not None:
            request.gather.awaited -= request.out
            if request.gather.bodies:
                return self._gathered(request, None, now)
        return []

    def _retry(
        self,
        request: Request,
        stage: int,
        now: float,
        shun: Collection[str] = (),
        refused: bool = False,
    ) -> list[GatewayAction]:
        """The attempt under way came no further than ``stage``: begin another, from the nearest
        tensors that were kept. At once, but for refusals that come too often or leave no choice:
        to try again what was just refused would only keep everybody busy."""
        request.source = source_before(request, stage, lambda n: n not in request.out)
        self._flights.leave(request)
        self.devices.take_back_all(request.given)
        request.refusals += refused
        picked = self._chooser.pick(request, now, shun)
        if refused and (picked is None or picked.grudging or request.refusals > PROMPT_REFUSALS):
            self._queue.pause(request.number, now + pause_s(request.refusals))
            return []
        begun = self._flights.begin(request, picked, now) if picked else None
        if begun is None:
            self._queue.put_first(request.number)
            return []
        return [*begun]

    def _doubt(self, request: Request, now: float) -> list[GatewayAction]:
        """No answer in time, though nobody is known to be lost.

        Whoever else can do it is asked. If nobody can, more patience is had: when all are merely
        busy, to ask them again would make it worse. Since a message may have been lost, they are
        asked again in the end, in another combination where there is one; what a worker did for
        the attempt before, it does not do again.
        """
        if request.plan is None:
            return []
        if request.gather is not None and request.gather.bodies:
            request.gather.awaited.clear()
            return self._gathered(request, None, now)
        suspects = doubted(request)
        picked = self._chooser.pick_without({*suspects, *request.avoid}, request, now)
        if picked is None and request.extensions % (_EXTENSIONS + 1) < _EXTENSIONS:
            self._flights.extend(request, now)
            return []
        request.fault(f"no answer from {', '.join(suspects)} in time")
        for k in range(len(suspects)):
            if picked is None:
                other = suspects[(k + request.extensions // (_EXTENSIONS + 1)) % len(suspects)]
                picked = self._chooser.pick_without({other, *request.avoid}, request, now)
        picked = picked or self._chooser.pick(request, now)
        begun = self._flights.begin(request, picked, now) if picked else None
        if begun is None:
            self._flights.extend(request, now)
            return []
        request.extensions += 1
        return [*begun]

    # -- requests end

    def _too_late(self, request: Request) -> Reject:
        waited_ms = (request.deadline - request.admitted) * 1e3
        heard = f" ({'; '.join(request.faults)})" if request.faults else ""
        if request.in_flight:
            return Reject(request.number, "deadline", f"no answer within {waited_ms:.0f} ms{heard}")
        lacking = [
            f"{name} {why}"
            for book in self.books.all()[-1:]
            for name, why in self.books.unusable(book).items()
        ]
        if lacking or not self.books:
            who = ", ".join(lacking) if lacking else "no playbook is in use"
            text = f"nothing alive could serve it within {waited_ms:.0f} ms: {who}{heard}"
            return Reject(request.number, "unserved", text)
        text = f"it got no turn within {waited_ms:.0f} ms{heard}"
        return Reject(request.number, "deadline", text)

    def _end(self, request: Request, now: float, answered: bool) -> list[GatewayAction]:
        """Forget a request; tell those who may still work on it."""
        self._flights.leave(request)
        self.books.follow(request.playbook, "")
        self.devices.take_back_all(request.given)
        del self.requests[request.number]
        self._deadlines.clear(request.number)
        self._queue.drop(request.number)
        self._settling.settled = next(iter(self.requests), self._last_number + 1)
        self._settling.note(request.touched, request.number, now)
        actions: list[GatewayAction] = []
        if request.attempt > 1 or not answered:
            forget = self._forget(request.number)
            alive = sorted(filter(self.members.alive, request.touched))
            actions += [Send(name, forget) for name in alive]
        return [*actions, *self.books.retire()]

    def _forget(self, *numbers: int, settled: int = 0) -> Forget:
        return Forget(self.name, self._flights.incarnation, numbers, settled)

    # -- devices

    def _appeared(self, name: str, incarnation: str, now: float) -> list[GatewayAction]:
        if name == self.name:
            self._flights.incarnation = incarnation
        known = self.members.alive(name)
        actions: list[GatewayAction] = []
        if self.members.appeared(name, incarnation, now):
            self.devices.restarted(name)
            self._settling.forget(name)
            self.books.changed()
            actions += self._lost(name, now)
        elif known:
            return []
        else:
            self.books.doubt(name)
        peer = self.members.get(name)
        if peer is not None and peer.info is not None:
            return actions + self._hello(peer.info, now)
        self.books.install_soon(name, now)
        return actions

    def _hello(self, info: DeviceInfo, now: float) -> list[GatewayAction]:
        if not self.members.hello(info):
            return []
        self.devices[info.name].draining = info.draining
        self.books.changed()
        return [] if info.draining else [*self.books.install(info.name, now)]
