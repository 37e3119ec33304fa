"""Which playbooks a worker serves and which of their parts are ready to run."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass, field
from itertools import pairwise

from shoal.core.actions import FetchPart, LoadPart, Send, UnloadPart, WorkerAction
from shoal.core.messages import Install, Installed, Loading
from shoal.core.worker.trials import PATIENCE_S
from shoal.plan.plan import Plan, Playbook, Spread

MAX_PLAYBOOKS = 32
IDLE_S = 60.0
"""A playbook of which nothing was asked for so long makes room for another, when it is needed."""


@dataclass(slots=True)
class Served:
    """A playbook, the nodes that asked for it, its plans by name, and the parts of it that are
    being loaded or were refused, with the reason. ``used`` is when something of it was asked for
    last, in seconds. Parts that are refused for want of memory are ``bringing`` while they are
    fetched all the same, then ``brought``."""

    playbook: Playbook
    owners: set[str]
    plans: dict[str, Plan]
    used: float
    waiting: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    bringing: set[str] = field(default_factory=set)
    brought: set[str] = field(default_factory=set)


class Library:
    """Playbooks and parts of one worker. ``memory_limit`` (bytes, 0: none) bounds the memory that
    all loaded parts together are expected to take, with what is run.

    A part is loaded once, whatever number of playbooks needs it, and unloaded when none does. They
    are fetched and loaded one after the other, and none is loaded before all that wait for it have
    said that they heard so: what was only sent may go down with the worker, and nobody would know
    what it died of.
    """

    def __init__(self, name: str, memory_limit: int = 0) -> None:
        self._name = name
        self._memory_limit = memory_limit
        self._shelves: dict[str, Served] = {}
        self._memory: dict[str, int] = {}
        self._ready: set[str] = set()
        self._held: tuple[str, ...] | None = ()
        self._queue: dict[str, FetchPart] = {}  # parts that wait for their turn
        self._fetching: FetchPart | None = None
        self._loading = ""
        self._said: LoadPart | None = None  # what is to be loaded when all have heard
        self._unheard: set[str] = set()
        self._until = 0.0  # when they are not waited for any more
        self._in_vain = False  # nobody needs any more what is being fetched or loaded
        self.choosers: tuple[str, ...] = ()
        """Devices that choose between this one and others for what follows them in some plan."""

    @property
    def held(self) -> tuple[str, ...] | None:
        """The parts that can be run, sorted; None while some are being loaded."""
        if self._held is None and len(self._ready) == len(self._memory):
            self._held = tuple(sorted(self._ready))
        return self._held

    def playbook(self, playbook: str) -> Playbook | None:
        """An installed playbook."""
        shelf = self._shelves.get(playbook)
        return shelf.playbook if shelf else None

    def plan(self, playbook: str, plan: str) -> Plan | None:
        """A plan of an installed playbook."""
        shelf = self._shelves.get(playbook)
        return shelf.plans.get(plan) if shelf else None

    def stacks(self, playbook: str, part: str) -> bool:
        """Whether requests for ``part`` may be run at once: where the playbook does not say that
        this was reasoned from the part's graph, they may not."""
        shelf = self._shelves.get(playbook)
        info = shelf.playbook.parts.get(part) if shelf else None
        return info is not None and info.stacks is True

    def ready(self, part: str) -> bool:
        """Whether ``part`` can be run."""
        return part in self._ready

    def use(self, playbook: str, now: float) -> None:
        """Something of a playbook is asked for."""
        shelf = self._shelves.get(playbook)
        if shelf is not None:
            shelf.used = now

    def too_large(self, part: str, images: int) -> str:
        """Why so many images cannot be run at once by ``part``; empty: they can."""
        most = self.most_images(part)
        if images <= most:
            return ""
        mib, each = 1 << 20, self._activations(part)
        return (
            f"{images} images at once take {(images - 1) * each / mib:.0f} MiB beside the loaded "
            f"parts, whose limit is {self._memory_limit / mib:.0f} MiB; send at most {most:.0f} at "
            "once, or raise memory in the cluster file"
        )

    def most_images(self, part: str) -> float:
        """How many images there is memory for, beside all that is loaded; one at least, which is
        counted where a part is loaded."""
        each = self._activations(part)
        if not each or not self._memory_limit:
            return math.inf
        return 1 + max(0, self._memory_limit - sum(self._memory.values())) // each

    def _activations(self, part: str) -> int:
        known = (shelf.playbook.parts.get(part) for shelf in self._shelves.values())
        return next((info.activations for info in known if info is not None), 0)

    def install(
        self, sender: str, message: Install, now: float, busy: Container[str] = ()
    ) -> list[WorkerAction]:
        """Take a playbook: load what fits into memory, refuse the rest with the reason. Asked
        again, try again what was refused. Of playbooks in ``busy`` there is work here."""
        book = message.playbook
        shelf = self._shelves.get(book.id)
        parts = book.parts_of(self._name)
        actions: list[WorkerAction] = []
        if shelf is None:
            if len(self._shelves) >= MAX_PLAYBOOKS:
                idle = self._idlest(now, busy)
                if idle is None:
                    text = (
                        f"{self._name} serves {MAX_PLAYBOOKS} playbooks already, all of them used "
                        f"within the last {IDLE_S:.0f} s; stop one of them"
                    )
                    return [Send(sender, Installed(book.id, (), dict.fromkeys(parts, text)))]
                actions += self._let_go(idle)
            plans = {plan.name: plan for plan in book.plans}
            shelf = self._shelves[book.id] = Served(book, set(), plans, now)
            self._changed()
        shelf.owners.add(sender)
        shelf.refused.clear()
        used = {book.id, *message.in_use}
        stale = [
            name for name, s in self._shelves.items() if sender in s.owners and name not in used
        ]
        actions += [action for name in stale for action in self.uninstall(sender, name)]
        for part in parts:
            if part in message.barred and part not in self._ready:
                shelf.refused[part] = message.barred[part]
            else:
                self._want(shelf, part, sender, message.bring)
        if self._loading in shelf.waiting:
            actions.append(Send(sender, Loading(self._loading)))
            self._unheard.add(sender)
        actions += self._report(shelf, (sender,))
        return actions if self._fetching is not None else actions + self._next()

    def fetched(self, part: str, now: float) -> list[WorkerAction]:
        """A part is here: tell those who wait for it that it will be loaded."""
        fetch = self._fetching
        if fetch is None or fetch.part != part or self._loading:
            return []
        if self._in_vain:
            return self._next()
        if part not in self._memory:
            return self._brought(part)
        self._loading = part
        self._said = LoadPart(fetch.playbook, part, fetch.info)
        self._unheard, self._until = self._waiting(part), now + PATIENCE_S
        return [*(Send(owner, Loading(part)) for owner in sorted(self._unheard)), *self._begin()]

    def _brought(self, part: str) -> list[WorkerAction]:
        """A part is here for which there is no memory."""
        actions: list[WorkerAction] = []
        for shelf in self._shelves.values():
            if part in shelf.bringing:
                shelf.bringing.discard(part)
                shelf.brought.add(part)
                actions += self._report(shelf, sorted(shelf.owners))
        return actions + self._next()

    def heard(self, owner: str, part: str) -> list[WorkerAction]:
        """Somebody knows that a part will be loaded."""
        if part == self._loading:
            self._unheard.discard(owner)
        return self._begin()

    def due(self, now: float) -> list[WorkerAction]:
        """Wait no longer for those who say nothing."""
        if now >= self._until:
            self._unheard.clear()
        return self._begin()

    def next(self) -> float | None:
        """When :meth:`due` has something to do, in seconds."""
        return None if self._said is None else self._until

    def _waiting(self, part: str) -> set[str]:
        """Those who wait for a part."""
        waiting = (shelf.owners for shelf in self._shelves.values() if part in shelf.waiting)
        return set[str]().union(*waiting)

    def _begin(self) -> list[WorkerAction]:
        """Have a part loaded of which all know that wait for it, if anybody does."""
        said = self._said
        if said is None or self._unheard & self._waiting(said.part):
            return []
        self._said = None
        return self._next() if self._in_vain else [said]

    def loaded(self, part: str, error: str | None) -> list[WorkerAction]:
        """Note how fetching and loading a part ended."""
        if self._fetching is None or part != self._fetching.part:
            return []
        if self._in_vain:
            return [UnloadPart(part), *self._next()]
        self._held = None
        if error is None:
            self._ready.add(part)
        else:
            self._memory.pop(part, None)
        actions: list[WorkerAction] = []
        for shelf in self._shelves.values():
            if part in shelf.waiting | shelf.bringing:
                shelf.waiting.discard(part)
                shelf.bringing.discard(part)
                shelf.refused.pop(part, None)
                if error is not None:
                    shelf.refused[part] = error
                actions += self._report(shelf, sorted(shelf.owners))
        return actions + self._next()

    def uninstall(self, sender: str, playbook: str | None = None) -> list[WorkerAction]:
        """Let go of a playbook (or of all) that ``sender`` asked for."""
        unwanted = []
        for name, shelf in self._shelves.items():
            if playbook in (None, name):
                shelf.owners.discard(sender)
                if not shelf.owners:
                    unwanted.append(name)
        return self._let_go(*unwanted)

    def _let_go(self, *playbooks: str) -> list[WorkerAction]:
        """Serve some playbooks no more, and unload what no other one needs."""
        for name in playbooks:
            del self._shelves[name]
        used = {p for s in self._shelves.values() for p in s.playbook.parts_of(self._name)}
        self._queue = {part: fetch for part, fetch in self._queue.items() if part in used}
        self._in_vain |= self._fetching is not None and self._fetching.part not in used
        unused = [part for part in self._memory if part not in used]
        for part in unused:
            del self._memory[part]
        unload: list[WorkerAction] = [UnloadPart(part) for part in unused if part in self._ready]
        self._ready.difference_update(unused)
        self._changed()
        return unload + self._begin()

    def _idlest(self, now: float, busy: Container[str]) -> str | None:
        """The playbook that nothing was asked of for longest, if that is long enough."""
        idle = [
            (shelf.used, name)
            for name, shelf in self._shelves.items()
            if now - shelf.used >= IDLE_S and name not in busy
        ]
        return min(idle)[1] if idle else None

    def _changed(self) -> None:
        """Other playbooks are served than before."""
        self._held = None
        choosers = {
            device
            for shelf in self._shelves.values()
            for plan in shelf.playbook.plans
            for before, stage in pairwise(plan.stages)
            if stage.spread is Spread.ONE and len(stage.parts) > 1 and self._name in stage.parts
            for device in before.parts
        }
        self.choosers = tuple(sorted(choosers - {self._name}))

    def _want(self, shelf: Served, part: str, source: str, bring: bool) -> None:
        """Have a part loaded when its turn comes, if it is not there or on its way; or only fetched
        where there is no memory for it, if it is to be brought."""
        shelf.brought.discard(part)
        if part in self._ready or part in shelf.waiting:
            return
        info = shelf.playbook.parts.get(part)
        if info is None:
            shelf.refused[part] = "the playbook does not describe this part"
            return
        if part not in self._memory:
            refusal = self._too_large(info.memory)
            if refusal:
                shelf.refused[part] = refusal
                if bring:
                    self._fetch(FetchPart(shelf.playbook.id, part, info, source))
                    shelf.bringing.add(part)
                return
            self._memory[part] = info.memory
            self._fetch(FetchPart(shelf.playbook.id, part, info, source))
        shelf.bringing.discard(part)
        shelf.waiting.add(part)

    def _fetch(self, fetch: FetchPart) -> None:
        """Have a part fetched when its turn comes, if it is not being fetched."""
        if self._in_vain or self._fetching is None or self._fetching.part != fetch.part:
            self._queue.setdefault(fetch.part, fetch)

    def _next(self) -> list[WorkerAction]:
        """Have the part fetched whose turn it is."""
        self._loading, self._in_vain, self._fetching, self._said = "", False, None, None
        if not self._queue:
            return []
        self._fetching = self._queue.pop(next(iter(self._queue)))
        return [self._fetching]

    def crowded(self, part: str) -> str | None:
        """Why there is no memory for another copy of a part, if there is none."""
        return self._too_large(self._memory.get(part, 0))

    def _too_large(self, memory: int) -> str | None:
        used = sum(self._memory.values())
        if not self._memory_limit or used + memory <= self._memory_limit:
            return None
        mib = 1 << 20
        return (
            f"{self._name} has too little memory: the part needs {memory / mib:.0f} MiB, "
            f"{used / mib:.0f} of {self._memory_limit / mib:.0f} MiB are taken; plan again with "
            f"memory: {self._memory_limit // mib} MiB in the cluster file"
        )

    def _report(self, shelf: Served, owners: tuple[str, ...] | list[str]) -> list[WorkerAction]:
        if shelf.waiting or shelf.bringing:
            return []
        parts = shelf.playbook.parts_of(self._name)
        ready = tuple(part for part in parts if part in self._ready)
        brought = tuple(sorted(shelf.brought))
        reply = Installed(shelf.playbook.id, ready, dict(shelf.refused), brought)
        return [Send(owner, reply) for owner in owners]
