"""What a gateway has in hand: peers, devices, playbooks and requests, and how a request ends."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from shoal.core.actions import GatewayAction, Send
from shoal.core.events import Body
from shoal.core.gateway.admission import Admission
from shoal.core.gateway.chooser import Chooser
from shoal.core.gateway.devices import Devices
from shoal.core.gateway.flights import Flights
from shoal.core.gateway.installing import Installing
from shoal.core.gateway.loads import Loads
from shoal.core.gateway.playbooks import Playbooks
from shoal.core.gateway.queue import Queue
from shoal.core.gateway.repairing import Repairing
from shoal.core.gateway.request import Request
from shoal.core.gateway.settling import Settling
from shoal.core.gateway.suspects import Digests, Suspects
from shoal.core.gateway.usable import Usable
from shoal.core.log import Log
from shoal.core.messages import Care, Forget
from shoal.core.policy import Policy
from shoal.core.settings import GatewaySettings
from shoal.core.shared.membership import Membership
from shoal.core.shared.timers import Timers, soonest


class GatewayState:
    """The state of one gateway, shared by those who decide about it."""

    def __init__(
        self,
        name: str,
        policies: Callable[[str], Policy],
        settings: GatewaySettings,
        digest: Callable[[Body], Digests],
        log: Log,
    ) -> None:
        self.name = name
        self.log = log
        self.requests: OrderedDict[int, Request] = OrderedDict()
        self.last_number = -1
        self.members = Membership()
        self.devices = Devices(name)
        self.loads = Loads()
        self.playbooks = Playbooks(policies)
        self.usable = Usable(self.members, self.devices, self.playbooks)
        self.installing = Installing(
            self.members, self.devices, self.playbooks, self.usable, self.loads
        )
        self.repairing = Repairing(self.members, self.devices, self.playbooks, self.installing)
        self.suspects = Suspects(digest)
        self.chooser = Chooser(name, self.playbooks, self.usable, self.devices, self.requests)
        self.settling = Settling()
        self.flights = Flights(
            name,
            self.members,
            self.devices,
            self.playbooks,
            self.usable,
            self.chooser,
            self.settling,
            settings.hedge_s,
            settings.timeout_floor_s,
        )
        self.queue = Queue()
        self.deadlines: Timers[int] = Timers()
        self.admission = Admission(
            self.playbooks,
            self.usable,
            self.chooser,
            self.flights,
            settings.window_per_device,
        )

    def may_run(self, request: Request, now: float) -> bool:
        """Whether a request may be given to anybody; ``care`` is how it is then run."""
        self.suspects.expire(now)
        care: Care | None = Care.NONE
        if self.suspects:
            care = self.suspects.care(self.digests(request))
        request.care = care or Care.NONE
        return care is not None

    def digests(self, request: Request) -> Digests:
        """The digests of a request."""
        if not request.digests:
            request.digests = self.log.digested(self.suspects.digest(request.body))
        return request.digests

    def fault(self, request: Request, text: str) -> None:
        """Something went wrong with a request."""
        request.fault(text)
        self.log.remark(request.number, text)

    def end(
        self, request: Request, now: float, stop: bool, answered: bool = False
    ) -> list[GatewayAction]:
        """Forget a request; ``stop``: somebody may still work on it and shall not."""
        if answered:
            self.suspects.clear(request.digests)
            self.admission.answered(now, bool(self.queue))
        elif request.in_flight:
            self.suspects.note_late(
                request.number, self.digests(request), request.lives, request.going, now
            )
        self.flights.leave(request)
        self.playbooks.follow(request.playbook, "")
        self.devices.take_back_all(request.given)
        del self.requests[request.number]
        self.deadlines.clear(request.number)
        self.queue.drop(request.number)
        self.settling.settled = next(iter(self.requests), self.last_number + 1)
        self.owe(request.touched, request.number, now)
        actions: list[GatewayAction] = []
        if stop:
            forget = self.forget(request.number)
            alive = sorted(filter(self.members.alive, request.touched))
            actions += [Send(name, forget) for name in alive]
        return [*actions, *self.installing.retire()]

    def owe(self, devices: Iterable[str], number: int, now: float) -> None:
        """Devices that may come back are to hear that a request is over."""
        self.settling.note((d for d in devices if not self.members.gone(d)), number, now)

    def forget(self, *numbers: int) -> Forget:
        """The message that requests are over: ``numbers``, and all that are settled."""
        return Forget(self.name, self.flights.incarnation, numbers, self.settling.settled)

    def due(self, now: float) -> list[GatewayAction]:
        """What time asks for that is not about a single request."""
        self.queue.due(now)
        actions: list[GatewayAction] = [*self.installing.due(now), *self.repairing.due(now)]
        forget = self.forget()
        actions += [Send(name, forget) for name in self.settling.due(now, self.members.alive)]
        for name in self.members.expire(now):
            self.settling.forget(name)
            self.chooser.links.pop(name, None)
            if not self.playbooks.names(name):
                self.devices.forget(name)
        return actions

    def next_due(self) -> float:
        """When something is due next, in seconds; infinite for never."""
        return soonest(
            self.deadlines.next(),
            self.flights.doubts.next(),
            self.queue.next(),
            self.installing.next(),
            self.repairing.next(),
            self.settling.next(),
            self.members.next_expiry(),
        )
