"""Links in virtual time: each direction between two nodes has a rate, a delay, losses and a queue,
and tells what it carries as the connections of :mod:`shoal.mesh` do."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import msgspec

HEAD_BYTES = 300
"""What a message weighs besides its body."""
PACKET_BYTES = 1448
BURST_BYTES = 10 * PACKET_BYTES
"""What a connection sends at once before it has heard anything (RFC 6928): from fewer bytes than
these the rate of a link is not known, only that it is at least so high."""
MAX_WORK = 64
"""Messages that may wait for a link before it takes no more work, as in ``mesh/sender.py``."""
PROBE_S, LEAST_PROBE = 0.03, 1 << 12
"""What is sent only to measure takes about this long on the line; bytes of the least."""


class Wire(msgspec.Struct, frozen=True):
    """One direction of a link: bytes leave it one after the other at ``bytes_per_s`` and arrive
    ``delay_s`` later. The share ``loss`` of packets is lost and sent again, a round trip later,
    and what was sent after them waits for that. ``work`` messages may wait for it."""

    delay_s: float = 0.0002
    bytes_per_s: float = 125e6
    loss: float = 0.0
    work: int = MAX_WORK


class Carried(msgspec.Struct, frozen=True):
    """What a link was seen to carry: bytes/s, whether it may be more, and when that was, in
    seconds."""

    bytes_per_s: float
    at_least: bool
    at: float


@dataclass(slots=True)
class _Way:
    """The state of one direction: when its last byte leaves, when what was sent has left, and what
    there is to tell of it, in the order in which that is known."""

    wire: Wire
    dice: Random
    free_at: float = 0.0
    arrived_at: float = 0.0
    leaving: deque[float] = field(default_factory=deque)
    seen: deque[Carried] = field(default_factory=deque)


class Wires:
    """All links. ``between`` gives the wire from one node to another, when first needed."""

    def __init__(self, between: Callable[[str, str], Wire]) -> None:
        self._between = between
        self._ways: dict[tuple[str, str], _Way] = {}

    def _way(self, giver: str, taker: str) -> _Way:
        way = self._ways.get((giver, taker))
        if way is None:
            dice = Random(f"{giver} {taker}")
            way = self._ways[giver, taker] = _Way(self._between(giver, taker), dice)
        return way

    def full(self, giver: str, taker: str, now: float) -> bool:
        """Whether no more work is taken."""
        way = self._way(giver, taker)
        while way.leaving and way.leaving[0] <= now:
            way.leaving.popleft()
        return len(way.leaving) > way.wire.work

    def arrival(self, giver: str, taker: str, size: int, now: float) -> float:
        """When a message with a body of ``size`` bytes arrives that is sent now; it holds the
        wire up to the moment when its last byte has left."""
        way, weight = self._way(giver, taker), HEAD_BYTES + size
        wire, begin = way.wire, max(now, way.free_at)
        pipe_s = 2 * wire.delay_s
        way.free_at = begin + weight / wire.bytes_per_s
        way.leaving.append(way.free_at)
        again_s = 0.0
        if wire.loss:
            packets = math.ceil(weight / PACKET_BYTES)
            again_s = pipe_s * (way.dice.random() > (1 - wire.loss) ** packets)
        way.arrived_at = max(way.free_at + wire.delay_s + again_s, way.arrived_at)
        if begin > now or weight > max(BURST_BYTES, wire.bytes_per_s * pipe_s):
            known_at = begin + min(weight, BURST_BYTES) / wire.bytes_per_s + pipe_s
            way.seen.append(Carried(wire.bytes_per_s, False, known_at))
        else:
            took_s = way.free_at - begin + pipe_s
            way.seen.append(Carried(weight / took_s, True, begin + took_s))
        return way.arrived_at

    def carried(self, giver: str, taker: str, now: float) -> tuple[Carried, float] | None:
        """What was last seen of a link by now, and the time there and back in seconds; None while
        nothing was."""
        way = self._ways.get((giver, taker))
        if way is None or not way.seen or way.seen[0].at > now:
            return None
        while len(way.seen) > 1 and way.seen[1].at <= now:
            before = way.seen.popleft()
            # As the system does: that little was sent says nothing against what is known.
            if way.seen[0].at_least and way.seen[0].bytes_per_s < before.bytes_per_s:
                way.seen[0] = msgspec.structs.replace(before, at=way.seen[0].at)
        return way.seen[0], way.wire.delay_s + self._way(taker, giver).wire.delay_s

    def probe(self, giver: str, taker: str, now: float) -> None:
        """Send what only weighs, enough to tell what the link carries, unless more than that is on
        its way already."""
        if self._way(giver, taker).free_at > now:
            return
        found = self.carried(giver, taker, now)
        rate = found[0].bytes_per_s if found is not None else 0.0
        self.arrival(giver, taker, max(LEAST_PROBE, int(rate * PROBE_S)) - HEAD_BYTES, now)

    def change(self, giver: str, taker: str, wire: Wire, now: float = 0.0) -> None:
        """Another rate or delay from ``now`` on. What has been sent arrives when it would have, and
        what comes after it not before; but it waits no longer than the new rate asks for."""
        way = self._way(giver, taker)
        left_s = max(0.0, way.free_at - now)
        way.free_at = now + left_s * min(1.0, way.wire.bytes_per_s / wire.bytes_per_s)
        way.wire = wire
