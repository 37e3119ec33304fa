"""Links in virtual time: each direction between two nodes has a rate, a delay, losses and a queue,
and tells what it carries as the connections of :mod:`shoal.mesh` do."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
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
    """The state of one direction: when its last byte leaves, and when what was sent before will
    have left; what there is to tell of it, and what there will be, in the order in which that is
    known. A world of a thousand nodes has a million of these, most of them idle: then there are no
    lists."""

    wire: Wire
    free_at: float = 0.0
    arrived_at: float = 0.0
    leaving: list[float] | None = None
    seen: Carried | None = None
    known_later: list[Carried] | None = None
    dice: Random | None = None

    def waiting(self, now: float) -> int:
        """How many messages have not left."""
        if self.free_at <= now:
            self.leaving = None
            return 0
        if self.leaving is None:
            return 1
        del self.leaving[: bisect_right(self.leaving, now)]
        return len(self.leaving) + 1

    def take(self, weight: int, now: float) -> float:
        """Send so many bytes; when the first of them leaves."""
        begin = max(now, self.free_at)
        if self.waiting(now):
            if self.leaving is None:
                self.leaving = []
            self.leaving.append(self.free_at)
        self.free_at = begin + weight / self.wire.bytes_per_s
        return begin

    def see(self, carried: Carried) -> None:
        """Something is, or will be, known."""
        if self.seen is None:
            self.seen = carried
        elif self.known_later is None:
            self.known_later = [carried]
        else:
            self.known_later.append(carried)

    def look(self, now: float) -> Carried | None:
        """What is known by now."""
        if self.seen is None or self.seen.at > now:
            return None
        while self.known_later is not None and self.known_later[0].at <= now:
            before, self.seen = self.seen, self.known_later.pop(0)
            # As the system does: that little was sent says nothing against what is known.
            if self.seen.at_least and self.seen.bytes_per_s < before.bytes_per_s:
                self.seen = msgspec.structs.replace(before, at=self.seen.at)
            self.known_later = self.known_later or None
        return self.seen


class Wires:
    """All links. ``between`` gives the wire from one node to another, when first needed."""

    def __init__(self, between: Callable[[str, str], Wire]) -> None:
        self.between = between
        self._ways: dict[str, dict[str, _Way]] = {}
        self._fresh: dict[str, dict[str, None]] = {}  # over which something was sent, by giver

    def _way(self, giver: str, taker: str) -> _Way:
        ways = self._ways.get(giver)
        if ways is None:
            ways = self._ways[giver] = {}
        way = ways.get(taker)
        if way is None:
            way = ways[taker] = _Way(self.between(giver, taker))
        return way

    def full(self, giver: str, taker: str, now: float) -> bool:
        """Whether no more work is taken."""
        way = self._way(giver, taker)
        return way.waiting(now) > way.wire.work

    def arrival(self, giver: str, taker: str, size: int, now: float) -> float:
        """When a message with a body of ``size`` bytes arrives that is sent now; it holds the
        wire up to the moment when its last byte has left."""
        way, weight = self._way(giver, taker), HEAD_BYTES + size
        wire, begin = way.wire, way.take(weight, now)
        pipe_s = 2 * wire.delay_s
        again_s = 0.0
        if wire.loss:
            if way.dice is None:
                way.dice = Random(f"{giver} {taker}")
            packets = math.ceil(weight / PACKET_BYTES)
            again_s = pipe_s * (way.dice.random() > (1 - wire.loss) ** packets)
        way.arrived_at = max(way.free_at + wire.delay_s + again_s, way.arrived_at)
        if begin > now or weight > max(BURST_BYTES, wire.bytes_per_s * pipe_s):
            known_at = begin + min(weight, BURST_BYTES) / wire.bytes_per_s + pipe_s
            way.see(Carried(wire.bytes_per_s, False, known_at))
        else:
            took_s = way.free_at - begin + pipe_s
            way.see(Carried(weight / took_s, True, begin + took_s))
        self._fresh.setdefault(giver, {})[taker] = None
        return way.arrived_at

    def carried(self, giver: str, taker: str, now: float) -> tuple[Carried, float] | None:
        """What was last seen of a link by now, and the time there and back in seconds; None while
        nothing was."""
        way = self._ways.get(giver, {}).get(taker)
        seen = None if way is None else way.look(now)
        if way is None or seen is None:
            return None
        return seen, way.wire.delay_s + self._way(taker, giver).wire.delay_s

    def news(self, giver: str, now: float) -> list[tuple[str, Carried, float]]:
        """What is seen of the links from a node by now: of those over which something was sent
        since this was last asked, or of which something more will be known."""
        told: list[tuple[str, Carried, float]] = []
        fresh = self._fresh.get(giver, {})
        for taker in list(fresh):
            found = self.carried(giver, taker, now)
            if found is None:
                continue
            told.append((taker, *found))
            if self._ways[giver][taker].known_later is None:
                del fresh[taker]
        return told

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
        if way.leaving is not None:
            way.leaving = [min(at, way.free_at) for at in way.leaving]
        way.wire = wire
