"""Attempts under way: how they begin, how long they may take, how they are given up."""

from __future__ import annotations

import math

from shoal.core.actions import Probe, Send
from shoal.core.gateway.chooser import Chooser, Pick
from shoal.core.gateway.devices import Devices
from shoal.core.gateway.playbooks import Playbooks
from shoal.core.gateway.request import Request, RoundTrip
from shoal.core.gateway.settling import Settling
from shoal.core.gateway.usable import Usable
from shoal.core.messages import Care, Itinerary, Resume, Route, Task
from shoal.core.policy import Hold
from shoal.core.shared.gather import Gather
from shoal.core.shared.membership import Membership
from shoal.core.shared.routes import Hop, devices_at, left_out, next_hop
from shoal.core.shared.timers import Timers
from shoal.errors import PolicyError
from shoal.plan.plan import Plan, Spread

ROUND = 3
"""So many times is waited before the same devices are asked again; then twice as long."""
_MOST_PATIENCE = 6


class Flights:
    """The attempts under way of one gateway. ``doubts`` rings for those that take too long."""

    def __init__(
        self,
        gateway: str,
        members: Membership,
        devices: Devices,
        playbooks: Playbooks,
        usable: Usable,
        chooser: Chooser,
        settling: Settling,
        hedge_s: float | None,
        timeout_floor_s: float,
    ) -> None:
        self.gateway = gateway
        self.incarnation = ""
        self.count = 0
        self.held_until = -math.inf
        """Until when a policy wanted to wait with a request that was to begin, in seconds."""
        self.doubts: Timers[int] = Timers()
        self._members = members
        self._devices = devices
        self._playbooks = playbooks
        self._usable = usable
        self._chooser = chooser
        self._settling = settling
        self._hedge_s = hedge_s
        self._timeout_floor_s = timeout_floor_s

    def begin(self, request: Request, pick: Pick, now: float) -> list[Send | Probe] | None:
        """Begin an attempt; None when nobody can take its first step."""
        book, choice, source, without = pick.book, pick.choice, pick.source, pick.without
        plan = book.plans[choice.plan]
        if source is None:
            try:
                hop = self._first_hop(request, pick, plan, now)
            except PolicyError as error:
                self._chooser.broken[request.number] = str(error)
                return None
            if isinstance(hop, Hold):
                self.held_until = hop.until
            if hop is None or isinstance(hop, Hold):
                return None
            route, targets = hop.route, hop.targets
            absent = tuple(sorted(left_out(plan, choice.start, hop)))
        else:
            route, targets, absent = choice.route, (source.holder,), ()
        book.memory = pick.memory
        self.leave(request)
        self._playbooks.follow(request.playbook, book.id)
        request.begin(book.id, plan, choice.start, now, choice.unmet)
        request.route, request.source, request.values = route, source, choice.values
        request.gather = self._gather(plan, route)
        stages = range(choice.start, len(plan.stages))
        asked = {*targets, *(name for stage in stages for name in devices_at(route, stage))}
        request.touched |= asked
        request.lives |= {name: self._members.life(name) for name in asked}
        self._devices.give(request.given, plan, route, stages, request.images)
        self.count += 1
        self.doubts.set(request.number, now + self.patience_s(request))
        budget_ms = (request.deadline - now) * 1e3
        probes = [Probe(choice.probe)] if self._members.alive(choice.probe) else []
        itinerary = self._itinerary(request, plan, without)
        about = self.gateway, self.incarnation, request.number, request.attempt
        if source is not None:
            resume = Resume(*about, request.start, budget_ms, itinerary)
            return [Send(source.holder, resume), *probes]
        task = Task(
            *about,
            stage=request.start,
            giver=self.gateway,
            budget_ms=budget_ms,
            settled=self._settling.settled,
            absent=absent,
            itinerary=itinerary,
        )
        return [*(Send(target, task, request.body, plan.codec) for target in targets), *probes]

    def leave(self, request: Request) -> None:
        """The attempt under way of a request, if any, is given up or over."""
        if request.plan is not None:
            request.plan = None
            self.count -= 1
            self.doubts.clear(request.number)

    def extend(self, request: Request, now: float) -> None:
        """Wait longer for the attempt under way."""
        request.extensions += 1
        self.doubts.set(request.number, now + self.patience_s(request))

    def patience_s(self, request: Request) -> float:
        """How long to wait before the attempt under way is doubted; longer each time that this
        was wrong for this request, so that a crowd is not made worse by what it delays."""
        plan = request.plan
        if plan is None:
            return 0.0
        trip = self._trip(request.playbook, plan.name, request.images)
        forecast_s = request.images * plan.forecast.latency_ms / 1e3
        bound_s = trip.timeout(forecast_s, self.under_way(request) * plan.slack_ms / 1e3)
        if self._hedge_s is not None and self.hedges(request):
            return min(self._hedge_s, bound_s)
        rounds = request.extensions // ROUND
        return float(bound_s * 2 ** min(_MOST_PATIENCE, rounds))

    def under_way(self, request: Request) -> int:
        """How many images are under way, as far as that is known without counting: those of
        ``request``, and at least one of each other."""
        return request.images + self.count - 1

    def hedges(self, request: Request) -> bool:
        """Whether the next doubt about a request is not one, but a hedge."""
        usual = request.care is Care.NONE and request.attempt == 1 and not request.extensions
        return self._hedge_s is not None and usual

    def answered(self, playbook: str, plan: str, images: int, seconds: float) -> None:
        """Take in the time of an attempt, at a request of so many images, that was answered."""
        if self._playbooks.get(playbook) is not None:
            self._trip(playbook, plan, images).observe(seconds)

    def _trip(self, playbook: str, plan: str, images: int) -> RoundTrip:
        book = self._playbooks.get(playbook)
        trips = book.trips if book is not None else {}
        about = plan, images.bit_length()  # requests of twice as many take about as long
        trip = trips.get(about)
        if trip is None:
            trip = trips[about] = RoundTrip(self._timeout_floor_s)
        return trip

    def _first_hop(self, request: Request, pick: Pick, plan: Plan, now: float) -> Hop | Hold | None:
        book, choice = pick.book, pick.choice
        without = pick.without
        if not choice.route:
            tight = self._chooser.tight(request, now)
            without = (
                *without,
                *self._devices.full(now, request.given),
                *(link.taker for link in tight if link.giver == self.gateway),
            )
        view = self._chooser.view(book, without, now, request.images)
        playbook = self._usable.current(book)
        able = next((p for p in playbook.plans if p.name == plan.name), plan)
        alive = self._members.alive
        hop, memory = next_hop(
            book.policy, playbook, able, choice.start, choice.route, view, alive, book.hops_memory
        )
        if hop is not None:
            book.hops_memory = memory
        return hop

    def _gather(self, plan: Plan, route: Route) -> Gather | None:
        last = plan.stages[-1]
        if last.spread is Spread.ONE:
            return None
        givers = devices_at(route, len(plan.stages) - 1) or tuple(last.parts)
        awaited = set(filter(self._members.alive, givers))
        return Gather(awaited, last.join, codec=plan.alike(len(plan.stages)))

    def _itinerary(self, request: Request, plan: Plan, without: tuple[str, ...]) -> Itinerary:
        stages = range(request.start, len(plan.stages))
        return Itinerary(
            playbook=request.playbook,
            plan=plan.name,
            route=request.route,
            start=request.start,
            without=without,
            images=request.images,
            care=request.care,
            values=request.values,
            free=any(not devices_at(request.route, stage) for stage in stages),
            traced=request.traced,
        )
