"""The stories that ``shoal run`` tells: of requests that failed, and of the slowest."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from shoal.cli.asking import End
from shoal.errors import RequestError, ShoalError

if TYPE_CHECKING:
    from shoal.core.story import Story
    from shoal.runtime.service import Service


class Stories:
    """The stories of ``most`` requests of a service: the first that failed, then the slowest. Each
    is asked for when its request ends, since the log forgets."""

    def __init__(self, service: Service, most: int) -> None:
        self._service = service
        self._most = most
        self._ranked: list[tuple[tuple[bool, float], int, Story]] = []

    def take(self, end: End) -> None:
        """A request has ended; it may be among them."""
        outcome = end.outcome
        if isinstance(outcome, ShoalError):
            number = outcome.number if isinstance(outcome, RequestError) else None
            rank = True, -float(end.number)
        else:
            number, rank = outcome.number, (False, outcome.latency_ms)
        if number is None or any(number == told for _, told, _ in self._ranked):
            return  # it was never asked for, or several images were in it
        if len(self._ranked) < self._most:
            heapq.heappush(self._ranked, (rank, number, self._service.story(number)))
        elif self._ranked and rank > self._ranked[0][0]:
            heapq.heapreplace(self._ranked, (rank, number, self._service.story(number)))

    @property
    def told(self) -> list[Story]:
        """Those that failed in the order in which they were asked, then the slowest first."""
        return [story for _, _, story in sorted(self._ranked, reverse=True)]
