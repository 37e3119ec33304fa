"""Which playbooks a worker serves and which of their parts are ready to run."""

from __future__ import annotations

from dataclasses import dataclass, field

from shoal.core.actions import Load, Send, Unload, WorkerAction
from shoal.core.messages import Install, Installed
from shoal.plan.plan import Playbook

MAX_PLAYBOOKS = 32


@dataclass(slots=True)
class Shelf:
    """A playbook, the nodes that asked for it, and the parts of it that were refused."""

    playbook: Playbook
    owners: set[str]
    waiting: set[str]
    refused: dict[str, str] = field(default_factory=dict)


class Library:
    """Playbooks and parts of one worker. ``memory_limit`` (bytes, 0: none) bounds the memory that
    all loaded parts together are expected to take."""

    def __init__(self, name: str, memory_limit: int = 0) -> None:
        self._name = name
        self._memory_limit = memory_limit
        self._shelves: dict[str, Shelf] = {}
        self._memory: dict[str, int] = {}
        self._ready: set[str] = set()

    def playbook(self, playbook: str) -> Playbook | None:
        """An installed playbook."""
        shelf = self._shelves.get(playbook)
        return shelf.playbook if shelf else None

    def ready(self, part: str) -> bool:
        """Whether ``part`` can be run."""
        return part in self._ready

    def install(self, sender: str, message: Install) -> list[WorkerAction]:
        """Take a playbook: load what fits into memory, refuse the rest with the reason."""
        book = message.playbook
        shelf = self._shelves.get(book.id)
        if shelf is not None:
            shelf.owners.add(sender)
            return self._report(shelf)
        parts = book.parts_of(self._name)
        if len(self._shelves) >= MAX_PLAYBOOKS:
            text = f"{self._name} serves {MAX_PLAYBOOKS} playbooks already; stop one of them"
            reply = Installed(book.id, (), dict.fromkeys(parts, text))
            return [Send(sender, reply)]
        shelf = Shelf(book, {sender}, set())
        self._shelves[book.id] = shelf
        actions: list[WorkerAction] = []
        for part in parts:
            if part in self._ready:
                continue
            if part not in self._memory:
                refusal = self._too_large(book.parts[part].memory)
                if refusal:
                    shelf.refused[part] = refusal
                    continue
                self._memory[part] = book.parts[part].memory
            shelf.waiting.add(part)
            actions.append(Load(book.id, part, book.parts[part], sender))
        return actions + self._report(shelf)

    def loaded(self, playbook: str, part: str, error: str | None) -> list[WorkerAction]:
        """Note how loading a part ended."""
        shelf = self._shelves.get(playbook)
        if shelf is None or part not in shelf.waiting:
            return []
        shelf.waiting.discard(part)
        if error is None:
            self._ready.add(part)
            self._memory[part] = shelf.playbook.parts[part].memory
        else:
            shelf.refused[part] = error
            self._memory.pop(part, None)
        return self._report(shelf)

    def lost(self, part: str) -> None:
        """Note that a part turned out not to be runnable after all."""
        self._ready.discard(part)

    def uninstall(self, sender: str, playbook: str | None = None) -> list[WorkerAction]:
        """Let go of a playbook (or of all) that ``sender`` asked for."""
        for name, shelf in list(self._shelves.items()):
            if playbook in (None, name):
                shelf.owners.discard(sender)
                if not shelf.owners:
                    del self._shelves[name]
        return self._unload_unused()

    def owners(self) -> set[str]:
        """The nodes that have a playbook here."""
        return {owner for shelf in self._shelves.values() for owner in shelf.owners}

    def _unload_unused(self) -> list[WorkerAction]:
        used = {p for s in self._shelves.values() for p in s.playbook.parts_of(self._name)}
        unused = [part for part in self._memory if part not in used]
        for part in unused:
            del self._memory[part]
            self._ready.discard(part)
        return [Unload(part) for part in unused]

    def _too_large(self, memory: int) -> str | None:
        used = sum(self._memory.values())
        if not self._memory_limit or used + memory <= self._memory_limit:
            return None
        mib = 1 << 20
        return (
            f"{self._name} has too little memory: the part needs {memory / mib:.0f} MiB, "
            f"{used / mib:.0f} of {self._memory_limit / mib:.0f} MiB are taken"
        )

    def _report(self, shelf: Shelf) -> list[WorkerAction]:
        if shelf.waiting:
            return []
        parts = shelf.playbook.parts_of(self._name)
        ready = tuple(part for part in parts if part in self._ready)
        reply = Installed(shelf.playbook.id, ready, dict(shelf.refused))
        return [Send(owner, reply) for owner in sorted(shelf.owners)]
