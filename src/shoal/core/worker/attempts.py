"""How far a worker has got with each request: what is older than that is not worked on."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TypeAlias

from shoal.core.events import JobKey
from shoal.core.messages import RequestMessage

Owner: TypeAlias = tuple[str, str]
"""A gateway and its incarnation."""
RequestKey: TypeAlias = tuple[str, str, int]
"""A gateway, its incarnation, and the number of a request."""


def request_of(about: RequestMessage | JobKey) -> RequestKey:
    """The request that a message or a job is about."""
    return about.gateway, about.incarnation, about.number


@dataclass(slots=True)
class _Owned:
    """The requests of one gateway: newest attempt and last stage done by number; a heap of these
    numbers; and the number below which all are over."""

    newest: dict[int, tuple[int, int]] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    settled: int = 0


_NOTHING = _Owned()
_OVER = 1 << 62


class Attempts:
    """The newest attempt heard of and the last stage run for it, per request. Of each gateway the
    ``limit`` latest requests are remembered, of gateways the ``owners`` latest."""

    def __init__(self, limit: int = 4096, owners: int = 256) -> None:
        self._limit, self._max_owners = limit, owners
        self._owners: OrderedDict[Owner, _Owned] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(owned.newest) for owned in self._owners.values())

    def stale(self, request: RequestKey, attempt: int, stage: int) -> bool:
        """Whether the request is over, a newer attempt is known, or this one is past ``stage``."""
        owned = self._owners.get(request[:2], _NOTHING)
        if request[2] < owned.settled:
            return True
        newest, done = owned.newest.get(request[2], (-1, -1))
        return attempt < newest or (attempt == newest and stage <= done)

    def superseded(self, request: RequestKey, attempt: int) -> bool:
        """Whether the request is over or a newer attempt is known."""
        owned = self._owners.get(request[:2], _NOTHING)
        return request[2] < owned.settled or attempt < owned.newest.get(request[2], (-1, -1))[0]

    def note(self, request: RequestKey, attempt: int) -> bool:
        """Remember an attempt; True when an older one of this request was known."""
        owned = self._owned(request[:2])
        known = owned.newest.get(request[2])
        if known is not None and attempt <= known[0]:
            return False
        self._put(owned, request[2], (attempt, -1))
        return known is not None

    def done(self, request: RequestKey, attempt: int, stage: int) -> None:
        """A stage of an attempt has been run."""
        owned = self._owners.get(request[:2], _NOTHING)
        known = owned.newest.get(request[2])
        if known is not None and known[0] == attempt and stage > known[1]:
            owned.newest[request[2]] = (attempt, stage)

    def settled(self, owner: Owner) -> int:
        """All requests of ``owner`` numbered below this are over."""
        return self._owners.get(owner, _NOTHING).settled

    def settle(self, owner: Owner, below: int) -> list[int]:
        """Requests numbered under ``below`` are over; those of them that were known."""
        if below <= self.settled(owner):
            return []
        owned = self._owned(owner)
        owned.settled = below
        numbers = []
        while owned.numbers and owned.numbers[0] < below:
            number = heapq.heappop(owned.numbers)
            del owned.newest[number]
            numbers.append(number)
        return numbers

    def over(self, request: RequestKey) -> None:
        """A single request is over: no attempt of it is worked on any more."""
        owned = self._owned(request[:2])
        if request[2] >= owned.settled:
            self._put(owned, request[2], (_OVER, 0))

    def forget(self, gateway: str, but: str | None = None) -> None:
        """The gateway is gone, except for its incarnation ``but``."""
        for owner in [o for o in self._owners if o[0] == gateway and o[1] != but]:
            del self._owners[owner]

    def _owned(self, owner: Owner) -> _Owned:
        owned = self._owners.get(owner)
        if owned is None:
            owned = self._owners[owner] = _Owned()
            if len(self._owners) > self._max_owners:
                self._owners.popitem(last=False)
        return owned

    def _put(self, owned: _Owned, number: int, state: tuple[int, int]) -> None:
        if number not in owned.newest:
            heapq.heappush(owned.numbers, number)
        owned.newest[number] = state
        if len(owned.numbers) > self._limit:
            del owned.newest[heapq.heappop(owned.numbers)]
