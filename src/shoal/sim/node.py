"""A node in virtual time: the machines of :mod:`shoal.core`, and the device that they are on."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntFlag
from typing import TYPE_CHECKING

from shoal.core.actions import (
    Deliver,
    Drained,
    Fetch,
    GatewayAction,
    Load,
    Probe,
    Reject,
    Run,
    Send,
    Unload,
    Wake,
    WorkerAction,
)
from shoal.core.events import (
    Appeared,
    Fetched,
    GatewayEvent,
    Loaded,
    Outcome,
    Ran,
    RunFailed,
    Tick,
    WorkerEvent,
)
from shoal.core.gateway.gateway import GatewayCore
from shoal.core.messages import Why
from shoal.core.worker.worker import WorkerCore

if TYPE_CHECKING:
    from shoal.sim.world import World


class Core(IntFlag):
    """Which of a node's two machines."""

    WORKER = 1
    GATEWAY = 2
    BOTH = 3


class Node:
    """One node. A life lasts from start to kill; what belongs to an earlier life is dropped.

    While it is frozen, what happens to it piles up and it does nothing. ``slow`` stretches its
    computing.
    """

    def __init__(
        self,
        world: World,
        name: str,
        make_worker: Callable[[str], WorkerCore],
        make_gateway: Callable[[], GatewayCore] | None,
    ) -> None:
        self.name = name
        self.life = 0
        self.alive = False
        self.frozen = False
        self.drained = False
        self.slow = 1.0
        self.loaded: set[str] = set()
        self.worker: WorkerCore
        self.gateway: GatewayCore | None = None
        self.sees: dict[str, str] = {}
        """Visible peers and their incarnations."""
        self.silent_since = 0.0
        self._world = world
        self._make_worker = make_worker
        self._make_gateway = make_gateway
        self._pile: list[tuple[Core, WorkerEvent | GatewayEvent]] = []
        self._wakes: dict[Core, float] = {}
        self._unfinished: list[tuple[float, Run, float]] = []
        self._stalled_s = 0.0

    @property
    def incarnation(self) -> str:
        """Differs in each life."""
        return f"{self.name}#{self.life}"

    @property
    def silent(self) -> bool:
        """Whether nothing comes from it."""
        return self.frozen or not self.alive

    def start(self) -> None:
        """Begin a new life."""
        self.life += 1
        self.alive, self.frozen, self.drained, self._stalled_s = True, False, False, 0.0
        self.loaded, self.sees = set(), {}
        self._pile.clear()
        self._wakes.clear()
        self._unfinished.clear()
        self.worker = self._make_worker(self.name)
        self.worker.introduce(self.incarnation)
        self.gateway = self._make_gateway() if self._make_gateway else None
        self.handle(Core.BOTH, Appeared(self.name, self.incarnation), self.life)

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
        for core, event in pile:
            self.handle(core, event, self.life)

    def handle(self, core: Core, event: WorkerEvent | GatewayEvent, life: int) -> None:
        """Let the machines take an event of this life and do what they say."""
        if life != self.life or not self.alive:
            return
        if self.frozen:
            self._pile.append((core, event))
            return
        now = self._world.now
        if core & Core.WORKER:
            self.perform(Core.WORKER, event, self.worker.handle(event, now))  # type: ignore[arg-type]
        if core & Core.GATEWAY and self.gateway is not None:
            self.perform(Core.GATEWAY, event, self.gateway.handle(event, now))  # type: ignore[arg-type]

    def perform(
        self,
        core: Core,
        event: WorkerEvent | GatewayEvent | None,
        actions: list[WorkerAction] | list[GatewayAction],
    ) -> None:
        """Do what a machine says (``event`` is what it says it to, for those who watch)."""
        world = self._world
        if world.watch is not None:
            world.watch(self, core, event, actions)
        for action in actions:
            match action:
                case Send():
                    world.post(self, core, action)
                case Run():
                    seconds = world.engine.run_s(self.name, action) * self.slow
                    seconds += world.apart_s if action.apart else 0.0
                    self._risk(action, seconds)
                    world.clock.after(
                        seconds, self._end_run, self.life, action, world.now, self._stalled_s
                    )
                case Deliver() | Reject():
                    world.reply(self, action)
                case Wake(at):
                    self._wakes[core] = at
                    world.clock.at(at, self._ring, self.life, core, at)
                case Fetch(playbook, part):
                    fetched = Fetched(playbook, part)
                    world.clock.after(0.0, self.handle, core, fetched, self.life)
                case Load():
                    seconds, error = world.engine.load(self.name, action)
                    self._risk(action, seconds)
                    world.clock.after(seconds, self._end_load, self.life, action, error)
                case Unload(part):
                    self.loaded.discard(part)
                case Drained():
                    self.drained = True
                case Probe():
                    pass  # links have no rate here

    def _risk(self, what: Run | Load, seconds: float) -> None:
        """It may die in the middle of what it does."""
        apart = isinstance(what, Run) and what.apart
        if not apart and self._world.engine.kills(self.name, what):
            self._world.clock.after(seconds / 2, self._world.crash, self.name, self.life)

    def _end_run(self, life: int, run: Run, started: float, stalled_s: float) -> None:
        """A run is over, unless the node stood still meanwhile: then it has that much to go.
        ``stalled_s`` is how long it had stood still when that was last looked at."""
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
        self.handle(Core.WORKER, made, life)

    def _end_load(self, life: int, load: Load, error: str | None) -> None:
        if life != self.life or not self.alive:
            return
        if error is None:
            self.loaded.add(load.part)
        self.handle(Core.WORKER, Loaded(load.playbook, load.part, error), life)

    def _ring(self, life: int, core: Core, at: float) -> None:
        if life == self.life and self._wakes.get(core) == at:
            del self._wakes[core]
            self.handle(core, Tick(), life)
