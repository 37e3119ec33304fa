"""A node in virtual time: :class:`shoal.core.node.NodeCore`, and the device that it is on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from shoal.core.actions import (
    Deliver,
    Drained,
    FetchPart,
    LoadPart,
    NodeAction,
    Probe,
    Reject,
    Run,
    Send,
    UnloadPart,
)
from shoal.core.events import (
    Appeared,
    Fetched,
    LinkMeasured,
    Loaded,
    NodeEvent,
    Outcome,
    Ran,
    RunFailed,
    Tick,
)
from shoal.core.gateway.gateway import GatewayCore
from shoal.core.messages import Why
from shoal.core.node import NodeCore
from shoal.core.worker.worker import WorkerCore
from shoal.sim.handling import FREE, Handling

if TYPE_CHECKING:
    from shoal.sim.world import World

WEIGH_S = 0.05
"""Least time between two looks at what the links carry."""


class Node:
    """One node. A life lasts from start to kill; what belongs to an earlier life is dropped.

    While it is frozen, what happens to it piles up and it does nothing. ``slow`` stretches what its
    processor does: the ``handling`` of messages and requests, and beside it what it computes.
    """

    def __init__(
        self,
        world: World,
        name: str,
        make_core: Callable[[], NodeCore],
        handling: Handling = FREE,
    ) -> None:
        self.name = name
        self.handling = handling
        self.life = 0
        self.incarnation = f"{name}#0"
        """Differs in each life."""
        self.alive = False
        self.frozen = False
        self.drained = False
        self.slow = 1.0
        self.loaded: set[str] = set()
        self.packed: tuple[object, str] | None = None
        """The body that it packed last, and with what."""
        self.core: NodeCore
        self.sees: dict[str, str] = {}
        """Visible peers and their incarnations."""
        self.silent_since = 0.0
        self.busy_s = 0.0
        """How long its processor has worked, or will for what has begun."""
        self._world = world
        self._make_core = make_core
        self._pile: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._wake_at = math.inf
        self._weigh_at = 0.0
        self._unfinished: list[tuple[float, Run, float]] = []
        self._stalled_s = 0.0  # how long what it computes has stood still, or will for messages
        self._handled_at = 0.0  # when the messages that are here, or are to leave, are dealt with

    @property
    def worker(self) -> WorkerCore:
        """Its worker."""
        return self.core.worker

    @property
    def gateway(self) -> GatewayCore | None:
        """Its gateway, if it has one."""
        return self.core.gateway

    @property
    def silent(self) -> bool:
        """Whether nothing comes from it."""
        return self.frozen or not self.alive

    def start(self) -> None:
        """Begin a new life."""
        self.life += 1
        self.incarnation = f"{self.name}#{self.life}"
        self.alive, self.frozen, self.drained, self._stalled_s = True, False, False, 0.0
        self.loaded, self.sees = set(), {}
        self._pile.clear()
        self._wake_at, self._weigh_at, self._handled_at = math.inf, 0.0, 0.0
        self._unfinished.clear()
        self.core = self._make_core()
        self.core.introduce(self.incarnation)
        if self._world.tap is not None:
            self.core.log.tap = self._world.tap(self)
        self.handle(Appeared(self.name, self.incarnation), self.life)

    def kill(self) -> None:
        """End its life."""
        self.alive = False
        self.silent_since = self._world.now

    def freeze(self) -> None:
        """Stop doing anything."""
        self.frozen = True
        self.silent_since = self._world.now

    def thaw(self) -> None:
        """Go on, beginning with what has piled up."""
        self.frozen = False
        self._stalled_s += self._world.now - self.silent_since
        for left_s, run, started in self._unfinished:
            self._world.clock.after(left_s, self._end_run, self.life, run, started, self._stalled_s)
        self._unfinished.clear()
        pile, self._pile = self._pile, []
        for do, args in pile:
            do(*args)

    def when_thawed(self, do: Callable[..., None], *args: Any) -> None:
        """Have something done when this node is not frozen any more, if its life goes on."""
        self._pile.append((do, args))

    def occupy(self, seconds: float) -> float:
        """Let the processor deal with something, after what came before; when that is done. What
        is computed meanwhile stands still."""
        seconds *= self.slow
        self.busy_s += seconds
        self._stalled_s += seconds
        self._handled_at = max(self._handled_at, self._world.now) + seconds
        return self._handled_at

    def receive(self, event: NodeEvent, seconds: float, life: int) -> None:
        """Something has come that takes the processor so long, before the core hears of it."""
        if life != self.life or not self.alive or not seconds:
            self.handle(event, life)
        elif self.frozen:
            self.when_thawed(self.receive, event, seconds, life)
        else:
            self._world.clock.at(self.occupy(seconds), self.handle, event, life)

    def handle(self, event: NodeEvent, life: int) -> None:
        """Let the core take an event of this life, and do what it says."""
        if life != self.life or not self.alive:
            return
        if self.frozen:
            self.when_thawed(self.handle, event, life)
            return
        self._weigh()
        self._decide(event)
        at = self.core.wake_at
        if at < self._wake_at:
            self._wake_at = at
            self._world.clock.at(at, self._ring, self.life, at)

    def _weigh(self) -> None:
        """Tell the core what the links carry, before it decides about what comes next."""
        world, now = self._world, self._world.now
        if now < self._weigh_at:
            return
        self._weigh_at = now + WEIGH_S
        for peer, seen, rtt_s in world.wires.news(self.name, now):
            if peer in self.sees:
                rate, age_s = seen.bytes_per_s, now - seen.at
                self._decide(LinkMeasured(peer, rate, rtt_s * 1e3, age_s, seen.at_least))

    def _decide(self, event: NodeEvent) -> None:
        world = self._world
        world.decided += 1
        actions = self.core.handle(event, world.now)
        if world.watch is not None:
            world.watch(self, event, actions)
        self._perform(actions)

    def _perform(self, actions: Sequence[NodeAction]) -> None:
        world = self._world
        for action in actions:
            match action:
                case Send():
                    world.post(self, action)
                case Run():
                    seconds = world.engine.run_s(self.name, action) + self.handling.run_s
                    seconds *= self.slow
                    self.busy_s += seconds
                    seconds += world.apart_s if action.apart else 0.0
                    self._risk(action, seconds)
                    stalled_s = self._stalled_s - max(0.0, self._handled_at - world.now)
                    world.clock.after(
                        seconds, self._end_run, self.life, action, world.now, stalled_s
                    )
                case Deliver() | Reject():
                    world.reply(self, action)
                case FetchPart(playbook, part):
                    fetched = Fetched(playbook, part)
                    world.clock.after(0.0, self.handle, fetched, self.life)
                case LoadPart():
                    seconds, error = world.engine.load(self.name, action)
                    self._risk(action, seconds)
                    world.clock.after(seconds, self._end_load, self.life, action, error)
                case UnloadPart(part):
                    self.loaded.discard(part)
                case Drained():
                    self.drained = True
                case Probe(to):
                    if to in self.sees:
                        world.wires.probe(self.name, to, world.now)

    def _risk(self, what: Run | LoadPart, seconds: float) -> None:
        """It may die in the middle of what it does."""
        apart = isinstance(what, Run) and what.apart
        if not apart and self._world.engine.kills(self.name, what):
            self._world.clock.after(seconds / 2, self._world.crash, self.name, self.life)

    def _end_run(self, life: int, run: Run, started: float, stalled_s: float) -> None:
        """A run is over, unless it stood still meanwhile: then it has that much to go.
        ``stalled_s`` is how long all had stood still when that was last looked at."""
        if life != self.life or not self.alive:
            return
        clock = self._world.clock
        missed = self._stalled_s - stalled_s
        if self.frozen:
            self._unfinished.append((missed + clock.now - self.silent_since, run, started))
            return
        if missed > 0:
            clock.after(missed, self._end_run, life, run, started, self._stalled_s)
            return
        made: tuple[Outcome, ...] | Ran | RunFailed
        made = RunFailed(run.jobs, f"the part {run.part} is not loaded")
        if run.apart and self._world.engine.kills(self.name, run):
            made = RunFailed(run.jobs, "its process died", Why.RUN_KILLED)
        elif run.part in self.loaded:
            made = self._world.engine.run(self.name, run)
        if not isinstance(made, RunFailed):
            made = Ran(run.jobs, made, (clock.now - started) * 1e3, started)
        self.handle(made, life)

    def _end_load(self, life: int, load: LoadPart, error: str | None) -> None:
        if life != self.life or not self.alive:
            return
        if error is None:
            self.loaded.add(load.part)
        self.handle(Loaded(load.playbook, load.part, error), life)

    def _ring(self, life: int, at: float) -> None:
        if life == self.life and self._wake_at == at:
            self._wake_at = math.inf
            self.handle(Tick(), life)
