"""Links in virtual time: each direction between two nodes has a rate, a delay and a queue."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

HEAD_BYTES = 300
"""What a message weighs besides its body."""


class Wire(msgspec.Struct, frozen=True):
    """One direction of a link: bytes leave it one after the other at ``bytes_per_s`` and arrive
    ``delay_s`` later."""

    delay_s: float = 0.0002
    bytes_per_s: float = 125e6


class Wires:
    """All links. ``between`` gives the wire from one node to another, when first needed."""

    def __init__(self, between: Callable[[str, str], Wire]) -> None:
        self._between = between
        self._wires: dict[tuple[str, str], Wire] = {}
        self._free_at: dict[tuple[str, str], float] = {}

    def arrival(self, giver: str, taker: str, size: int, now: float) -> float:
        """When a message with a body of ``size`` bytes arrives that is sent now; it holds the
        wire up to the moment when its last byte has left."""
        pair = giver, taker
        wire = self._wires.get(pair)
        if wire is None:
            wire = self._wires[pair] = self._between(giver, taker)
        free_at = max(now, self._free_at.get(pair, 0.0)) + (HEAD_BYTES + size) / wire.bytes_per_s
        self._free_at[pair] = free_at
        return free_at + wire.delay_s

    def change(self, giver: str, taker: str, wire: Wire) -> None:
        """Another rate or delay from now on."""
        self._wires[giver, taker] = wire
