"""The playbooks that a gateway uses, and getting them installed on their devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from shoal.core.actions import Send
from shoal.core.gateway.devices import Devices
from shoal.core.gateway.loads import Loads
from shoal.core.gateway.request import Narrow, RoundTrip
from shoal.core.messages import Install, Installed, Uninstall
from shoal.core.policy import Policy
from shoal.core.shared.membership import Membership
from shoal.core.shared.timers import Timers
from shoal.errors import PlanError
from shoal.plan.plan import Plan, Playbook, Spread, Stage

MAX_BOOKS = 8
_ASK_AGAIN_S, _ASK_MOST_S = 1.0, 30.0
_REFUSED_AGAIN_S, _REFUSED_MOST_S = 5.0, 300.0


@dataclass(slots=True)
class Book:
    """A playbook in use. ``memory`` is its policy's (``hops_memory`` that for next hops), ``users``
    counts the requests that follow it, ``trips`` has the times of attempts by plan and number of
    images (in powers of two), ``asked`` how often in vain each device was asked to install it.
    ``current`` and ``everywhere`` are worked out when they are needed."""

    playbook: Playbook
    policy: Policy
    devices: frozenset[str]
    plans: dict[str, Plan]
    inputs: tuple[str, ...]
    memory: Any = None
    hops_memory: Any = None
    users: int = 0
    trips: dict[tuple[str, int], RoundTrip] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    current: Playbook | None = None
    everywhere: bool | None = None

    @property
    def id(self) -> str:
        """The playbook's."""
        return self.playbook.id


