"""Who holds which parts, and the memory that is left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from shoal.plan.costs import Range
from shoal.plan.network import Part
from shoal.plan.plan import Plan
from shoal.plan.search import Chain


class Ledger:
    """Plans that were taken on, the parts that they put on each device, and what is left."""

    def __init__(self, room: Mapping[str, float]) -> None:
        self.plans: list[Plan] = []
        self.parts: dict[str, Part] = {}
        self._limits = dict(room)
        self._holds: dict[str, dict[str, int]] = defaultdict(dict)
        self._ranges: dict[str, set[Range]] = defaultdict(set)

    def copy(self) -> Ledger:
        """A ledger that starts from here and goes its own way."""
        twin = Ledger(self._limits)
        twin.plans = list(self.plans)
        twin.parts = dict(self.parts)
        twin._holds.update({name: dict(parts) for name, parts in self._holds.items()})
        twin._ranges.update({name: set(ranges) for name, ranges in self._ranges.items()})
        return twin

    @property
    def names(self) -> set[str]:
        """The names of the plans."""
        return {plan.name for plan in self.plans}

    @property
    def room(self) -> dict[str, float]:
        """Bytes left on each device that has a limit."""
        return {
            device: limit - sum(self._holds[device].values())
            for device, limit in self._limits.items()
        }

    @property
    def held(self) -> dict[str, set[Range]]:
        """The ranges of nodes that each device holds."""
        return self._ranges

    def add(self, plan: Plan, chain: Chain, parts: Sequence[Part]) -> bool:
        """Take on a plan, unless it is there already under another name. False, and nothing
        changes, when its parts do not fit."""
        if any(plan.stages == other.stages for other in self.plans):
            return True
        room = self.room
        added: dict[str, dict[str, int]] = defaultdict(dict)
        for leg, part in zip(chain, parts, strict=True):
            if part.hash not in self._holds[leg.device]:
                added[leg.device][part.hash] = part.info.memory
        if any(sum(new.values()) > room.get(device, float("inf")) for device, new in added.items()):
            return False
        for leg, part in zip(chain, parts, strict=True):
            self._holds[leg.device][part.hash] = part.info.memory
            self._ranges[leg.device].add((leg.first, leg.last))
            self.parts[part.hash] = part
        self.plans.append(plan)
        return True

    def survives(self, device: str) -> bool:
        """Whether some plan does without ``device``."""
        return any(device not in plan.devices for plan in self.plans)
