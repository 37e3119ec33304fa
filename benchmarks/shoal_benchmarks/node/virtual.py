"""What is measured of a service, measured in virtual time."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from itertools import count

import msgspec

from shoal.core.actions import Reject
from shoal.plan.plan import Playbook
from shoal.sim.forecasted import Forecasted, Image
from shoal.sim.handling import Handling
from shoal.sim.serving import SETTLE_S, serve
from shoal.sim.wires import Wire
from shoal.sim.world import Reply, Ticket
from shoal_benchmarks.split.driver import handed

DEADLINE_MS = 10_000.0


class Busy(msgspec.Struct, frozen=True):
    """With a window of requests under way: images per second, how many milliseconds of a core of
    this machine each host spent on an image, which plans answered how many, and the share of the
    answers that were as expected; the times of requests, which share of the answers took how many
    tasks, and how often a task went on elsewhere, for an answer."""

    images_per_s: float
    spent_ms: dict[str, float]
    plans: dict[str, int] = {}
    right: float = 1.0
    times_ms: tuple[float, ...] = ()
    tasks: dict[int, float] = {}
    handed: float = 0.0


def shares(counts: Mapping[int, int]) -> dict[int, float]:
    """Of all that is counted."""
    total = sum(counts.values())
    return {what: count / total for what, count in sorted(counts.items())}


class Single(msgspec.Struct, frozen=True):
    """One request at a time: the median of their times, and the same."""

    p50_ms: float
    spent_ms: dict[str, float]
    plans: dict[str, int] = {}


class Virtual:
    """The gateway ``gate``, the devices of a playbook beside it, and links that all are ``wire``.
    All are of the same ``speed`` and have the same ``handling``, which is that of a whole core."""

    def __init__(
        self,
        playbook: Playbook,
        engine: Forecasted,
        gate: str,
        handling: Handling,
        wire: Wire,
        speed: float,
    ) -> None:
        self._gate, self._speed = gate, speed
        self._made = engine.asked
        self._numbers = count()
        self._asked: dict[Ticket, float] = {}
        self._latencies_ms: list[float] = []
        self._answered_at: list[float] = []
        self._plans: Counter[str] = Counter()
        self._tasks: Counter[int] = Counter()
        self._handed = 0
        self._again = False
        costs = handling.at(speed)
        self._world = serve(playbook, engine, gate, lambda giver, taker: wire, lambda name: costs)
        self._world.told = self._told

    def busy(self, seconds: float, window: int) -> Busy:
        """Ask with a window for half as long, to teach the policy, then for so long."""
        self._ask_for(seconds / 2, window)
        spent = self._ask_for(seconds, window)
        times, count = self._answered_at, len(self._answered_at)
        return Busy(
            (count - 1) / (times[-1] - times[0]),
            spent,
            dict(self._plans),
            times_ms=tuple(self._latencies_ms),
            tasks=shares(self._tasks),
            handed=self._handed / count,
        )

    def single(self, seconds: float) -> Single:
        """Ask one by one for half as long, to teach the policy, then for so long."""
        self._ask_for(seconds / 2, 1)
        spent = self._ask_for(seconds, 1)
        return Single(statistics.median(self._latencies_ms), spent, dict(self._plans))

    def _ask_for(self, seconds: float, window: int) -> dict[str, float]:
        """Ask, and wait for the answers; what an image took of each host."""
        world, before = self._world, self._busy_s()
        self._answered_at, self._latencies_ms = [], []
        self._plans.clear()
        self._tasks.clear()
        self._handed = 0
        self._again = True
        for _ in range(window):
            self._ask()
        world.run(seconds)
        self._again = False
        while self._asked:
            world.run(SETTLE_S / 10)
        after, images = self._busy_s(), len(self._answered_at)
        return {name: (after[name] - before[name]) / images * 1e3 for name in after}

    def _ask(self) -> None:
        at, body = self._world.now, Image(next(self._numbers), self._made)
        self._asked[self._world.submit(self._gate, body, DEADLINE_MS)] = at

    def _told(self, ticket: Ticket, reply: Reply) -> None:
        assert not isinstance(reply.what, Reject), reply.what.text
        self._plans[reply.what.plan] += 1
        self._tasks[len(reply.what.trace)] += 1
        self._handed += handed(reply.what.trace)
        self._answered_at.append(reply.at)
        self._latencies_ms.append((reply.at - self._asked.pop(ticket)) * 1e3)
        if self._again:
            self._world.clock.after(0.0, self._ask)

    def _busy_s(self) -> dict[str, float]:
        """Seconds of a core of this machine."""
        return {name: node.busy_s * self._speed for name, node in self._world.nodes.items()}


def wire_of(mbit_s: float, delay_ms: float) -> Wire:
    """A link as the lab makes it: its rate counts all of a packet, headers and the frame around
    them too."""
    return Wire(delay_s=delay_ms / 1e3, bytes_per_s=mbit_s * 1e6 / 8 * PAYLOAD)


PACKET, HEADERS, ETHERNET = 1500, 52, 14
PAYLOAD = (PACKET - HEADERS) / (PACKET + ETHERNET)
"""The share of a full packet that is of a message."""