class Books:
    """The playbooks of one gateway, oldest first."""

    def __init__(
        self,
        members: Membership,
        devices: Devices,
        policies: Callable[[str], Policy],
        loads: Loads,
    ) -> None:
        self._members = members
        self._devices = devices
        self._loads = loads
        self._policies = policies
        self._books: dict[str, Book] = {}
        self._timers: Timers[tuple[str, str]] = Timers()
        self._ordered: list[Book] | None = None
        self._usable: int | None = None
        self._batch: int | None = None

    def __len__(self) -> int:
        return len(self._books)

    def get(self, playbook: str) -> Book | None:
        """A playbook in use."""
        return self._books.get(playbook)

    def all(self) -> list[Book]:
        """Oldest first."""
        return list(self._books.values())

    # -- which can be used

    def changed(self) -> None:
        """Something was learned of the devices: what was worked out from it no longer counts."""
        self._ordered = self._usable = self._batch = None
        for book in self._books.values():
            book.current = book.everywhere = None

    def usable(self, name: str, playbook: str) -> bool:
        """Whether work of ``playbook`` can be given to a device."""
        device = self._devices.get(name)
        return (
            device is not None
            and playbook in device.ready
            and not device.draining
            and self._members.alive(name)
        )

    def usable_devices(self) -> int:
        """How many devices can be given work."""
        if self._usable is None:
            self._usable = len(
                {n for b in self._books.values() for n in b.devices if self.usable(n, b.id)}
            )
        return self._usable

    def largest_batch(self) -> int:
        """The most requests that some stage runs at once."""
        if self._batch is None:
            plans = [plan for book in self._books.values() for plan in book.playbook.plans]
            self._batch = max((s.batch for plan in plans for s in plan.stages), default=1)
        return self._batch

    def ordered(self) -> list[Book]:
        """In the order in which to ask them: the newest first, but those that are not installed
        everywhere yet after those that are."""
        if self._ordered is None:
            newest_first = list(reversed(self._books.values()))
            newest_first.sort(key=lambda book: not self._everywhere(book))
            self._ordered = newest_first
        return self._ordered

    def current(self, book: Book) -> Playbook:
        """The playbook without what no device has loaded."""
        if book.current is None:
            book.current = restrict(book.playbook, self._devices)
        return book.current

    def unready(self, playbook: Playbook) -> dict[str, str]:
        """Devices of a playbook that have not said yet that it is installed, and why."""
        missing = {}
        for name in sorted(playbook.devices):
            device = self._devices.get(name)
            if not self._members.alive(name):
                missing[name] = "is not there"
            elif device is None or playbook.id not in device.ready:
                missing[name] = "has not loaded its parts yet"
        return missing

    def unusable(self, book: Book) -> dict[str, str]:
        """Devices of a playbook that cannot be given work of it, or not all, and why."""
        reasons = self.unready(book.playbook)
        for name in sorted(book.devices):
            device = self._devices.get(name)
            if device is None or name in reasons:
                continue
            if device.draining:
                reasons[name] = "is draining"
            elif device.refused.get(book.id):
                reasons[name] = f"refused: {next(iter(device.refused[book.id].values()))}"
        return reasons

    def _everywhere(self, book: Book) -> bool:
        if book.everywhere is None:
            book.everywhere = all(
                book.id in self._devices[name].ready
                for name in book.devices
                if self._members.alive(name)
            )
        return book.everywhere

    def follow(self, old: str, new: str) -> None:
        """A request that followed the playbook ``old`` (if it is in use) now follows ``new``."""
        for playbook, change in ((old, -1), (new, 1)):
            book = self._books.get(playbook)
            if book is not None:
                book.users += change

    # -- adopting and retiring

    def check(self, playbook: Playbook) -> None:
        """PlanError when a playbook cannot be adopted: it is for another network than those in use,
        or names a policy that nobody registered."""
        for book in self._books.values():
            if book.playbook.network != playbook.network:
                raise PlanError(
                    f"this gateway answers for the network {book.playbook.network!r}, the playbook "
                    f"is for {playbook.network!r}; open another gateway for it"
                )
        self._policies(playbook.policy.name)

    def adopt(self, playbook: Playbook, now: float) -> list[Send]:
        """Use a playbook for new requests from when it is installed; older ones stay until nothing
        needs them. Raises what :meth:`check` does."""
        known = self._books.pop(playbook.id, None)
        if known is not None:
            self._books[playbook.id] = known
            self.changed()
            return []
        self.check(playbook)
        book = Book(
            playbook=playbook,
            policy=self._policies(playbook.policy.name),
            devices=playbook.devices,
            plans={plan.name: plan for plan in playbook.plans},
            inputs=tuple(spec.name for spec in playbook.inputs),
        )
        self._books[playbook.id] = book
        self.changed()
        sends = [
            self._ask(book, name, now) for name in sorted(book.devices) if self._members.alive(name)
        ]
        return sends + self.retire()

    def retire(self) -> list[Send]:
        """Let go of playbooks that nobody follows and a newer one replaces."""
        if len(self._books) < 2:
            return []
        books = self.all()
        keep = {books[-1].id}
        served = next((b.id for b in reversed(books) if self._everywhere(b)), None)
        keep |= {served} if served else {b.id for b in books[-MAX_BOOKS:]}
        sends: list[Send] = []
        for book in books:
            if book.id not in keep and not book.users:
                sends += self._drop(book)
        return sends

    def release(self) -> list[Send]:
        """Let go of all."""
        return [send for book in self.all() for send in self._drop(book)]

    def _drop(self, book: Book) -> list[Send]:
        del self._books[book.id]
        self.changed()
        sends = []
        for name in sorted(book.devices):
            self._timers.clear((name, book.id))
            device = self._devices[name]
            device.ready.pop(book.id, None)
            device.refused.pop(book.id, None)
            if self._members.alive(name):
                sends.append(Send(name, Uninstall(book.id)))
        return sends

    # -- installing

    def install(self, device: str, now: float) -> list[Send]:
        """Ask a device that is there to install what it has a part in."""
        return [
            self._ask(book, device, now) for book in self._books.values() if device in book.devices
        ]

    def install_soon(self, device: str, now: float) -> None:
        """As :meth:`install`, unless the device says hello before."""
        for book in self._books.values():
            if device in book.devices:
                self._timers.set((device, book.id), now + _ASK_AGAIN_S)

    def reinstall(self, device: str, playbook: str, now: float) -> list[Send]:
        """A device turned out to lack a playbook: it gets no work of it until it has it again."""
        book = self._books.get(playbook)
        if book is None or device not in book.devices:
            return []
        if self._devices[device].ready.pop(playbook, None) is None:
            return []
        self.changed()
        return [self._ask(book, device, now)]

    def installed(self, device: str, message: Installed, now: float) -> None:
        """A device says what it has loaded."""
        book = self._books.get(message.playbook)
        if book is None or device not in book.devices:
            return
        self._loads.ended(device, message.ready)
        facts = self._devices[device]
        facts.ready[book.id] = frozenset(message.ready)
        facts.refused[book.id] = message.refused
        self._timers.clear((device, book.id))
        tries = book.asked.pop(device, 0)
        if message.refused:
            wait_s = min(_REFUSED_MOST_S, _REFUSED_AGAIN_S * 2 ** min(tries, 16))
            book.asked[device] = tries
            self._timers.set((device, book.id), now + wait_s)
        self.changed()

    def doubt(self, device: str) -> None:
        """A device was out of touch: it may have unloaded everything."""
        self._devices[device].ready.clear()
        self.changed()

    def vanished(self, device: str) -> None:
        """A device is not there to be asked."""
        for book in self._books.values():
            self._timers.clear((device, book.id))
            book.asked.pop(device, None)
        self.changed()

    def due(self, now: float) -> list[Send]:
        """Ask those again who have not answered, or have refused a part, for long enough."""
        sends = []
        for device, playbook in self._timers.due(now):
            book = self._books.get(playbook)
            if book is not None and self._members.alive(device):
                sends.append(self._ask(book, device, now))
        return sends

    def next(self) -> float | None:
        """When :meth:`due` has work to do next, in seconds."""
        return self._timers.next()

    def _ask(self, book: Book, device: str, now: float) -> Send:
        tries = book.asked.get(device, 0)
        book.asked[device] = tries + 1
        wait_s = min(_ASK_MOST_S, _ASK_AGAIN_S * 2 ** min(tries, 16))
        self._timers.set((device, book.id), now + wait_s)
        barred = self._loads.barred(device, book.playbook.parts_of(device), now)
        return Send(device, Install(book.playbook, tuple(self._books), barred))


