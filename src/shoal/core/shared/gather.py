"""Bodies as they come in from those who give them: one whole body, or the slices of a stage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from shoal.core.actions import Given
from shoal.core.events import Body
from shoal.core.messages import StageTrace
from shoal.plan.plan import Join


@dataclass(slots=True)
class Gather:
    """What has come, and from whom more is awaited (nobody: it is complete). ``join`` is None for
    a whole body. ``absent`` are devices whose slices were missing on the way of each of them.
    ``needs`` names who must be among those that came, whatever else is enough: who joins slices of
    which some stays with its holder needs its own. ``codec`` is that of :class:`Given`."""

    awaited: set[str]
    join: Join | None = None
    bodies: dict[str, Body] = field(default_factory=dict)
    absent: dict[str, frozenset[str]] = field(default_factory=dict)
    traces: dict[StageTrace, None] = field(default_factory=dict)
    needs: str = ""
    codec: str = "raw"

    def give(
        self, giver: str, body: Body, absent: Iterable[str], trace: Iterable[StageTrace]
    ) -> None:
        """Add what one giver sent; its first counts. Who was absent on its way is awaited no
        more, as a device that missed one deadline would make each later stage wait for the next;
        and what it gave does not count: whoever was told that it is absent may have done its
        work."""
        if giver not in self.bodies:
            self.bodies[giver] = body
            self.absent[giver] = frozenset(absent)
            self.traces.update(dict.fromkeys(trace))
        self.awaited.discard(giver)
        gone = frozenset().union(*self.absent.values()) - {self.needs}
        self.awaited.difference_update(gone)
        for name in gone & self.bodies.keys():
            del self.bodies[name]

    @property
    def complete(self) -> bool:
        """Whether all came that are awaited."""
        return not self.awaited

    @property
    def enough(self) -> bool:
        """Whether what came may be joined."""
        if self.join is None:
            return bool(self.bodies)
        return self.join.enough(self.bodies) and (not self.needs or self.needs in self.bodies)

    def given(self) -> Given:
        """The bodies for a run or an answer."""
        return Given(dict(self.bodies), self.join, self.codec)

    def missing(self, holders: Iterable[str]) -> tuple[str, ...]:
        """Devices absent on the way of what is here, and those of ``holders`` whose slices are
        not."""
        gone = frozenset().union(*(self.absent[giver] for giver in self.bodies))
        if self.join is not None:
            gone |= set(holders) - self.bodies.keys()
        return tuple(sorted(gone))
