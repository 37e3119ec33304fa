"""Getting playbooks installed on their devices, and letting go of them."""

from __future__ import annotations

from collections.abc import Iterable

from shoal.core.actions import Send
from shoal.core.gateway.devices import Devices
from shoal.core.gateway.loads import Loads
from shoal.core.gateway.playbooks import Adopted, Playbooks
from shoal.core.gateway.usable import Usable
from shoal.core.messages import Install, Installed, Uninstall
from shoal.core.shared.membership import Membership
from shoal.core.shared.timers import Timers
from shoal.plan.plan import Playbook

MAX_PLAYBOOKS = 8
ASK_AGAIN_S, ASK_MOST_S = 1.0, 30.0
"""How long a device that does not answer is waited for, at first and at most."""
REFUSED_AGAIN_S, REFUSED_MOST_S = 5.0, 300.0
"""After what time one that has refused a part is asked again, at first and at most."""
_MOST_DOUBLINGS = 16


class Installing:
    """What the devices of one gateway are asked to install. Who does not answer, or refuses a part,
    is asked again, each time after twice as long."""

    def __init__(
        self,
        members: Membership,
        devices: Devices,
        playbooks: Playbooks,
        usable: Usable,
        loads: Loads,
    ) -> None:
        self._members = members
        self._devices = devices
        self._playbooks = playbooks
        self._usable = usable
        self._loads = loads
        self._timers: Timers[tuple[str, str]] = Timers()
        self._asked: dict[tuple[str, str], int] = {}  # in vain, by device and playbook
        self._refusals: dict[tuple[str, str], int] = {}  # one after the other

    # -- adopting and retiring

    def adopt(self, playbook: Playbook, now: float, base: str = "") -> list[Send]:
        """Use a playbook for new requests from when it is installed; older ones stay until nothing
        needs them, and ``base``, which had it in reserve, as long as it. Raises what
        :meth:`Playbooks.check` does."""
        book = self._playbooks.add(playbook, base)
        known = self._playbooks.get(playbook.id) if base else None
        if book is None and known is not None and known.withheld:
            known.withheld, book = frozenset(), known
        if book is None:
            return self.retire()
        there = sorted(filter(self._members.alive, book.devices))
        return [*(self._ask(book, name, now) for name in there), *self.retire()]

    def retire(self) -> list[Send]:
        """Let go of playbooks that nobody follows and a newer one replaces."""
        if len(self._playbooks) < 2:
            return []
        books = self._playbooks.all()
        keep = {books[-1].id}
        served = next((b.id for b in reversed(books) if self._usable.everywhere(b)), None)
        keep |= {served} if served else {b.id for b in books[-MAX_PLAYBOOKS:]}
        keep |= {book.base for book in books if book.id in keep}
        sends: list[Send] = []
        for book in books:
            if book.id not in keep and not book.users:
                sends += self._drop(book)
        return sends

    def release(self) -> list[Send]:
        """Let go of all."""
        return [send for book in self._playbooks.all() for send in self._drop(book)]

    def _drop(self, book: Adopted) -> list[Send]:
        self._playbooks.drop(book.id)
        return self._withdraw(book, book.devices - book.withheld)

    def _withdraw(self, book: Adopted, devices: Iterable[str]) -> list[Send]:
        there = sorted(devices)
        self._devices.uninstalled(there, book.id)
        for name in there:
            self._forget(name, book.id)
        return [Send(name, Uninstall(book.id)) for name in there if self._members.alive(name)]

    # -- what makes room for what

    def make_room(self, base: Adopted, reserve: Adopted, now: float) -> list[Send]:
        """Have the devices of a playbook that ``base`` had in reserve let go of ``base`` for it."""
        base.withheld = reserve.devices
        there = sorted(filter(self._members.alive, reserve.devices))
        asks = [self._ask(reserve, name, now) for name in there]
        return [*self._withdraw(base, reserve.devices), *asks]

    def give_room(self, base: Adopted, reserve: Adopted, now: float) -> list[Send]:
        """Have them let go of ``reserve``, whoever follows it, and install ``base`` again."""
        back, base.withheld = base.withheld, frozenset[str]()
        reserve.withheld = reserve.devices
        there = sorted(filter(self._members.alive, back))
        asks = [self._ask(base, name, now) for name in there]
        return [*self._withdraw(reserve, reserve.devices), *asks]

    # -- asking

    def install(self, device: str, now: float) -> list[Send]:
        """Ask a device that is there to install what it has a part in."""
        return [self._ask(book, device, now) for book in self._playbooks.names(device)]

    def install_soon(self, device: str, now: float) -> None:
        """As :meth:`install`, unless the device says hello before."""
        for book in self._playbooks.names(device):
            self._timers.set((device, book.id), now + ASK_AGAIN_S)

    def reinstall(self, device: str, playbook: str, now: float) -> list[Send]:
        """A device turned out to lack a playbook: it gets no work of it until it has it again."""
        book = self._playbooks.get(playbook)
        if book is None or device not in book.devices - book.withheld:
            return []
        if not self._devices.lacks(device, playbook):
            return []
        return [self._ask(book, device, now)]

    def installed(self, device: str, message: Installed, now: float) -> None:
        """A device says what it has loaded."""
        book = self._playbooks.get(message.playbook)
        if book is None or device not in book.devices - book.withheld:
            return
        self._loads.ended(device, message.ready)
        said = message.ready, message.refused, message.brought
        self._devices.installed(device, book.id, *said)
        about = device, book.id
        self._timers.clear(about)
        self._asked.pop(about, None)
        if not message.refused:
            self._refusals.pop(about, None)
            return
        before = self._refusals.get(about, 0)
        self._refusals[about] = before + 1
        wait_s = min(REFUSED_MOST_S, REFUSED_AGAIN_S * 2 ** min(before, _MOST_DOUBLINGS))
        self._timers.set(about, now + wait_s)

    def vanished(self, device: str) -> None:
        """A device is not there to be asked."""
        for book in self._playbooks.all():
            self._forget(device, book.id)

    def due(self, now: float) -> list[Send]:
        """Ask those again who have not answered, or have refused a part, for long enough."""
        sends = []
        for device, playbook in self._timers.due(now):
            book = self._playbooks.get(playbook)
            if book is not None and self._members.alive(device):
                sends.append(self._ask(book, device, now))
        return sends

    def next(self) -> float | None:
        """When :meth:`due` has work to do next, in seconds."""
        return self._timers.next()

    def _ask(self, book: Adopted, device: str, now: float) -> Send:
        about = device, book.id
        before = self._asked.get(about, 0)
        self._asked[about] = before + 1
        wait_s = min(ASK_MOST_S, ASK_AGAIN_S * 2 ** min(before, _MOST_DOUBLINGS))
        self._timers.set(about, now + wait_s)
        barred = self._loads.barred(device, book.playbook.parts_of(device), now)
        in_use = tuple(each.id for each in self._playbooks.all())
        return Send(device, Install(book.playbook, in_use, barred, bring=bool(book.base)))

    def _forget(self, device: str, playbook: str) -> None:
        self._timers.clear((device, playbook))
        self._asked.pop((device, playbook), None)
        self._refusals.pop((device, playbook), None)