def restrict(playbook: Playbook, devices: Devices) -> Playbook:
    """The plans that can be run with the parts that are loaded.

    A stage that one device runs loses the holders that lack its part. One that all run together
    keeps its holders: those that are away count as unusable, and the policy decides whether it
    does without them. A plan is left out when nobody has the part of a stage, or when a holder
    that is there could not load its shard (the plan would never do what it promises).
    """
    plans = []
    for plan in playbook.plans:
        stages: list[Stage] = []
        for stage in plan.stages:
            parts = _able(stage, playbook.id, devices)
            if not parts:
                break
            stages.append(msgspec.structs.replace(stage, parts=parts))
        else:
            plans.append(msgspec.structs.replace(plan, stages=tuple(stages)))
    return msgspec.structs.replace(playbook, plans=tuple(plans))


def fitting(playbook: Playbook, narrow: Narrow) -> Playbook:
    """The plans that need no device for a part for which it has too little memory."""
    plans = []
    for plan in playbook.plans:
        stages = []
        for stage in plan.stages:
            parts = {name: part for name, part in stage.parts.items() if (name, part) not in narrow}
            if not parts or (stage.spread is Spread.ALL and len(parts) < len(stage.parts)):
                break
            stages.append(msgspec.structs.replace(stage, parts=parts))
        else:
            plans.append(msgspec.structs.replace(plan, stages=tuple(stages)))
    return msgspec.structs.replace(playbook, plans=tuple(plans))


def _able(stage: Stage, playbook: str, devices: Devices) -> dict[str, str]:
    """The holders of a stage that can be asked to run it, with their parts."""
    able = {}
    for name, part in stage.parts.items():
        device = devices.get(name)
        ready = device.ready.get(playbook) if device is not None else None
        if ready is not None and part in ready:
            able[name] = part
        elif stage.spread is Spread.ALL:
            if ready is not None:
                return {}
            able[name] = part
    return able
