"""Both kinds of mesh, and ears to listen with."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from shoal.mesh.events import LinkEvent, PeerDown, PeerUp, Received
from shoal.mesh.link import Link
from shoal.mesh.zenoh import ZenohLink
from shoal_lab.inproc import InprocMesh

SOON_S = 30.0
"""By when what must happen has happened, also on a busy machine."""
LEASE_MS = 2000
"""Of Zenoh: a busy machine misses a beat now and then. Shorter where a test is about it."""


class Ear:
    """A sink that keeps what it hears, and holds the link to its word. ``room`` is how many
    messages it takes; a body that is ``expected`` is not kept."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.room: int | None = None
        self.expected: bytes | None = None
        self.events: list[LinkEvent] = []
        self.broken_words: list[str] = []
        self.news = threading.Condition()
        self._up: dict[str, str] = {}

    def __call__(self, event: LinkEvent) -> bool:
        with self.news:
            if isinstance(event, Received) and self.room is not None:
                if self.room == 0:
                    return False
                self.room -= 1
            self._hold_to_it(event)
            if self.expected is not None and isinstance(event, Received):
                assert event.body == self.expected
                event = Received(event.sender, event.head)
            self.events.append(event)
            self.news.notify_all()
        return True

    def _hold_to_it(self, event: LinkEvent) -> None:
        """What comes of a peer comes while it is up, and it goes before it comes again."""
        match event:
            case Received(sender) if sender not in self._up:
                self.broken_words.append(f"a message of {sender}, which is not up")
            case PeerUp(name, incarnation):
                if name in self._up:
                    self.broken_words.append(f"{name} is up, and comes up again")
                self._up[name] = incarnation
            case PeerDown(name, incarnation):
                if self._up.pop(name, None) != incarnation:
                    self.broken_words.append(f"{name} {incarnation} was not up, and goes")

    def heard(self, sender: str | None = None) -> list[Received]:
        with self.news:
            return [
                event
                for event in self.events
                if isinstance(event, Received) and sender in (None, event.sender)
            ]

    def heads(self, sender: str | None = None) -> list[bytes]:
        return [message.head for message in self.heard(sender)]

    def seen(self, name: str | None = None) -> list[LinkEvent]:
        with self.news:
            return [
                event
                for event in self.events
                if isinstance(event, (PeerUp, PeerDown)) and name in (None, event.name)
            ]

    def kinds(self, name: str) -> list[type]:
        return [type(event) for event in self.seen(name)]

    def wait(self, what: Callable[[], bool], seconds: float = SOON_S) -> None:
        """Wait until ``what()`` holds; fail with all that was heard when it does not."""
        deadline = time.monotonic() + seconds
        with self.news:
            while not what():
                left = deadline - time.monotonic()
                if left <= 0:
                    pytest.fail(
                        f"{self.link.name} heard only {self.events[-20:]}; "
                        f"unreachable: {self.link.unreachable()}"
                    )
                self.news.wait(min(left, 0.02))

    def wait_for_peer(self, *names: str) -> None:
        """Until all of them are up, and that was told."""
        self.wait(lambda: set(names) <= set(self.link.peers()) & set(self._up))


def say_all(link: Link, to: str, messages: list[bytes]) -> None:
    """Send, and when there is no room for more, wait for it."""
    for message in messages:
        deadline = time.monotonic() + 60
        while not link.send(to, message):
            assert time.monotonic() < deadline, "no room for a long time"
            time.sleep(0.001)


class Fleet:
    """Links of one kind that are closed in the end, and their ears."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.mesh = InprocMesh()
        self.seed: list[str] = []
        self.links: list[Link] = []
        self.ears: list[Ear] = []

    def make(self, name: str, **settings: object) -> Link:
        if self.kind == "inproc":
            link: Link = self.mesh(name, **settings)
        else:
            settings = {"connect": self.seed, "lease_ms": LEASE_MS, **settings}
            link = ZenohLink(name, **{"listen": ["tcp/127.0.0.1:0"], **settings})
        self.links.append(link)
        return link

    def join(self, name: str, **settings: object) -> Ear:
        """Start a link; the first one is the one that the others call."""
        link = self.make(name, **settings)
        ear = Ear(link)
        self.ears.append(ear)
        link.start(ear)
        if isinstance(link, ZenohLink) and not self.seed:
            self.seed = link.addresses
        return ear

    def group(self, *names: str, **settings: object) -> list[Ear]:
        """Several nodes that are in touch with each other."""
        ears = [self.join(name, **settings) for name in names]
        for ear in ears:
            ear.wait_for_peer(*(set(names) - {ear.link.name}))
        return ears

    def pair(self, **settings: object) -> tuple[Ear, Ear]:
        a, b = self.group("a", "b", **settings)
        return a, b

    def close(self) -> None:
        for link in reversed(self.links):
            link.close()
        assert [ear.broken_words for ear in self.ears if ear.broken_words] == []


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
