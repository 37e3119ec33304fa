"""When what a playbook has in reserve is put in place, and given up again.

A device that has been away for long enough is lost. The plan in reserve that does without those who
are lost, and needs none of them, is installed as a playbook of its own beside its base. Requests
follow the base until it is in place everywhere, and then it. When those it does without are at work
again, or one that it needs is lost too, the base comes first once more, and it is let go of.

Where both have not the memory beside each other the base makes room, but not before all parts that
are to take its place are there; so for the time that these are loaded nothing can be followed.
"""

from __future__ import annotations

from shoal.core.actions import Send
from shoal.core.gateway.devices import Devices
from shoal.core.gateway.installing import Installing
from shoal.core.gateway.playbooks import Adopted, Playbooks
from shoal.core.shared.membership import Membership
from shoal.plan.identity import from_reserve
from shoal.plan.plan import Plan, Reserve


class Repairing:
    """See the module. It is to :meth:`look` whenever a device comes, goes or has loaded parts, and
    when a playbook is adopted."""

    def __init__(
        self, members: Membership, devices: Devices, playbooks: Playbooks, installing: Installing
    ) -> None:
        self._members = members
        self._devices = devices
        self._playbooks = playbooks
        self._installing = installing
        self._since: dict[str, float] = {}  # when the devices that are away were missed first
        self._at: float | None = None

    def due(self, now: float) -> list[Send]:
        """Look, where a device counts as lost by now."""
        return self.look(now) if self._at is not None and now >= self._at else []

    def next(self) -> float | None:
        """When :meth:`due` has work to do next, in seconds."""
        return self._at

    def look(self, now: float) -> list[Send]:
        """Put in place what is called for now, let go of what is not any more."""
        books = self._playbooks.all()
        base = next((book for book in reversed(books) if not book.base), None)
        plans = {} if base is None else _in_reserve(base)
        if base is None or not plans:
            self._since, self._at = {}, None
            return []
        away = (name for name in sorted(base.devices) if not self._members.alive(name))
        self._since = {name: self._since.get(name, now) for name in away}
        losses = (since + r.after_s for since in self._since.values() for _, r in plans.values())
        self._at = min((at for at in losses if at > now), default=None)
        current = _current(books, base)
        sends: list[Send] = []
        if current is not None:
            plan, reserve = plans[current.playbook.plans[0].name]
            if self._needed(base, plan, reserve, now):
                swap = reserve.instead and not base.withheld and self._all_brought(current)
                return self._installing.make_room(base, current, now) if swap else []
            if base.withheld:
                sends = self._installing.give_room(base, current, now)
            sends += self._installing.adopt(base.playbook, now)
        for plan, reserve in plans.values():
            if self._called_for(plan, reserve, now):
                alone = from_reserve(base.playbook, plan)
                return sends + self._installing.adopt(alone, now, base.id)
        return sends

    def _all_brought(self, book: Adopted) -> bool:
        """Whether its devices lack memory, and nothing else."""
        here = all(
            self._members.alive(name)
            and self._devices.here(name, book.id).issuperset(book.playbook.parts_of(name))
            for name in book.devices
        )
        return here and any(self._devices[name].brought.get(book.id) for name in book.devices)

    def _called_for(self, plan: Plan, reserve: Reserve, now: float) -> bool:
        """Whether a plan is to be put in place."""
        lost = self._lost(reserve, now)
        return lost.issuperset(reserve.without) and lost.isdisjoint(plan.devices)

    def _needed(self, base: Adopted, plan: Plan, reserve: Reserve, now: float) -> bool:
        """Whether a plan that is in place, or being put there, is to stay."""
        at_work = all(self._at_work(name, base) for name in reserve.without)
        return not at_work and self._lost(reserve, now).isdisjoint(plan.devices)

    def _lost(self, reserve: Reserve, now: float) -> set[str]:
        return {name for name, since in self._since.items() if now >= since + reserve.after_s}

    def _at_work(self, name: str, base: Adopted) -> bool:
        """Whether a device does its part of the first plan of a playbook."""
        device = self._devices.get(name)
        ready = None if device is None or device.draining else device.ready.get(base.id)
        mine = (stage.parts.get(name) for stage in base.playbook.plans[0].stages)
        return (
            self._members.alive(name)
            and ready is not None
            and ready.issuperset(part for part in mine if part is not None)
        )


def _current(books: list[Adopted], base: Adopted) -> Adopted | None:
    """What of ``base`` is in use in its place, or being put there. As long as the base makes room
    for that it counts, though the base has been adopted once more since."""
    latest = next((book for book in reversed(books) if book.base == base.id), None)
    return latest if latest is books[-1] or base.withheld else None


def _in_reserve(book: Adopted) -> dict[str, tuple[Plan, Reserve]]:
    """The plans of a playbook that are not in place, by name."""
    return {plan.name: (plan, plan.reserve) for plan in book.playbook.plans if plan.reserve}
