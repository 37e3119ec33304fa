"""What a worker says of itself unasked: what it has loaded, and how busy it is."""

from __future__ import annotations

from collections.abc import Callable

from shoal.core.actions import Send
from shoal.core.messages import Busy, DeviceInfo, Hello, Holding, Load
from shoal.core.shared.membership import Membership
from shoal.core.worker.library import Library

PERIOD_S = 0.1
"""Least time between two reports of the load, and so about how old what peers know may be."""


class Reports:
    """The reports of one worker.

    All peers hear what is loaded, when it has changed and nothing more is being loaded. How busy
    it is, only those hear who choose between this worker and another for some stage, when it has
    changed (gateways learn it from answers), or when something was ``taken`` since: whoever gave it
    counts that until they hear more.
    """

    def __init__(self, library: Library, members: Membership, load: Callable[[], Load]) -> None:
        self._library = library
        self._members = members
        self._load = load
        self._held: tuple[str, ...] = ()
        self._busy = Load()
        self._not_before = 0.0
        self.taken = False

    def greeting(self, info: DeviceInfo, to: str) -> list[Send]:
        """What a peer that has appeared is told. One that chooses may remember a load of before it
        was out of sight, and would shun this worker for as long as that does not change."""
        sends = [Send(to, Hello(info))]
        if self._held:
            sends.append(Send(to, Holding(self._held)))
        if to in self._library.choosers:
            sends.append(Send(to, Busy(self._load())))
        return sends

    def due(self, now: float) -> list[Send]:
        """What is to be said now."""
        sends: list[Send] = []
        held = self._library.held
        if held is not None and held != self._held:
            self._held = held
            peers = [name for name, _ in self._members.items() if self._members.alive(name)]
            sends += [Send(name, Holding(held)) for name in peers]
        if now >= self._not_before and self._busier():
            self._not_before = now + PERIOD_S
            self._busy, self.taken = self._load(), False
            choosers = filter(self._members.alive, self._library.choosers)
            sends += [Send(name, Busy(self._busy)) for name in choosers]
        return sends

    def next(self) -> float | None:
        """When :meth:`due` has something to say that had to wait, in seconds."""
        return self._not_before if self._busier() else None

    def _busier(self) -> bool:
        if not self._library.choosers:
            return False
        if self.taken:
            return True
        load, said = self._load(), self._busy
        mine = load.waiting, load.running, load.held
        return mine != (said.waiting, said.running, said.held)
