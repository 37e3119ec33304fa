"""Which parts devices are to hold, and the memory that is left for more."""

from __future__ import annotations

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

    def put(self, wanted: Iterable[tuple[str, Part]]) -> bool:
        """Let devices hold parts, all or none: False when one has no room for its own."""
        parts: dict[str, Part] = {}
        added: dict[str, dict[str, int]] = defaultdict(dict)
        for device, part in wanted:
            parts[part.hash] = part
            if part.hash not in self._holds[device]:
                added[device][part.hash] = part.info.memory
        room = self.room
        if any(sum(new.values()) > room.get(device, float("inf")) for device, new in added.items()):
            return False
        for device, new in added.items():
            self._holds[device].update(new)
        self.parts.update(parts)
        return True
