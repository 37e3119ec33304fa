"""What a worker was told of the attempts that it works for, and the tasks that came before that.

Where an attempt goes is told to each hop once. Those that it gets to on several ways may get a
slice on the one before they are told on the other: it waits here.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from shoal.core.events import Body
from shoal.core.messages import Itinerary, Task
from shoal.core.worker.attempts import RequestKey, request_of

MAX_KNOWN = 4096


class Early(NamedTuple):
    """A task of which it is not known yet where it goes, its body of ``size`` bytes, and until when
    (seconds) it is waited for that."""

    task: Task
    body: Body
    size: int
    expires: float


class Itineraries:
    """Those of one worker: the newest attempt at each request, the ``limit`` latest requests."""

    def __init__(self, limit: int = MAX_KNOWN) -> None:
        self._limit = limit
        self._known: OrderedDict[RequestKey, tuple[int, Itinerary]] = OrderedDict()
        self._early: dict[RequestKey, list[Early]] = {}

    def __len__(self) -> int:
        """How many are known."""
        return len(self._known)

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return sum(map(len, self._early.values()))

    def learn(self, request: RequestKey, attempt: int, itinerary: Itinerary) -> None:
        """An attempt, and where it goes."""
        self._known[request] = attempt, itinerary
        self._known.move_to_end(request)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def of(self, request: RequestKey, attempt: int) -> Itinerary | None:
        """Where an attempt goes, if that was told."""
        known = self._known.get(request)
        return known[1] if known is not None and known[0] == attempt else None

    def wait(self, early: Early) -> None:
        """Keep a task until it is told where it goes."""
        self._early.setdefault(request_of(early.task), []).append(early)

    def take(self, request: RequestKey) -> list[Early]:
        """Take out the tasks of a request that wait."""
        return self._early.pop(request, [])

    def late(self, now: float) -> list[Early]:
        """Take out those that are not waited for any longer."""
        if not self._early:
            return []
        late = [one for early in self._early.values() for one in early if one.expires <= now]
        for one in late:
            request = request_of(one.task)
            self._early[request].remove(one)
            if not self._early[request]:
                del self._early[request]
        return late

    def next(self) -> float | None:
        """When :meth:`late` has something to give next, in seconds."""
        if not self._early:
            return None
        return min(one.expires for early in self._early.values() for one in early)

    def drop(self, request: RequestKey) -> list[Early]:
        """Forget a request; the tasks of it that waited."""
        self._known.pop(request, None)
        return self.take(request)

    def settle(self, gateway: str, incarnation: str, below: int) -> list[Early]:
        """Take out the tasks that wait of requests of a gateway that are over."""
        owner = gateway, incarnation
        over = [r for r in self._early if r[:2] == owner and r[2] < below]
        return [one for request in over for one in self.take(request)]

    def drop_owner(self, gateway: str, but: str | None = None) -> list[Early]:
        """Forget the requests of a gateway, except for those of its incarnation ``but``."""
        gone = {r for r in (*self._known, *self._early) if r[0] == gateway and r[1] != but}
        return [one for request in gone for one in self.drop(request)]
