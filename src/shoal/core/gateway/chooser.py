"""Which plan a request takes next: the question to the policies, and what they are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple, TypeAlias

from shoal.core.gateway.devices import Devices
from shoal.core.gateway.playbooks import Adopted, Playbooks
from shoal.core.gateway.request import KeptSource, Narrow, Request
from shoal.core.gateway.usable import Usable, fitting
from shoal.core.policy import Choice, DeviceView, LinkView, View, check_choice, deciding
from shoal.core.shared.routes import LinkName, devices_at, links
from shoal.errors import PolicyError
from shoal.plan.plan import Spread, Stage

_MANY = 8

Said: TypeAlias = tuple[Choice, Any]
"""What a policy chose, and what it would remember of that."""


class Pick(NamedTuple):
    """How a request goes on: by which playbook and plan, from where (None: from its input), and
    ``without`` whom. ``grudging``: with those to blame, since there are no others. ``memory`` is
    what the policy wants to remember if it is followed."""

    book: Adopted
    choice: Choice
    source: KeptSource | None
    without: tuple[str, ...]
    memory: Any
    grudging: bool = False


class _Devices(Mapping[str, DeviceView]):
    """The devices of a playbook as its policy sees them, each worked out when it is looked at
    first: for one decision, during which nothing changes."""

    def __init__(
        self, usable: Usable, devices: Devices, book: Adopted, without: Collection[str]
    ) -> None:
        self._usable, self._devices, self._book, self._without = usable, devices, book, without
        self._seen: dict[str, DeviceView] = {}

    def __getitem__(self, name: str) -> DeviceView:
        seen = self._seen.get(name)
        if seen is None:
            if name not in self._book.devices:
                raise KeyError(name)
            usable = name not in self._without and self._usable.usable(name, self._book.id)
            seen = self._seen[name] = self._devices[name].view(usable)
        return seen

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._book.devices))  # the same in each process

    def __len__(self) -> int:
        return len(self._book.devices)


class Chooser:
    """Asks the policies of a gateway's playbooks. ``links`` are those from here, by peer,
    ``waiting`` the number of requests that wait, ``broken`` those (by number) about which a policy
    raised when it was asked last, and what it said."""

    def __init__(
        self,
        gateway: str,
        playbooks: Playbooks,
        usable: Usable,
        devices: Devices,
        requests: Mapping[int, Request],
    ) -> None:
        self.links: dict[str, LinkView] = {}
        self.waiting = 0
        self.refused = 0
        self.broken: dict[int, str] = {}
        self._gateway = gateway
        self._dice = Random(f"{gateway} choices")
        self._playbooks = playbooks
        self._usable = usable
        self._devices = devices
        self._requests = requests

    def view(
        self,
        book: Adopted,
        without: Collection[str],
        now: float,
        images: int = 1,
        drawn: float | None = None,
    ) -> View:
        """What a policy is shown about a request of so many images; devices in ``without`` count
        as unusable. A number is drawn, if none is given."""
        devices = _Devices(self._usable, self._devices, book, without)
        drawn = self._dice.random() if drawn is None else drawn
        return View(
            now, devices, self.links, self.waiting, images, drawn, self._gateway, self.refused
        )

    def pick(self, request: Request, now: float) -> Pick | None:
        """The best way on without all that are to blame, or silent; or, if there is none, without
        as many of the latest of them as can be spared together; or with all of them, grudgingly.
        None: there is none."""
        shunned = (*self._devices.silences.at(now), *request.blamed)
        if not shunned:
            return self.pick_without((), request, now)
        picked = self.pick_without(shunned, request, now)
        if picked is not None:
            return picked
        spared: tuple[str, ...] = ()
        for name in shunned[: -_MANY - 1 : -1]:
            without = self.pick_without((*spared, name), request, now)
            if without is not None:
                picked, spared = without, (*spared, name)
        if picked is not None:
            return picked
        picked = self.pick_without((), request, now)
        return picked and picked._replace(grudging=bool(request.blamed))

    def pick_without(self, without: tuple[str, ...], request: Request, now: float) -> Pick | None:
        """The best way on that uses none of ``without``: from the tensors kept on the way, within
        their own playbook (others may mean other tensors by the same names), else from the
        input."""
        try:
            picked = self._pick(without, request, now)
        except PolicyError as error:
            self.broken[request.number] = str(error)
            return None
        self.broken.pop(request.number, None)
        return picked

    def _pick(self, without: tuple[str, ...], request: Request, now: float) -> Pick | None:
        source = request.source
        if source is not None and source.holder not in without:
            book = self._playbooks.get(request.playbook)
            if book is not None and self._usable.usable(source.holder, book.id):
                said = self._ask(book, source.names, without, request, now)
                if said is not None:
                    return Pick(book, said[0], source, without, said[1])
        for book in self._usable.ordered():
            said = self._ask(book, book.inputs, without, request, now)
            if said is not None:
                return Pick(book, said[0], None, without, said[1])
        return None

    def pick_other(self, late: Collection[str], request: Request, now: float) -> Pick | None:
        """The best way on without those who are ``late`` and all that are to blame; and without
        whoever is silent, where there is such a way. None: there is none."""
        shunned = (*late, *request.blamed)
        silent = tuple(name for name in self._devices.silences.at(now) if name not in shunned)
        picked = self.pick_without((*silent, *shunned), request, now) if silent else None
        return picked or self.pick_without(shunned, request, now)

    def hopeless(self, narrow: Narrow) -> bool:
        """Whether no plan can do without what these devices have too little memory for, whoever
        else is there now."""
        return not any(fitting(book.playbook, narrow).plans for book in self._playbooks.all())

    def servable(self, book: Adopted, now: float) -> bool:
        """Whether a new request could be served now. Nothing is drawn for that, or what is decided
        later would depend on who asked."""
        try:
            return self._choose(book, book.inputs, (), 1, (), now, drawn=0.5) is not None
        except PolicyError:
            return True  # requests are told what is wrong

    def _ask(
        self,
        book: Adopted,
        at: tuple[str, ...],
        without: Collection[str],
        request: Request,
        now: float,
    ) -> Said | None:
        images, narrow = request.images, request.narrow
        said = self._choose(book, at, without, images, narrow, now)
        if said is None or not self._devices.limits:
            return said
        full, tight = self._devices.full(now, request.given), self.tight(request, now)
        first = request.source.holder if said[0].start and request.source else self._gateway
        stuck = self._stuck(book, said[0], first, full, tight)
        if not stuck:
            return said
        try:
            said = self._choose(book, at, (*without, *full, *stuck), images, narrow, now)
        except PolicyError:
            return None  # with all of them it did not raise: there will be room
        return said if said and not self._stuck(book, said[0], first, full, tight) else None

    def tight(self, request: Request, now: float) -> list[LinkName]:
        """The links that should not be given more now, whatever ``request`` had of them."""
        limits = self._devices.limits
        limited = limits.links()
        if not limited:
            return []
        others = [each for each in self._requests.values() if each is not request]
        taken = Counter(link for each in others for link in each.links(self._gateway))
        return [link for link in limited if limits.full(link, taken[link], now)]

    def _choose(
        self,
        book: Adopted,
        at: tuple[str, ...],
        without: Collection[str],
        images: int,
        narrow: Narrow,
        now: float,
        drawn: float | None = None,
    ) -> Said | None:
        playbook = self._usable.current(book)
        if narrow:
            playbook = fitting(playbook, narrow)
        if not playbook.plans:
            return None
        view = self.view(book, without, now, images, drawn)
        with deciding(playbook):
            choice, memory = book.policy.choose(playbook, view, at, book.memory)
            if choice is not None:
                check_choice(choice, book.plans, at)
        return (choice, memory) if choice is not None else None

    def _stuck(
        self,
        book: Adopted,
        choice: Choice,
        first: str,
        full: Collection[str],
        tight: Collection[LinkName],
    ) -> set[str]:
        """The devices on the way of a choice that take no more, or that a full link leads to; the
        way begins at ``first``. Who is full is not left out of a stage that all run together: the
        answer would suffer for what passes in a moment."""
        plan = book.plans[choice.plan]
        stuck = {
            name
            for index, stage in enumerate(plan.stages[choice.start :], choice.start)
            for name in _asked(stage, devices_at(choice.route, index))
            if name in full
        }
        if tight:
            taken = links(choice.route, choice.start, first)
            stuck |= {link.taker for link in tight if link in taken}
        return stuck


def _asked(stage: Stage, names: tuple[str, ...]) -> Collection[str]:
    """Who is to run a stage."""
    return stage.parts if stage.spread is Spread.ALL else names
