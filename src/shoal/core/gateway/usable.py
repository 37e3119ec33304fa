"""Which playbooks, devices and plans of a gateway can be used now."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec

from shoal.core.gateway.devices import Devices
from shoal.core.gateway.playbooks import Adopted, Playbooks
from shoal.core.gateway.request import Narrow
from shoal.core.shared.membership import Membership
from shoal.plan.plan import Plan, Playbook, Spread, Stage


@dataclass(slots=True)
class _Found:
    """What was worked out while peers, devices and playbooks were as in ``versions``."""

    versions: tuple[int, int, int]
    ordered: list[Adopted] | None = None
    devices: int | None = None
    current: dict[str, Playbook] = field(default_factory=dict)
    everywhere: dict[str, bool] = field(default_factory=dict)


class Usable:
    """Answers from what is known of peers, devices and playbooks. What takes longer to find is
    remembered for as long as none of them changes."""

    def __init__(self, members: Membership, devices: Devices, playbooks: Playbooks) -> None:
        self._members = members
        self._devices = devices
        self._playbooks = playbooks
        self._last = _Found((-1, -1, -1))

    def _found(self) -> _Found:
        versions = self._members.version, self._devices.version, self._playbooks.version
        if self._last.versions != versions:
            self._last = _Found(versions)
        return self._last

    def usable(self, name: str, playbook: str) -> bool:
        """Whether work of ``playbook`` can be given to a device."""
        device = self._devices.get(name)
        return (
            device is not None
            and playbook in device.ready
            and not device.draining
            and self._members.alive(name)
        )

    def devices(self) -> int:
        """How many devices can be given work."""
        found = self._found()
        if found.devices is None:
            books = self._playbooks.all()
            found.devices = len({n for b in books for n in b.devices if self.usable(n, b.id)})
        return found.devices

    def ordered(self) -> list[Adopted]:
        """The playbooks in the order in which to ask them: the newest first, but those that are not
        installed everywhere yet after those that are."""
        found = self._found()
        if found.ordered is None:
            newest_first = self._playbooks.all()[::-1]
            newest_first.sort(key=lambda book: not self.everywhere(book))
            found.ordered = newest_first
        return found.ordered

    def current(self, book: Adopted) -> Playbook:
        """The playbook without what no device has loaded."""
        found = self._found()
        if book.id not in found.current:
            found.current[book.id] = restrict(book.playbook, self._devices)
        return found.current[book.id]

    def everywhere(self, book: Adopted) -> bool:
        """Whether all of its devices that are there have said what they have loaded."""
        found = self._found()
        if book.id not in found.everywhere:
            found.everywhere[book.id] = all(
                book.id in self._devices[name].ready
                for name in book.devices
                if self._members.alive(name)
            )
        return found.everywhere[book.id]

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

    def unusable(self, book: Adopted) -> dict[str, str]:
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


def restrict(playbook: Playbook, devices: Devices) -> Playbook:
    """The plans that can be run with the parts that are loaded.

    A stage that one device runs loses the holders that lack its part. One that all run together
    keeps its holders: those that are away count as unusable, and the policy decides whether it
    does without them. Who is there and could not load its shard of such a stage is left out of the
    plan, as if it were away. A plan is left out when nobody has the part of a stage, or when those
    who are left are not enough for a join.
    """
    plans = []
    for plan in playbook.in_place:
        lacking = _lacking(plan, playbook.id, devices)
        stages: list[Stage] = []
        for stage in plan.stages:
            parts = _able(stage, playbook.id, devices, lacking)
            if not parts:
                break
            stages.append(msgspec.structs.replace(stage, parts=parts))
        else:
            plans.append(msgspec.structs.replace(plan, stages=tuple(stages)))
    return msgspec.structs.replace(playbook, plans=tuple(plans))


def fitting(playbook: Playbook, narrow: Narrow) -> Playbook:
    """The plans that need no device for a part for which it has too little memory."""
    plans = []
    for plan in playbook.in_place:
        stages = []
        for stage in plan.stages:
            parts = {name: part for name, part in stage.parts.items() if (name, part) not in narrow}
            if not parts or (stage.spread is Spread.ALL and len(parts) < len(stage.parts)):
                break
            stages.append(msgspec.structs.replace(stage, parts=parts))
        else:
            plans.append(msgspec.structs.replace(plan, stages=tuple(stages)))
    return msgspec.structs.replace(playbook, plans=tuple(plans))


def _lacking(plan: Plan, playbook: str, devices: Devices) -> frozenset[str]:
    """Who has said what it has loaded, and lacks its part of a stage that all run together. It has
    no slice of its own to go on from, so it is of no use before or after that stage either."""
    together = [stage for stage in plan.stages if stage.spread is Spread.ALL]
    return frozenset(
        name
        for stage in together
        for name, part in stage.parts.items()
        if (ready := _ready(name, playbook, devices)) is not None and part not in ready
    )


def _able(
    stage: Stage, playbook: str, devices: Devices, lacking: Collection[str]
) -> dict[str, str]:
    """The holders of a stage that can be asked to run it, with their parts."""
    able = {name: part for name, part in stage.parts.items() if name not in lacking}
    if stage.spread is Spread.ALL:
        enough = len(able) == len(stage.parts) or (stage.join and stage.join.enough(able))
        return able if enough else {}
    return {
        name: part
        for name, part in able.items()
        if (ready := _ready(name, playbook, devices)) is not None and part in ready
    }


def _ready(name: str, playbook: str, devices: Devices) -> Collection[str] | None:
    """The parts that a device has loaded; None where it has not said."""
    device = devices.get(name)
    return device.ready.get(playbook) if device is not None else None
