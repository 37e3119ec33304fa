"""What a worker has made and holds, since its policy waits for a better moment to pass it on."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from shoal.core.messages import Itinerary, Resume, Task
from shoal.core.worker.attempts import RequestKey, request_of
from shoal.core.worker.kept import Output
from shoal.plan.plan import Plan


class Held(NamedTuple):
    """An output that is to be passed on as ``follow`` says, where ``itinerary`` leads by ``plan``.
    Nobody needs it after ``expires``, and it is looked at again at ``until``, in seconds, or when
    something has changed."""

    follow: Task | Resume
    itinerary: Itinerary
    plan: Plan
    output: Output
    expires: float
    until: float

    @property
    def step(self) -> tuple[str, str, int]:
        """What is decided about: what holds for one of a step holds for all of it."""
        return self.itinerary.playbook, self.itinerary.plan, self.follow.stage


class Outgoing:
    """What one worker holds, one output per request, at most ``limit`` of ``limit_bytes`` in all.
    ``changed`` says that something was learned since the policies were asked last."""

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self.changed = False
        self._limit, self._limit_bytes = limit, limit_bytes
        self._bytes = 0
        self._held: OrderedDict[RequestKey, Held] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, held: Held) -> bool:
        """Hold an output, in the place of an older one of its request; False: there is no room."""
        request, size = request_of(held.follow), held.output.size
        before = self._held.get(request)
        others = len(self._held) - (before is not None)
        bytes_of_others = self._bytes - (before.output.size if before is not None else 0)
        if others >= self._limit or (others and bytes_of_others + size > self._limit_bytes):
            self.drop(request)
            return False
        self._held[request] = held
        self._bytes = bytes_of_others + size
        return True

    def until(self, request: RequestKey) -> float | None:
        """Until when the output of a request is held, in seconds; None: it is not."""
        held = self._held.get(request)
        return None if held is None else held.until

    @property
    def playbooks(self) -> set[str]:
        """Those by which it goes on."""
        return {held.itinerary.playbook for held in self._held.values()}

    def drop(self, request: RequestKey) -> None:
        """Hold nothing of a request any more."""
        held = self._held.pop(request, None)
        if held is not None:
            self._bytes -= held.output.size

    def drop_owner(self, gateway: str, but: str | None = None) -> None:
        """Hold nothing of a gateway any more, except for its incarnation ``but``."""
        for request in [r for r in self._held if r[0] == gateway and r[1] != but]:
            self.drop(request)

    def due(self, now: float) -> list[Held]:
        """What is to be looked at now, oldest first; what has expired is let go."""
        if not self._held:
            self.changed = False
            return []
        for request in [r for r, held in self._held.items() if held.expires <= now]:
            self.drop(request)
        changed, self.changed = self.changed, False
        return [held for held in self._held.values() if changed or held.until <= now]

    def next(self) -> float | None:
        """When :meth:`due` has something to give next if nothing changes, in seconds."""
        if not self._held:
            return None
        return min(min(held.until, held.expires) for held in self._held.values())
