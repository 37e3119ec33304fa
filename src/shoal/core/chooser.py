"""Which plan a request takes next: the question to the policies, and what they are shown."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from shoal.core.books import Book, Books
from shoal.core.devices import Devices
from shoal.core.policy import Choice, DeviceView, LinkView, View
from shoal.core.request import Request, Source


class Pick(NamedTuple):
    """How a request goes on: by which playbook and plan, from where (None: from its input).
    ``grudging``: with a device that it was to do without, since there is no other."""

    book: Book
    choice: Choice
    source: Source | None
    grudging: bool


class _Devices(Mapping[str, DeviceView]):
    """The devices of a playbook as its policy sees them, worked out one by one when looked at."""

    def __init__(
        self, books: Books, devices: Devices, book: Book, without: Collection[str]
    ) -> None:
        self._books, self._devices, self._book, self._without = books, devices, book, without

    def __getitem__(self, name: str) -> DeviceView:
        if name not in self._book.devices:
            raise KeyError(name)
        usable = name not in self._without and self._books.usable(name, self._book.id)
        return self._devices[name].view(usable)

    def __iter__(self) -> Iterator[str]:
        return iter(self._book.devices)

    def __len__(self) -> int:
        return len(self._book.devices)


class Chooser:
    """Asks the policies of a gateway's playbooks. ``links`` are those from here, by peer,
    ``waiting`` the number of requests that wait."""

    def __init__(self, books: Books, devices: Devices) -> None:
        self.links: dict[str, LinkView] = {}
        self.waiting = 0
        self._books = books
        self._devices = devices

    def view(self, book: Book, without: Collection[str], now: float) -> View:
        """What a policy is shown; devices in ``without`` count as unusable."""
        devices = _Devices(self._books, self._devices, book, without)
        return View(now, devices, self.links, self.waiting)

    def pick(self, request: Request, now: float, without: Collection[str] = ()) -> Pick | None:
        """The best way on: without the devices ``without`` and those that failed the request; or
        without one of them at least; or with all of them, grudgingly. None: there is none."""
        shunned = dict.fromkeys((*without, *request.avoid))
        if not shunned:
            return self.pick_without((), request, now)
        picked = self.pick_without(shunned, request, now)
        if picked is None and len(shunned) > 1:
            for name in shunned:
                picked = picked or self.pick_without((name,), request, now)
        if picked is None:
            picked = self.pick_without((), request, now)
            picked = picked and picked._replace(grudging=True)
        return picked

    def pick_without(self, without: Collection[str], request: Request, now: float) -> Pick | None:
        """The best way on that uses none of ``without``: from the tensors kept on the way, within
        their own playbook (others may mean other tensors by the same names), else from the
        input."""
        source = request.source
        if source is not None and source.holder not in without:
            book = self._books.get(request.playbook)
            if book is not None and self._books.usable(source.holder, book.id):
                choice = self._ask(book, source.names, without, now)
                if choice is not None:
                    return Pick(book, choice, source, False)
        for book in self._books.ordered():
            choice = self._ask(book, book.inputs, without, now)
            if choice is not None:
                return Pick(book, choice, None, False)
        return None

    def servable(self, book: Book, now: float) -> bool:
        """Whether a new request could be served now."""
        view = self.view(book, (), now)
        choice, _ = book.policy.choose(self._books.current(book), view, book.inputs, book.memory)
        return choice is not None

    def _ask(
        self, book: Book, at: tuple[str, ...], without: Collection[str], now: float
    ) -> Choice | None:
        playbook = self._books.current(book)
        if not playbook.plans:
            return None
        view = self.view(book, without, now)
        choice, book.memory = book.policy.choose(playbook, view, at, book.memory)
        return choice
