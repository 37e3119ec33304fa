"""The gateway as a state machine: it owns its requests until each is answered once or failed.

A request is admitted or refused at once; a policy picks its plan; its input is kept until it is
over. Whatever is heard to go wrong (a device that is lost, a refusal, a time-out) leads to one
decision: go on from a tensor that a worker kept, start again on what is alive, or wait for a
device until the deadline. Work may be done twice; an answer is given once.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from shoal.core.actions import Deliver, GatewayAction, Given, Reject, Send, Wake
from shoal.core.devices import Devices
from shoal.core.events import (
    Appeared,
    Arrived,
    Body,
    Cancelled,
    GatewayEvent,
    Submitted,
    Tick,
    Vanished,
)
from shoal.core.membership import Membership
from shoal.core.messages import (
    Answer,
    DeviceInfo,
    Forget,
    Hello,
    Install,
    Installed,
    Message,
    Moved,
    Refused,
    Resume,
    Task,
    Uninstall,
    Why,
)
from shoal.core.policy import Choice, View, find_policy
from shoal.core.request import Request, RoundTrip
from shoal.core.timers import Timers
from shoal.plan.plan import Plan, Playbook, Spread

MAX_ATTEMPTS = 24
MAX_FAILED_RUNS = 3
_RETRY_S = 0.02


class GatewayCore:
    """One gateway.

    ``max_pending`` bounds the requests it owns; ``window_per_device`` those in flight for each
    usable device (enough to keep every stage busy while tensors travel). ``hedge_s`` sends a
    second attempt when none was answered after that time (None: off).
    """

    def __init__(
        self,
        name: str,
        *,
        max_pending: int = 1024,
        window_per_device: int = 3,
        hedge_s: float | None = None,
        timeout_floor_s: float = 0.5,
    ) -> None:
        self.name = name
        self.members = Membership()
        self.devices = Devices()
        self.requests: dict[int, Request] = {}
        self.books: list[Playbook] = []
        self._max_pending = max_pending
        self._window_per_device = window_per_device
        self._hedge_s = hedge_s
        self._waiting: deque[int] = deque()
        self._in_flight = 0
        self._settled = 0
        self._memory: dict[str, Any] = {}
        self._servable: dict[str, Playbook] = {}
        self._round_trip = RoundTrip(timeout_floor_s, 30.0)
        self._deadlines: Timers[int] = Timers()
        self._timeouts: Timers[int] = Timers()
        self._backoffs: Timers[int] = Timers()
        self._wake: float | None = None

    def handle(self, event: GatewayEvent, now: float) -> list[GatewayAction]:
        """Take an event at time ``now`` (seconds, any origin); what shall be done."""
        actions = self._react(event, now)
        actions += self._dispatch(now)
        return actions + self._next_wake()

    def adopt(self, playbook: Playbook, now: float) -> list[GatewayAction]:
        """Use a playbook for new requests from when it can serve them; older ones stay until
        nothing needs them."""
        if any(book.id == playbook.id for book in self.books):
            return []
        self.books.append(playbook)
        actions: list[GatewayAction] = [
            Send(device, Install(playbook))
            for device in sorted(playbook.devices)
            if self.members.alive(device)
        ]
        return actions + self._dispatch(now) + self._next_wake()

    def unready(self, playbook: Playbook) -> dict[str, str]:
        """Devices of a playbook that have not said yet that it is installed, and why."""
        missing = {}
        for name in sorted(playbook.devices):
            if playbook.id in self.devices[name].ready:
                continue
            alive = self.members.alive(name)
            missing[name] = "has not loaded its parts yet" if alive else "is not there"
        return missing

    def servable(self, playbook: Playbook) -> bool:
        """Whether some plan of ``playbook`` has all its parts ready on devices that are there."""
        ready = {
            name: self.devices[name].ready.get(playbook.id, frozenset())
            if self._usable(name)
            else frozenset()
            for name in playbook.devices
        }
        return bool(restrict(playbook, ready).plans)

    def release(self) -> list[GatewayAction]:
        """Tell all devices that this gateway leaves."""
        return [
            Send(name, Uninstall(book.id))
            for book in self.books
            for name in sorted(book.devices)
            if self.members.alive(name)
        ]

    def _react(self, event: GatewayEvent, now: float) -> list[GatewayAction]:
        match event:
            case Submitted(number, body, budget_ms):
                return self._submit(number, body, budget_ms, now)
            case Arrived(sender, message, body):
                return self._arrived(sender, message, body, now)
            case Appeared(name, incarnation):
                return self._appeared(name, incarnation, now)
            case Vanished(name, incarnation):
                lost = self.members.vanished(name, incarnation, now)
                return self._lost(name, now) if lost else []
            case Cancelled(number):
                request = self.requests.get(number)
                return self._end(request, answered=False) if request else []
            case Tick():
                return self._tick(now)

    # -- admission and choice

    def _submit(self, number: int, body: Body, budget_ms: float, now: float) -> list[GatewayAction]:
        if len(self.requests) >= self._max_pending:
            text = f"{self._max_pending} requests are pending; wait for answers before sending more"
            return [Reject(number, "overloaded", text)]
        request = Request(number, body, now, now + budget_ms / 1e3)
        self.requests[number] = request
        self._deadlines.set(number, request.deadline)
        self._waiting.append(number)
        return []

    def _dispatch(self, now: float) -> list[GatewayAction]:
        """Start as many of the waiting requests as the window allows."""
        actions: list[GatewayAction] = []
        later: list[int] = []
        window = self._window() if self._waiting else 0
        while self._waiting and self._in_flight < window:
            number = self._waiting.popleft()
            request = self.requests.get(number)
            if request is None:
                continue
            if request.not_before > now:
                later.append(number)
                continue
            picked = self._choose(request, now)
            if picked is None:
                later.append(number)
                break
            actions += self._start(request, *picked, now)
        self._waiting.extendleft(reversed(later))
        return actions

    def _window(self) -> int:
        usable = {
            name
            for book in self.books
            for name in book.devices
            if self._usable(name) and self.devices[name].ready.get(book.id)
        }
        return max(4, self._window_per_device * len(usable))

    def _usable(self, name: str) -> bool:
        return self.members.alive(name) and not self.devices[name].draining

    def _choose(
        self, request: Request, now: float, at: tuple[str, ...] = ()
    ) -> tuple[Playbook, Choice] | None:
        """Ask the policies, newest playbook first, those that are installed everywhere before
        the others. Devices that the request shall avoid are used when there are no others."""
        picked = self._choose_without(request.avoid, now, at)
        if picked is None and request.avoid:
            picked = self._choose_without(set(), now, at)
        return picked

    def _choose_without(
        self, avoid: set[str], now: float, at: tuple[str, ...] = ()
    ) -> tuple[Playbook, Choice] | None:
        books = list(reversed(self.books))
        if len(books) > 1:
            books.sort(key=lambda book: bool(self.unready(book)))
        for book in books:
            names = at or tuple(spec.name for spec in book.inputs)
            choice, self._memory[book.id] = find_policy(book.policy.name).choose(
                self._restricted(book),
                self._view(book, avoid, now),
                names,
                self._memory.get(book.id),
            )
            if choice is not None:
                return book, choice
        return None

    def _view(self, book: Playbook, avoid: set[str], now: float) -> View:
        usable = {name: self._usable(name) and name not in avoid for name in book.devices}
        return View(now, self.devices.view(usable), waiting=len(self._waiting))

    def _restricted(self, book: Playbook) -> Playbook:
        """The playbook without what no device has loaded."""
        known = self._servable.get(book.id)
        if known is None:
            ready = {n: self.devices[n].ready.get(book.id, frozenset()) for n in book.devices}
            known = self._servable[book.id] = restrict(book, ready)
        return known

    def _start(
        self, request: Request, book: Playbook, choice: Choice, now: float
    ) -> list[GatewayAction]:
        """Begin an attempt from the input."""
        self._begin(request, book, choice, now)
        plan, index = book.plan(choice.plan), choice.start
        targets: tuple[str, ...]
        if choice.route:
            targets = choice.route[index]
        elif plan.stages[index].spread is Spread.ALL:
            targets = tuple(t for t in plan.stages[index].parts if self._usable(t))
        else:
            view = self._view(book, request.avoid, now)
            first = find_policy(book.policy.name).forward(book, plan, index, view)
            targets = (first,) if first is not None else ()
        request.holder = targets[0] if targets else ""
        request.touched.update(targets)
        task = Task(
            gateway=self.name,
            number=request.number,
            attempt=request.attempt,
            playbook=book.id,
            plan=plan.name,
            stage=index,
            giver=self.name,
            route=choice.route,
            budget_ms=(request.deadline - now) * 1e3,
            settled=self._settled,
        )
        return [Send(target, task, request.body) for target in targets]

    def _begin(self, request: Request, book: Playbook, choice: Choice, now: float) -> None:
        self._leave(request)
        plan = book.plan(choice.plan)
        request.attempt += 1
        request.playbook, request.plan = book.id, plan
        request.route, request.start, request.sent = choice.route, choice.start, now
        request.slices.clear()
        request.absent.clear()
        request.traces.clear()
        request.touched.update(name for names in choice.route for name in names)
        self._in_flight += 1
        self.devices.give(plan, choice.route, 1)
        self._timeouts.set(request.number, now + self._patience(request, plan))

    def _patience(self, request: Request, plan: Plan) -> float:
        if self._hedge_s is not None and request.attempt == 1:
            return self._hedge_s
        base = self._round_trip.timeout(plan.forecast.latency_ms / 1e3)
        return float(base * 2 ** min(6, request.attempt - 1 + request.extensions))

    def _leave(self, request: Request) -> None:
        """The attempt under way no longer counts."""
        if request.plan is not None:
            self.devices.give(request.plan, request.route, -1)
            self._in_flight -= 1
            request.plan = None
            self._timeouts.clear(request.number)

    # -- messages

    def _arrived(
        self, sender: str, message: Message, body: Body, now: float
    ) -> list[GatewayAction]:
        match message:
            case Answer():
                return self._answer(message, body, now)
            case Refused():
                return self._refused(sender, message, now)
            case Moved():
                request = self.requests.get(message.number)
                if request is not None and request.attempt == message.attempt:
                    request.holder = message.to
                    request.touched.add(message.to)
                    if request.in_flight and not self._usable(message.to):
                        return self._recover(request, message.to, now)
                return []
            case Installed():
                return self._installed(sender, message)
            case Hello(info):
                return self._hello(info)
            case _:
                return []

    def _answer(self, answer: Answer, body: Body, now: float) -> list[GatewayAction]:
        self.devices[answer.giver].load = answer.load
        request = self.requests.get(answer.number)
        if request is None or answer.gateway != self.name:
            return []
        plan = self._plan_of(answer.plan, request)
        stage = plan.stages[answer.stage] if plan and answer.stage < len(plan.stages) else None
        if plan is None or stage is None:
            return []
        if stage.spread is Spread.ONE or answer.left_early:
            given = Given({answer.giver: body})
            return self._deliver(request, plan, given, answer, now)
        if answer.attempt != request.attempt:
            return []
        request.slices.setdefault(answer.giver, body)
        request.absent.update(answer.absent)
        request.traces.update(dict.fromkeys(answer.trace))
        if stage.join is not None and len(request.slices) == 1:
            self._timeouts.set(request.number, now + stage.join.deadline_ms / 1e3)
        return self._gathered(request, now)

    def _plan_of(self, name: str, request: Request) -> Plan | None:
        if request.plan is not None and request.plan.name == name:
            return request.plan
        for book in self.books:
            if book.id == request.playbook or len(self.books) == 1:
                for plan in book.plans:
                    if plan.name == name:
                        return plan
        return None

    def _gathered(
        self, request: Request, now: float, without: frozenset[str] = frozenset()
    ) -> list[GatewayAction]:
        """Deliver when every slice of the last stage is there that can still come."""
        plan = request.plan
        if plan is None or not request.slices:
            return []
        last = plan.stages[-1]
        givers = set(request.route[-1] if request.route else last.parts)
        missing = {g for g in givers - set(request.slices) if g not in without and self._usable(g)}
        if missing:
            return []
        absent = givers - set(request.slices)
        if last.join is not None and len(request.slices) < last.join.least:
            request.fault(f"only {len(request.slices)} slices of the answer came")
            return self._again(request, now)
        request.absent |= absent
        answer = Answer(
            gateway=self.name,
            number=request.number,
            attempt=request.attempt,
            plan=plan.name,
            stage=len(plan.stages) - 1,
            giver="",
            absent=tuple(request.absent),
            trace=tuple(request.traces),
        )
        return self._deliver(request, plan, Given(dict(request.slices), last.join), answer, now)

    def _deliver(
        self, request: Request, plan: Plan, given: Given, answer: Answer, now: float
    ) -> list[GatewayAction]:
        if request.in_flight and answer.attempt == request.attempt:
            self._round_trip.observe(now - request.sent)
        self.devices.observe(plan, answer.trace)
        deliver = Deliver(
            number=request.number,
            given=given,
            plan=plan.name,
            attempts=request.attempt,
            left_early=answer.left_early,
            confidence=answer.confidence,
            absent=tuple(sorted(answer.absent)),
            trace=answer.trace,
        )
        return [deliver, *self._end(request, answered=True)]

    def _refused(self, sender: str, refused: Refused, now: float) -> list[GatewayAction]:
        self.devices[sender].load = refused.load
        request = self.requests.get(refused.number)
        if request is None or refused.attempt != request.attempt or request.plan is None:
            return []
        text = f"{sender}: {refused.why}" + (f" ({refused.text})" if refused.text else "")
        request.fault(text)
        actions: list[GatewayAction] = []
        match refused.why:
            case Why.OVERLOADED:
                request.not_before = now + _RETRY_S * 2 ** min(6, request.attempt)
                self._backoffs.set(request.number, request.not_before)
            case Why.DRAINING:
                self.devices[sender].draining = True
            case Why.UNKNOWN_PLAN | Why.PART_MISSING:
                actions += self._reinstall(sender, request.playbook)
            case Why.RUN_FAILED | Why.BAD_BODY:
                request.failures += 1
                request.avoid.add(sender)
                if request.failures >= MAX_FAILED_RUNS:
                    return [
                        Reject(request.number, "remote", text),
                        *self._end(request, answered=False),
                    ]
            case Why.NOT_KEPT | Why.PEER_ABSENT | Why.TOO_FEW_SLICES:
                pass
        if self._one_of_many(request, refused.stage, sender):
            return actions
        return actions + self._again(request, now)

    def _one_of_many(self, request: Request, stage: int, sender: str) -> bool:
        """Whether the others who run this stage can go on without ``sender``."""
        plan = request.plan
        if plan is None or stage >= len(plan.stages) or not request.route:
            return False
        return plan.stages[stage].spread is Spread.ALL and len(request.route[stage]) > 1

    def _reinstall(self, device: str, playbook: str) -> list[GatewayAction]:
        self.devices[device].ready.pop(playbook, None)
        self._servable.pop(playbook, None)
        return [Send(device, Install(book)) for book in self.books if book.id == playbook]

    # -- recovery

    def _recover(self, request: Request, device: str, now: float) -> list[GatewayAction]:
        """``device`` is lost to the attempt under way: go on from the tensor before it if its
        holder is there and some plan can, else begin again."""
        request.fault(f"{device} was lost")
        plan, route = request.plan, request.route
        if plan is None:
            return []
        if route:
            lost = next(
                i for i, names in enumerate(route) if i >= request.start and device in names
            )
            before = lost - 1
            if before >= request.start and plan.stages[before].spread is Spread.ONE:
                holder, names = route[before][0], plan.stages[before].outputs
                picked = self._choose(request, now, names) if self._usable(holder) else None
                if picked is not None:
                    return self._resume(request, holder, *picked, now)
        return self._again(request, now)

    def _resume(
        self, request: Request, holder: str, book: Playbook, choice: Choice, now: float
    ) -> list[GatewayAction]:
        self._begin(request, book, choice, now)
        resume = Resume(
            gateway=self.name,
            number=request.number,
            attempt=request.attempt,
            playbook=book.id,
            plan=choice.plan,
            stage=choice.start,
            route=choice.route,
            budget_ms=(request.deadline - now) * 1e3,
        )
        request.holder = holder
        return [Send(holder, resume)]

    def _again(self, request: Request, now: float) -> list[GatewayAction]:
        """Begin again from the input: at once when something can serve it, else when it can."""
        self._leave(request)
        if request.attempt >= MAX_ATTEMPTS:
            text = f"gave up after {request.attempt} attempts: {'; '.join(request.faults)}"
            return [Reject(request.number, "remote", text), *self._end(request, answered=False)]
        if request.not_before <= now:
            picked = self._choose(request, now)
            if picked is not None:
                return self._start(request, *picked, now)
        self._waiting.appendleft(request.number)
        return []

    def _timed_out(self, request: Request, now: float) -> list[GatewayAction]:
        """No answer in time, though nobody is known to be lost."""
        plan = request.plan
        if plan is None:
            return []
        if request.slices and plan.stages[-1].spread is Spread.ALL:
            missing = frozenset(request.route[-1] if request.route else plan.stages[-1].parts)
            return self._gathered(request, now, without=missing)
        doubted = {names[0] for names in request.route if len(names) == 1} or {request.holder}
        picked = self._choose_without(request.avoid | doubted, now)
        if picked is None and request.extensions % 3 < 2:
            request.extensions += 1
            self._timeouts.set(request.number, now + self._patience(request, plan))
            return []
        request.extensions += 1
        request.fault(f"no answer from {', '.join(sorted(doubted))} in time")
        if picked is not None:
            return self._start(request, *picked, now)
        return self._again(request, now)

    def _lost(self, name: str, now: float) -> list[GatewayAction]:
        actions: list[GatewayAction] = []
        for request in list(self.requests.values()):
            if request.relies_on(name):
                actions += self._recover(request, name, now)
            elif request.slices:
                actions += self._gathered(request, now)
        return actions

    def _tick(self, now: float) -> list[GatewayAction]:
        self._wake = None
        actions: list[GatewayAction] = []
        for number in self._deadlines.due(now):
            request = self.requests.get(number)
            if request is not None:
                actions += [self._too_late(request), *self._end(request, answered=False)]
        for number in self._timeouts.due(now):
            request = self.requests.get(number)
            if request is not None:
                actions += self._timed_out(request, now)
        self._backoffs.due(now)
        self.members.expire(now)
        return actions

    def _too_late(self, request: Request) -> Reject:
        waited_ms = (request.deadline - request.admitted) * 1e3
        heard = f" ({'; '.join(request.faults)})" if request.faults else ""
        if request.in_flight:
            return Reject(request.number, "deadline", f"no answer within {waited_ms:.0f} ms{heard}")
        away = sorted({n for b in self.books for n in b.devices if not self._usable(n)})
        who = f"; not there: {', '.join(away)}" if away else ""
        text = f"nothing alive could serve it within {waited_ms:.0f} ms{who}{heard}"
        return Reject(request.number, "unserved" if away else "deadline", text)

    # -- ends

    def _end(self, request: Request, answered: bool) -> list[GatewayAction]:
        """Forget a request; tell those who may still work on it."""
        busy = request.touched if request.attempt > 1 or not answered else set()
        self._leave(request)
        del self.requests[request.number]
        self._deadlines.clear(request.number)
        self._timeouts.clear(request.number)
        self._backoffs.clear(request.number)
        self._settled = next(iter(self.requests), request.number + 1)
        forget = Forget(self.name, (request.number,))
        actions: list[GatewayAction] = [
            Send(name, forget) for name in sorted(busy) if self.members.alive(name)
        ]
        return actions + self._retire()

    def _retire(self) -> list[GatewayAction]:
        """Let go of playbooks that a newer one has replaced."""
        actions: list[GatewayAction] = []
        while len(self.books) > 1:
            old, new = self.books[0], self.books[-1]
            if self.unready(new) or any(r.playbook == old.id for r in self.requests.values()):
                break
            self.books.pop(0)
            self._memory.pop(old.id, None)
            self._servable.pop(old.id, None)
            actions += [
                Send(n, Uninstall(old.id)) for n in sorted(old.devices) if self.members.alive(n)
            ]
        return actions

    # -- devices

    def _appeared(self, name: str, incarnation: str, now: float) -> list[GatewayAction]:
        known = self.members.get(name)
        restarted = known is not None and known.incarnation != incarnation
        self.members.appeared(name, incarnation, now)
        self.devices.restarted(name, incarnation)
        self._servable.clear()
        return self._lost(name, now) if restarted else []

    def _hello(self, info: DeviceInfo) -> list[GatewayAction]:
        if not self.members.hello(info):
            return []
        device = self.devices[info.name]
        device.draining = info.draining
        return [
            Send(info.name, Install(book))
            for book in self.books
            if info.name in book.devices and book.id not in device.ready
        ]

    def _installed(self, sender: str, message: Installed) -> list[GatewayAction]:
        device = self.devices[sender]
        device.ready[message.playbook] = frozenset(message.ready)
        device.refused[message.playbook] = message.refused
        self._servable.pop(message.playbook, None)
        return self._retire()

    def _next_wake(self) -> list[GatewayAction]:
        clocks = (self._deadlines, self._timeouts, self._backoffs)
        soonest = [clock.next() for clock in clocks] + [self.members.next_expiry()]
        wake = min((t for t in soonest if t is not None), default=None)
        if wake is None or wake == self._wake:
            return []
        self._wake = wake
        return [Wake(wake)]


def restrict(book: Playbook, ready: dict[str, frozenset[str]]) -> Playbook:
    """The plans of ``book`` that can be run with the parts that are ``ready``, each stage with
    the holders that have its part."""
    plans = []
    for plan in book.plans:
        stages = []
        for stage in plan.stages:
            parts = {d: p for d, p in stage.parts.items() if p in ready.get(d, frozenset())}
            if parts:
                stages.append(msgspec.structs.replace(stage, parts=parts))
        if len(stages) == len(plan.stages):
            plans.append(msgspec.structs.replace(plan, stages=tuple(stages)))
    return msgspec.structs.replace(book, plans=tuple(plans))
