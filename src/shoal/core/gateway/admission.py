"""How much of what waits may begin now, and when those who are turned away may come back."""

from __future__ import annotations

import math
from typing import Any

from shoal.core.gateway.chooser import Chooser
from shoal.core.gateway.flights import Flights
from shoal.core.gateway.playbooks import Playbooks
from shoal.core.gateway.usable import Usable
from shoal.core.policy import check_limit, deciding
from shoal.errors import PolicyError

LEAST_WINDOW = 4
_SMOOTHING = 0.1
_SURE = 0.7
"""The share of a deadline by which an answer must be expected."""
_OUTLIER = 4.0
_FORGETTING = 0.01
LEAST_RETRY_S, MOST_RETRY_S = 0.1, 60.0


class Admission:
    """The admission of one gateway. Where the policy of the playbook that is asked first does not
    say how much may be under way, it is as much as keeps all devices busy."""

    def __init__(
        self,
        playbooks: Playbooks,
        usable: Usable,
        chooser: Chooser,
        flights: Flights,
        window_per_device: int,
    ) -> None:
        self.opens: float | None = None
        """From when on the policy may let another begin, in seconds; None where it is not asked.
        It may change its mind before, or without anything that happens here."""
        self._playbooks = playbooks
        self._usable = usable
        self._chooser = chooser
        self._flights = flights
        self._window_per_device = window_per_device
        self._memories: dict[str, Any] = {}
        self._answered = -math.inf
        self._pace_s = 0.0  # between two answers while others wait

    def may_begin(self, now: float) -> bool:
        """Whether another attempt may begin."""
        books = self._usable.ordered()
        book = books[0] if books else None
        self.opens = None
        if book is None or book.admits is None:
            return self._flights.count < self.window
        view = self._chooser.view(book, (), now)
        playbook = self._usable.current(book)
        try:
            with deciding(playbook):
                limit, memory = book.admits.admit(
                    playbook, view, self._flights.count, self._memories.get(book.id)
                )
                check_limit(limit)
        except PolicyError:
            return self._flights.count < self.window
        self._memories = {book.id: memory}
        self.opens = limit.not_before
        return now >= limit.not_before and self._flights.count < limit.under_way

    @property
    def window(self) -> int:
        """As many attempts as keep all devices busy, one batch waiting while the last one runs."""
        per_device = max(self._window_per_device, 2 * self._playbooks.largest_batch())
        return max(LEAST_WINDOW, per_device * self._usable.devices())

    def answered(self, now: float, waiting: bool) -> None:
        """A request was answered; ``waiting``: others wait, so the devices are as busy as they can
        be. At other times the pace is that of the clients, and what was known of it is
        forgotten."""
        if self._answered > -math.inf:
            took_s = min(now - self._answered, MOST_RETRY_S)
            if self._pace_s:  # one that stood still for a moment says little of the next
                took_s = min(took_s, _OUTLIER * self._pace_s)
            self._pace_s += (_SMOOTHING if self._pace_s else 1.0) * (took_s - self._pace_s)
        elif not waiting:  # they keep up: perhaps they have become quicker
            self._pace_s *= 1 - _FORGETTING
        self._answered = now if waiting else -math.inf

    def stalled(self) -> None:
        """Nothing is under way, and what waits can be given to nobody: how long that lasts says
        nothing of the pace."""
        self._answered = -math.inf

    def in_time(self, before: int, budget_s: float) -> bool:
        """Whether a request is to be expected to be answered within ``budget_s``, after so many
        ``before`` it."""
        return self._pace_s * (before + 1) <= _SURE * budget_s

    def retry_after_s(self, pending: int) -> float:
        """When a quarter of so many requests will be over, at the pace at which they are: till then
        to come back would hardly help."""
        return min(MOST_RETRY_S, max(LEAST_RETRY_S, self._pace_s * pending / 4))
