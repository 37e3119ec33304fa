"""A world of nodes in virtual time, in which any fault can be made to happen at any moment.

The links keep the contract of :mod:`shoal.mesh.link`: messages of a sender arrive in order, each
once, while both incarnations live. ``World.tamper`` breaks it on purpose. Everything is
deterministic: the same calls give the same run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from shoal.core.actions import Deliver, NodeAction, Reject, Send
from shoal.core.events import (
    Adopt,
    Appeared,
    Arrived,
    Body,
    Cancelled,
    Drain,
    NodeEvent,
    Submitted,
    Unsent,
    Vanished,
)
from shoal.core.gateway.gateway import GatewayCore
from shoal.core.log import Step
from shoal.core.messages import CoreMessage, DeviceInfo, Resume, Task
from shoal.core.node import make_core
from shoal.core.policy import Policy, find_policy
from shoal.core.settings import GatewaySettings, Origin, WorkerSettings
from shoal.plan.plan import Playbook
from shoal.sim.clock import Clock
from shoal.sim.engine import Engine, Symbols, digests
from shoal.sim.handling import FREE, Handling
from shoal.sim.node import Node
from shoal.sim.wires import Wire, Wires

USUAL = Wire()
"""A link of which nothing else is said."""


class Ticket(msgspec.Struct, frozen=True):
    """A request: its number is unique in one life of a gateway."""

    gateway: str
    life: int
    number: int


class Reply(msgspec.Struct, frozen=True):
    """An end of a request, and when it came, in seconds."""

    at: float
    what: Deliver | Reject


class World:
    """Nodes, links and a clock.

    ``engine`` says what parts make and how long that takes, ``wires`` what each link carries.
    A peer that is killed vanishes after ``notice_s``, one that is frozen or cut off after
    ``lease_s``; one that (re)appears is seen after ``discover_s``. ``neighbours`` says who can
    see whom (default: everybody). When a node crashes, what it sent within the last ``unsent_s``
    is lost. To begin a run in a process of its own takes ``apart_s``. ``digest`` names what is in
    the body of a request. Each node remembers so many ``steps``: of thousands of nodes they fill
    the memory.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        wires: Callable[[str, str], Wire] = lambda giver, taker: USUAL,
        *,
        policies: Callable[[str], Policy] = find_policy,
        digest: Callable[[Body], tuple[str, ...]] = digests,
        notice_s: float = 0.003,
        lease_s: float = 0.4,
        discover_s: float = 0.002,
        neighbours: Callable[[str, str], bool] = lambda a, b: True,
        unsent_s: float = 0.0,
        apart_s: float = 0.5,
        steps: int | None = None,
    ) -> None:
        self.clock = Clock()
        self.engine: Engine = engine or Symbols()
        self.wires = Wires(wires)
        self.nodes: dict[str, Node] = {}
        self.replies: dict[Ticket, list[Reply]] = {}
        self.posted = 0
        """Messages that nodes sent."""
        self.decided = 0
        """Events that nodes were told of (see ``core/events.py``)."""
        self.tamper: Callable[[str, str, CoreMessage], Sequence[float]] | None = None
        """Extra delays in s of the copies of a message that arrive: ``()`` loses it, ``(0, 0)``
        doubles it."""
        self.by_name = False
        """Whether messages reach whoever has the name of their taker, also in a later life."""
        self.watch: Callable[[Node, NodeEvent, Sequence[NodeAction]], None] | None = None
        """Sees every step of every node: the event that it took and the actions it gave."""
        self.tap: Callable[[Node], Callable[[Step], None] | None] | None = None
        """Asked at the beginning of each life of a node for who is given all steps of its log."""
        self.told: Callable[[Ticket, Reply], None] | None = None
        """Is told of each end of a request, which is not kept in ``replies`` then: of a million
        they would fill the memory."""
        self._policies = policies
        self._digest = digest
        self._notice_s, self._lease_s, self._discover_s = notice_s, lease_s, discover_s
        self._neighbours = neighbours
        self._cuts: dict[tuple[str, str], float] = {}
        self._held: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        self._numbers: dict[tuple[str, int], int] = {}
        self._unsent_s = unsent_s
        self.apart_s = apart_s
        self._steps = steps
        self._crashes: dict[tuple[str, int], float] = {}
        self.supervisor: Callable[[str], None] | None = None
        """Is told of nodes that crashed."""

    @property
    def now(self) -> float:
        """The time in seconds."""
        return self.clock.now

    # -- nodes

    def add(
        self,
        name: str,
        *,
        info: Mapping[str, Any] | None = None,
        worker: Mapping[str, Any] | None = None,
        gateway: Mapping[str, Any] | None = None,
        handling: Handling = FREE,
    ) -> Node:
        """Start a node. ``info`` are settings of its DeviceInfo, ``worker`` of its WorkerCore,
        ``gateway`` of its GatewayCore (None: it has none). ``handling`` is what its processor
        does beside computing."""
        origin = Origin(
            DeviceInfo(name=name, incarnation="", **(info or {})),
            WorkerSettings(**(worker or {})),
            None if gateway is None else GatewaySettings(**gateway),
        )
        make = partial(make_core, origin, self._policies, self._digest, self._steps)
        node = self.nodes[name] = Node(self, name, make, handling)
        self._start(node)
        return node

    def gateway(self, name: str) -> GatewayCore:
        """The gateway on a node; KeyError when it has none."""
        core = self.nodes[name].gateway
        if core is None:
            raise KeyError(name)
        return core

    def _start(self, node: Node) -> None:
        node.start()
        for other in self.nodes.values():
            if other is not node:
                self._look(other, node)
                self._look(node, other)

    def _look(self, seer: Node, seen: Node) -> None:
        """Let ``seer`` see ``seen`` soon, if it can."""
        if not self._neighbours(seer.name, seen.name):
            return
        self.clock.after(self._discover_s, self._found, seer, seer.life, seen, seen.life)

    def _found(self, seer: Node, seer_life: int, seen: Node, seen_life: int) -> None:
        if seer.life != seer_life or seen.life != seen_life or not seer.alive:
            return
        if self._silent_since(seen, seer) is not None:
            return
        known = seer.sees.get(seen.name)
        if known == seen.incarnation:
            return
        seer.sees[seen.name] = seen.incarnation
        if known is not None:
            seer.handle(Vanished(seen.name, known), seer.life)
        seer.handle(Appeared(seen.name, seen.incarnation), seer.life)

    def _silent_since(self, giver: Node, taker: Node) -> float | None:
        """Since when nothing comes from one node to another; None when something can."""
        times = [giver.silent_since] if giver.silent else []
        cut = self._cuts.get((giver.name, taker.name))
        if cut is not None:
            times.append(cut)
        return min(times, default=None)

    def _suspect(self, giver: Node, taker: Node, after_s: float) -> None:
        """Let ``taker`` find out that nothing comes from ``giver``, if that goes on so long."""
        self.clock.after(after_s, self._missed, giver, giver.incarnation, taker, taker.life)

    def _missed(self, giver: Node, incarnation: str, taker: Node, life: int) -> None:
        if taker.life != life or not taker.alive or taker.sees.get(giver.name) != incarnation:
            return
        if giver.incarnation == incarnation:
            since = self._silent_since(giver, taker)
            wait_s = self._lease_s if giver.alive else self._notice_s
            if since is None or self.now - since < wait_s - 1e-9:
                return
        del taker.sees[giver.name]
        taker.handle(Vanished(giver.name, incarnation), life)

    # -- faults

    def crash(self, name: str, life: int) -> None:
        """The process of a node ends in what it does, and with it what had not left yet."""
        node = self.nodes[name]
        if node.alive and node.life == life:
            self._crashes[name, life] = self.now
            self.kill(name)
            if self.supervisor is not None:
                self.supervisor(name)

    def kill(self, name: str) -> None:
        """The node is gone at once; what it had sent still arrives."""
        node = self.nodes[name]
        node.kill()
        for other in self.nodes.values():
            if node.name in other.sees:
                self._suspect(node, other, self._notice_s)

    def restart(self, name: str) -> None:
        """Start a killed node again, under its name, with nothing."""
        node = self.nodes[name]
        if node.alive:
            self.kill(name)
        self._start(node)

    def freeze(self, name: str) -> None:
        """The node does nothing until it is thawed."""
        node = self.nodes[name]
        if node.silent:
            return
        node.freeze()
        for other in self.nodes.values():
            if node.name in other.sees:
                self._suspect(node, other, self._lease_s)

    def thaw(self, name: str) -> None:
        """A frozen node goes on. Whoever had lost it sees it again, and it them."""
        node = self.nodes[name]
        if not node.alive or not node.frozen:
            return
        for other in self.nodes.values():
            if other is not node and node.name not in other.sees and node.sees.pop(other.name, ""):
                node.handle(Vanished(other.name, other.incarnation), node.life)
        node.thaw()
        self._meet(node, self.nodes.values())

    def _meet(self, node: Node, others: Any) -> None:
        for other in others:
            if other is not node:
                self._look(other, node)
                self._look(node, other)

    def cut(self, giver: str, taker: str, both: bool = True) -> None:
        """Nothing gets from one node to another (nor back, if ``both``) until :meth:`heal`. What
        is on its way then arrives after it, unless one of them sees the other vanish."""
        for a, b in ((giver, taker), (taker, giver))[: 2 if both else 1]:
            if (a, b) not in self._cuts:
                self._cuts[a, b] = self.now
                self._suspect(self.nodes[a], self.nodes[b], self._lease_s)

    def heal(self, giver: str, taker: str) -> None:
        """End a cut, in both directions."""
        for a, b in ((giver, taker), (taker, giver)):
            self._cuts.pop((a, b), None)
            for arrival in self._held.pop((a, b), ()):
                self._arrive(*arrival)
        self._meet(self.nodes[giver], [self.nodes[taker]])

    def slow(self, name: str, factor: float) -> None:
        """Runs that begin from now on take ``factor`` times as long on this node."""
        self.nodes[name].slow = factor

    # -- messages

    def post(self, node: Node, send: Send) -> None:
        """Put a message of a node on its way."""
        self.posted += 1
        body, size, seconds = send.body, 0, 0.0
        if body is not None:
            size = self.engine.size(body, send.codec)
            if node.packed != (body, send.codec):  # who is sent the same is sent the same frame
                node.packed = body, send.codec
                seconds = self.engine.pack_s(node.name, body, send.codec)
        seconds += node.handling.message(size)
        if seconds:
            self.clock.at(node.occupy(seconds), self._leave, node, node.life, send, size)
        else:
            self._leave(node, node.life, send, size)

    def _leave(self, node: Node, life: int, send: Send, size: int) -> None:
        """The link is given a message, if the node still lives."""
        if node.life != life or not node.alive:
            return
        if node.frozen:
            node.when_thawed(self._leave, node, life, send, size)
            return
        message, to = send.message, send.to
        incarnation = node.sees.get(to)
        full = isinstance(message, Task | Resume) and self.wires.full(node.name, to, self.now)
        if incarnation is None or full:
            unsent = Unsent(to, message, incarnation is not None)
            self.clock.at(self.now, node.handle, unsent, node.life)
            return
        body = None if send.body is None else self.engine.arrived(send.body, send.codec)
        event = Arrived(node.name, message, body, size)
        at = self.wires.arrival(node.name, to, size, self.now)
        taker = self.nodes[to]
        seconds = taker.handling.message(size)
        if send.body is not None:
            seconds += self.engine.unpack_s(to, send.body, send.codec)
        sent = node.life, self.now
        for extra_s in (0.0,) if self.tamper is None else self.tamper(node.name, to, message):
            arrival = node.name, taker, incarnation, event, seconds, sent
            self.clock.at(at + extra_s, self._arrive, *arrival)

    def _arrive(
        self,
        giver: str,
        taker: Node,
        incarnation: str,
        event: Arrived,
        seconds: float,
        sent: tuple[int, float],
    ) -> None:
        if taker.incarnation != incarnation and not self.by_name:
            return
        life, at = sent
        if at > self._crashes.get((giver, life), math.inf) - self._unsent_s:
            return
        if (giver, taker.name) in self._cuts:
            self._held.setdefault((giver, taker.name), []).append(
                (giver, taker, incarnation, event, seconds, sent)
            )
            return
        taker.receive(event, seconds, taker.life)

    # -- requests

    def submit(
        self, gateway: str, body: Body, budget_ms: float = 10_000.0, images: int = 1
    ) -> Ticket:
        """Ask a gateway; the ticket finds the replies (see also ``told``)."""
        node = self.nodes[gateway]
        number = self._numbers.get((gateway, node.life), 0)
        self._numbers[gateway, node.life] = number + 1
        ticket = Ticket(gateway, node.life, number)
        if self.told is None:
            self.replies[ticket] = []
        submitted = Submitted(number, body, budget_ms, images)
        node.receive(submitted, node.handling.asked_s, node.life)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """The client no longer waits."""
        self.nodes[ticket.gateway].handle(Cancelled(ticket.number), ticket.life)

    def reply(self, node: Node, what: Deliver | Reject) -> None:
        """Note an end of a request (the machines' ``Deliver`` and ``Reject``)."""
        ticket, reply = Ticket(node.name, node.life, what.number), Reply(self.now, what)
        if self.told is not None:
            self.told(ticket, reply)
        else:
            self.replies[ticket].append(reply)

    def adopt(self, gateway: str, playbook: Playbook) -> None:
        """Let a gateway use a playbook."""
        node = self.nodes[gateway]
        self.gateway(gateway).playbooks.check(playbook)
        node.handle(Adopt(playbook), node.life)

    def drain(self, name: str) -> None:
        """Ask a node to finish its work and stop."""
        node = self.nodes[name]
        node.handle(Drain(), node.life)

    # -- time

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.clock.run(self.now + seconds)

    def run_until(self, done: Callable[[], bool], limit_s: float = 60.0) -> bool:
        """Let time pass, step by step, until ``done``; False when ``limit_s`` pass before."""
        end = self.now + limit_s
        while not done():
            at = self.clock.next()
            if at is None or at > end:
                self.clock.run(end)
                return done()
            self.clock.run(at)
        return True
