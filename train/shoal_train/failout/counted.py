"""How long a network takes, by its multiplications alone: the same on each machine."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.model.network import Network
from shoal.model.shards.operators import looks

MACS_PER_MS = 1e5
"""Of a device of speed 1: slow against its links, so that much is dealt."""


@dataclass(frozen=True)
class Counted:
    """A profile by multiplications; memory is not told."""

    node_ms: tuple[float, ...]

    @classmethod
    def of(cls, network: Network) -> Counted:
        """That of a network."""
        return cls(tuple(look.macs / MACS_PER_MS for look in looks(network)))

    def range_ms(self, start: int, end: int) -> float:
        return sum(self.node_ms[start:end])

    def range_memory(self, start: int, end: int) -> int:
        return 0
