"""Which parts devices are to hold, and the memory that is left for more."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from shoal.plan.cluster import Cluster
from shoal.plan.network import Part
from shoal.plan.objective import Objective


def memory_limits(cluster: Cluster, objective: Objective) -> dict[str, float]:
    """The memory for parts on each device that may compute, in bytes (absent: no limit)."""
    found: dict[str, float] = {}
    for device in cluster.computing:
        limits = [int(limit) for limit in (device.memory, objective.max_memory) if limit]
        if limits:
            found[device.name] = min(limits)
    return found


class Ledger:
    """``parts`` that devices hold, within the memory that each of them has."""

    def __init__(self, limits: Mapping[str, float]) -> None:
        self.parts: dict[str, Part] = {}
        self._limits = limits
        self._holds: dict[str, dict[str, int]] = defaultdict(dict)

    def copy(self) -> Ledger:
        """A ledger that starts from here and goes its own way."""
        twin = Ledger(self._limits)
        twin.parts = dict(self.parts)
        twin._holds.update({device: dict(parts) for device, parts in self._holds.items()})
        return twin

    @property
    def room(self) -> dict[str, float]:
        """Bytes left on each device that has a limit."""
        return {
            device: limit - sum(self._holds[device].values())
            for device, limit in self._limits.items()
        }

    def needs(self, wanted: Iterable[tuple[str, Part]]) -> dict[str, int]:
        """Bytes of the parts that devices do not hold yet."""
        return {device: sum(new.values()) for device, new in self._new(wanted).items()}

    def put(self, wanted: Iterable[tuple[str, Part]]) -> bool:
        """Let devices hold parts, all or none: False when one has no room for its own."""
        wanted, room = list(wanted), self.room
        if any(need > room.get(device, math.inf) for device, need in self.needs(wanted).items()):
            return False
        for device, new in self._new(wanted).items():
            self._holds[device].update(new)
        self.parts.update((part.hash, part) for _, part in wanted)
        return True

    def _new(self, wanted: Iterable[tuple[str, Part]]) -> dict[str, dict[str, int]]:
        added: dict[str, dict[str, int]] = defaultdict(dict)
        for device, part in wanted:
            if part.hash not in self._holds[device]:
                added[device][part.hash] = part.info.memory
        return added
