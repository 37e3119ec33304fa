"""How fast the simulator is, and what a thousand nodes cost it.

An *event* is one that a node is told of (``core/events.py``): a message came, a part ran, a link
was measured, a client asks, the time has come. What the simulator does for messages on their way
in between is in the time and is not counted.

    python -m shoal_benchmarks.node.simulator KIND TEAMS REQUESTS

All nodes are of one mesh and see each other. Each team is a gateway and nine workers: three for
each of the three stages of its pipeline, or (of the kind ``relay``) any for each of three tasks,
by the exits of which half of the images leave. Each gateway keeps as many requests under way as
keep them busy. In a team of ``relay`` each worker tells each other how busy it is, up to ten times
in a second: a thousand workers of one gateway would say ten million things in a second. It is a
process of its own, since what the bench holds itself would count as memory.
Times are of its processor: it has one thread, and what else runs on the machine does not count.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from shoal.core.actions import Reject
from shoal.plan.plan import Playbook
from shoal.sim.engine import Symbols, Token
from shoal.sim.world import Reply, Ticket, World
from shoal_benchmarks.measure import quiet_collector
from shoal_benchmarks.node.books import book, leaving, spread
from shoal_benchmarks.row import Row, row

PIPELINE, RELAY = "pipeline", "relay"
KINDS = (PIPELINE, RELAY)
WORKERS, HOLDERS = 9, 3
"""Of a team, and of each stage."""
WINDOW = 24
"""Requests that a gateway keeps under way."""
FEW_TEAMS, FEW_REQUESTS = 1, 20_000
TEAMS, REQUESTS, QUICK_REQUESTS = 100, 1_000_000, 10_000
JOIN_S, SETTLE_S = 0.1, 1.0
"""Virtual time between two teams that join, and after the last one."""
BODY_BYTES = 10_000
STEPS = 128
"""That each node remembers: enough to tell what became of its latest requests."""


class Cost(msgspec.Struct, frozen=True):
    """What a world cost: until all nodes were ready, and for the requests; seconds of the
    processor, events, virtual seconds; and the peak of resident memory in MiB."""

    nodes: int
    requests: int
    ready_s: float
    ready_events: int
    asked_s: float
    asked_events: int
    virtual_s: float
    peak_mib: float


def rows(quick: bool) -> Iterator[Row]:
    """Events per second in a small world, then a thousand nodes."""
    for kind in KINDS:
        few = measured(kind, FEW_TEAMS, FEW_REQUESTS)
        what = f"simulator, {kind}, {few.nodes} nodes, {few.requests:,} requests"
        yield row(f"{what}: events of one core", few.asked_events / few.asked_s, "events/s")
        yield row(f"{what}: events for a request", few.asked_events / few.requests, "events")
        yield from rows_of(kind, measured(kind, TEAMS, QUICK_REQUESTS if quick else REQUESTS))


def rows_of(kind: str, many: Cost) -> Iterator[Row]:
    """The rows of a large world."""
    what = f"simulator, {kind}, {many.nodes:,} nodes, {many.requests:,} requests"
    yield row(f"{what}: time", (many.ready_s + many.asked_s) / 60, "min", "<= 15")
    yield row(f"{what}: peak of resident memory", many.peak_mib * 2**20 / 1e9, "GB", "<= 2")
    yield row(f"{what}: time until all nodes know each other", many.ready_s / 60, "min")
    yield row(f"{what}: events until then", many.ready_events, "events")
    yield row(f"{what}: events of one core", many.asked_events / many.asked_s, "events/s")
    yield row(f"{what}: virtual time", many.virtual_s, "s")


def measured(kind: str, teams: int, requests: int) -> Cost:
    """What a world costs, in a process of its own."""
    module = "shoal_benchmarks.node.simulator"
    command = [sys.executable, "-m", module, kind, str(teams), str(requests)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Cost)


def run(kind: str, teams: int, requests: int) -> Cost:
    """Make a world, let the requests be answered; AssertionError where one is not."""
    world = World(Symbols(confidence=sure), steps=STEPS)
    books = {f"gateway-{team}": playbook_of(kind, team) for team in range(teams)}
    began_s = time.process_time()
    for gateway, playbook in books.items():
        world.add(gateway, gateway={})
        for name in playbook.devices:
            world.add(name)
        world.run(JOIN_S / 2)
        world.adopt(gateway, playbook)
        world.run(JOIN_S / 2)
    world.run(SETTLE_S)
    missing = {name for name, each in books.items() if world.gateway(name).unready(each)}
    assert not missing, f"{missing} could not install their parts"
    ready_s, ready_events = time.process_time() - began_s, world.decided
    began_s, began = time.process_time(), world.now
    load = Load(world, dict.fromkeys(books, requests // teams))
    load.begin()
    while load.left:
        world.run(SETTLE_S)
    return Cost(
        nodes=len(world.nodes),
        requests=load.answered,
        ready_s=ready_s,
        ready_events=ready_events,
        asked_s=time.process_time() - began_s,
        asked_events=world.decided - ready_events,
        virtual_s=load.last - began,
        peak_mib=peak_mib(),
    )


class Load:
    """Asks gateways, each so many times, with a window."""

    def __init__(self, world: World, requests: dict[str, int]) -> None:
        self.left = sum(requests.values())
        self.answered = 0
        self.last = 0.0
        self._world = world
        self._unasked = dict(requests)

    def begin(self) -> None:
        """Fill the windows."""
        self._world.told = self._told
        for gateway in self._unasked:
            for _ in range(WINDOW):
                self._ask(gateway)

    def _ask(self, gateway: str) -> None:
        if self._unasked[gateway]:
            self._unasked[gateway] -= 1
            body = Token(("input", self._unasked[gateway]), BODY_BYTES)
            self._world.submit(gateway, body)

    def _told(self, ticket: Ticket, reply: Reply) -> None:
        assert not isinstance(reply.what, Reject), reply.what.text
        self.answered, self.left, self.last = self.answered + 1, self.left - 1, reply.at
        self._world.clock.after(0.0, self._ask, ticket.gateway)


def playbook_of(kind: str, team: int) -> Playbook:
    """That of a team."""
    names = [f"worker-{team}-{number}" for number in range(WORKERS)]
    if kind == RELAY:
        return leaving(names, WORKERS // HOLDERS)
    return book(spread([names[at : at + HOLDERS] for at in range(0, WORKERS, HOLDERS)]))


def sure(part: str, made: tuple[Any, ...]) -> float:
    """How sure the exit of a part is of an image: evenly from 0 to 1."""
    while made[0] != "input":
        made = made[2]
    return crc32(f"{part} {made[1]}".encode()) / 2**32


def peak_mib() -> float:
    """The most that this process ever held in memory. What the system tells of resources would
    count the process that started it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


if __name__ == "__main__":
    with quiet_collector():  # nothing here is in circles: it would find nothing
        cost = run(sys.argv[1], *map(int, sys.argv[2:4]))
    sys.stdout.buffer.write(msgspec.json.encode(cost))
