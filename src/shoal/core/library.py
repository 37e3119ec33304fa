"""Which playbooks a worker serves and which of their parts are ready to run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

from shoal.core.actions import Load, Send, Unload, WorkerAction
from shoal.core.messages import Install, Installed
from shoal.plan.plan import Plan, Playbook, Spread

MAX_PLAYBOOKS = 32


@dataclass(slots=True)
class Shelf:
    """A playbook, the nodes that asked for it, its plans by name, and the parts of it that are
    being loaded or were refused, with the reason."""

    playbook: Playbook
    owners: set[str]
    plans: dict[str, Plan]
    waiting: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)


class Library:
    """Playbooks and parts of one worker. ``memory_limit`` (bytes, 0: none) bounds the memory that
    all loaded parts together are expected to take, with what is run.

    A part is loaded once, whatever number of playbooks needs it, and unloaded when none does.
    """

    def __init__(self, name: str, memory_limit: int = 0) -> None:
        self._name = name
        self._memory_limit = memory_limit
        self._shelves: dict[str, Shelf] = {}
        self._memory: dict[str, int] = {}
        self._ready: set[str] = set()
        self._held: tuple[str, ...] | None = ()
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

    def ready(self, part: str) -> bool:
        """Whether ``part`` can be run."""
        return part in self._ready

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

    def install(self, sender: str, message: Install) -> list[WorkerAction]:
        """Take a playbook: load what fits into memory, refuse the rest with the reason. Asked
        again, try again what was refused."""
        book = message.playbook
        shelf = self._shelves.get(book.id)
        parts = book.parts_of(self._name)
        if shelf is None:
            if len(self._shelves) >= MAX_PLAYBOOKS:
                text = f"{self._name} serves {MAX_PLAYBOOKS} playbooks already; stop one of them"
                return [Send(sender, Installed(book.id, (), dict.fromkeys(parts, text)))]
            shelf = Shelf(book, set(), {plan.name: plan for plan in book.plans})
            self._shelves[book.id] = shelf
            self._changed()
        shelf.owners.add(sender)
        shelf.refused.clear()
        used = {book.id, *message.in_use}
        stale = [
            name for name, s in self._shelves.items() if sender in s.owners and name not in used
        ]
        actions = [action for name in stale for action in self.uninstall(sender, name)]
        loads = [load for part in parts if (load := self._want(shelf, part, sender))]
        return [*actions, *loads, *self._report(shelf, (sender,))]

    def loaded(self, part: str, error: str | None) -> list[WorkerAction]:
        """Note how loading a part ended."""
        if part not in self._memory:
            return [Unload(part)] if error is None else []
        self._held = None
        if error is None:
            self._ready.add(part)
        elif part not in self._ready:
            del self._memory[part]
        actions: list[WorkerAction] = []
        for shelf in self._shelves.values():
            if part in shelf.waiting:
                shelf.waiting.discard(part)
                if error is not None:
                    shelf.refused[part] = error
                actions += self._report(shelf, sorted(shelf.owners))
        return actions

    def uninstall(self, sender: str, playbook: str | None = None) -> list[WorkerAction]:
        """Let go of a playbook (or of all) that ``sender`` asked for."""
        for name, shelf in list(self._shelves.items()):
            if playbook in (None, name):
                shelf.owners.discard(sender)
                if not shelf.owners:
                    del self._shelves[name]
        used = {p for s in self._shelves.values() for p in s.playbook.parts_of(self._name)}
        unused = [part for part in self._memory if part not in used]
        for part in unused:
            del self._memory[part]
        unload: list[WorkerAction] = [Unload(part) for part in unused if part in self._ready]
        self._ready.difference_update(unused)
        self._changed()
        return unload

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

    def _want(self, shelf: Shelf, part: str, source: str) -> Load | None:
        """Have a part loaded, if it is not there or on its way."""
        if part in self._ready or part in shelf.waiting:
            return None
        info = shelf.playbook.parts.get(part)
        if info is None:
            shelf.refused[part] = "the playbook does not describe this part"
            return None
        shelf.waiting.add(part)
        if part in self._memory:
            return None
        refusal = self._too_large(info.memory)
        if refusal:
            shelf.waiting.discard(part)
            shelf.refused[part] = refusal
            return None
        self._memory[part] = info.memory
        return Load(shelf.playbook.id, part, info, source)

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

    def _report(self, shelf: Shelf, owners: tuple[str, ...] | list[str]) -> list[WorkerAction]:
        if shelf.waiting:
            return []
        parts = shelf.playbook.parts_of(self._name)
        ready = tuple(part for part in parts if part in self._ready)
        reply = Installed(shelf.playbook.id, ready, dict(shelf.refused))
        return [Send(owner, reply) for owner in owners]
