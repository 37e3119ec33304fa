"""How far a worker has got with each request: what is older than that is not worked on."""

from __future__ import annotations

from collections import OrderedDict


class Attempts:
    """The newest attempt heard of and the last stage run for it, per request. The ``limit``
    newest requests of each gateway are remembered."""

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._newest: dict[str, OrderedDict[int, tuple[int, int]]] = {}
        self._settled: dict[str, int] = {}

    def stale(self, gateway: str, number: int, attempt: int, stage: int | None = None) -> bool:
        """Whether the request is over, a newer attempt is known, or this one is past ``stage``."""
        if number < self.settled(gateway):
            return True
        newest, done = self._of(gateway).get(number, (-1, -1))
        return attempt < newest or (stage is not None and attempt == newest and stage <= done)

    def note(self, gateway: str, number: int, attempt: int) -> bool:
        """Remember an attempt; True when an older one of this request was known."""
        newest = self._newest.setdefault(gateway, OrderedDict())
        known = newest.get(number)
        if known is None or attempt > known[0]:
            newest[number] = (attempt, -1)
            if len(newest) > self._limit:
                newest.popitem(last=False)
        return known is not None and attempt > known[0]

    def done(self, gateway: str, number: int, attempt: int, stage: int) -> None:
        """A stage of an attempt has been run."""
        newest = self._of(gateway)
        known = newest.get(number)
        if known is not None and known[0] == attempt:
            newest[number] = (attempt, max(stage, known[1]))

    def settled(self, gateway: str) -> int:
        """All requests of ``gateway`` numbered below this are over."""
        return self._settled.get(gateway, 0)

    def settle(self, gateway: str, below: int) -> bool:
        """Requests numbered under ``below`` are over; False when that was known."""
        if below <= self.settled(gateway):
            return False
        self._settled[gateway] = below
        newest = self._of(gateway)
        for number in [n for n in newest if n < below]:
            del newest[number]
        return True

    def over(self, gateway: str, number: int) -> None:
        """A single request is over: no attempt of it is worked on any more."""
        self._newest.setdefault(gateway, OrderedDict())[number] = (1 << 62, 0)

    def _of(self, gateway: str) -> dict[int, tuple[int, int]]:
        return self._newest.get(gateway, {})

    def forget(self, gateway: str) -> None:
        """The gateway is gone."""
        self._newest.pop(gateway, None)
        self._settled.pop(gateway, None)
