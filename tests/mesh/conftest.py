"""Both kinds of mesh, and ears to listen with."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from shoal.mesh.inproc import InprocMesh
from shoal.mesh.link import Link, LinkEvent, PeerDown, PeerUp, Received
from shoal.mesh.zenoh import ZenohLink

SOON_S = 30.0
"""By when what must happen has happened, also on a busy machine."""


class Ear:
    """A sink that keeps what it hears. ``room`` is how many messages it takes."""

    def __init__(self, link: Link, settles: bool = True) -> None:
        self.link = link
        self.settles = settles
        self.room: int | None = None
        self.events: list[LinkEvent] = []
        self.news = threading.Condition()

    def __call__(self, event: LinkEvent) -> bool:
        with self.news:
            if isinstance(event, Received) and self.room is not None:
                if self.room == 0:
                    return False
                self.room -= 1
            self.events.append(event)
            self.news.notify_all()
        if self.settles and isinstance(event, Received):
            self.link.settle(event.sender)
        return True

    def heard(self, sender: str | None = None) -> list[Received]:
        with self.news:
            return [
                event
                for event in self.events
                if isinstance(event, Received) and sender in (None, event.sender)
            ]

    def seen(self, name: str | None = None) -> list[LinkEvent]:
        with self.news:
            return [
                event
                for event in self.events
                if isinstance(event, (PeerUp, PeerDown)) and name in (None, event.name)
            ]

    def wait(self, what: Callable[[], bool], seconds: float = SOON_S) -> None:
        """Wait until ``what()`` holds; fail with all that was heard when it does not."""
        deadline = time.monotonic() + seconds
        with self.news:
            while not what():
                left = deadline - time.monotonic()
                if left <= 0:
                    pytest.fail(f"{self.link.name} heard only {self.events[-20:]}")
                self.news.wait(min(left, 0.02))

    def wait_for_peer(self, *names: str) -> None:
        self.wait(lambda: set(names) <= set(self.link.peers()))


class Fleet:
    """Links of one kind that are closed in the end, and their ears."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.mesh = InprocMesh()
        self.seed: list[str] = []
        self.links: list[Link] = []

    def make(self, name: str, **settings: object) -> Link:
        if self.kind == "inproc":
            link: Link = self.mesh(name)
        else:
            link = ZenohLink(name, ["tcp/127.0.0.1:0"], self.seed, **settings)
        self.links.append(link)
        return link

    def join(self, name: str, settles: bool = True, **settings: object) -> Ear:
        """Start a link; the first one is the one that the others call."""
        link = self.make(name, **settings)
        ear = Ear(link, settles)
        link.start(ear)
        if isinstance(link, ZenohLink) and not self.seed:
            self.seed = link.addresses
        return ear

    def pair(self, settles: bool = True) -> tuple[Ear, Ear]:
        a, b = self.join("a", settles), self.join("b", settles)
        a.wait_for_peer("b")
        b.wait_for_peer("a")
        return a, b

    def close(self) -> None:
        for link in reversed(self.links):
            link.close()


@pytest.fixture(params=["inproc", "zenoh"])
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    fleet = Fleet(request.param)
    yield fleet
    fleet.close()


@pytest.fixture
def inproc_fleet() -> Iterator[Fleet]:
    fleet = Fleet("inproc")
    yield fleet
    fleet.close()


@pytest.fixture
def zenoh_fleet() -> Iterator[Fleet]:
    fleet = Fleet("zenoh")
    yield fleet
    fleet.close()
