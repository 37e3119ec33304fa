"""One node by itself, of which its worker or its gateway is looked at: what it is told and what it
then wants done."""

from __future__ import annotations

from typing import Any, TypeVar

from tests.core.toys import find

from shoal.core.actions import Run, Send
from shoal.core.events import (
    Adopt,
    Appeared,
    Arrived,
    Body,
    Fetched,
    Loaded,
    NodeEvent,
    Outcome,
    Ran,
    Submitted,
    Tick,
)
from shoal.core.gateway.gateway import GatewayCore
from shoal.core.messages import (
    Answered,
    CoreMessage,
    DeviceInfo,
    Hello,
    Install,
    Installed,
    Itinerary,
    News,
    Refused,
    Route,
    Task,
    Why,
)
from shoal.core.node import NodeCore
from shoal.core.settings import GatewaySettings, WorkerSettings
from shoal.core.validate import broken
from shoal.core.worker.worker import WorkerCore
from shoal.plan.plan import Playbook

T = TypeVar("T")


def of(kind: type[T], actions: list[Any]) -> list[T]:
    """The actions of a kind."""
    return [action for action in actions if isinstance(action, kind)]


def sent(kind: type[T], actions: list[Any]) -> list[tuple[str, T]]:
    """The messages of a kind that shall be sent, and to whom."""
    return [(a.to, a.message) for a in of(Send, actions) if isinstance(a.message, kind)]


class LoneWorker:
    """The worker ``a`` of the gateway ``g``, with peers that it sees; all of its parts are loaded
    but for those in ``without``. It hears of everything at the time ``now``."""

    def __init__(
        self,
        book: Playbook,
        peers: str = "bcd",
        without: str = "",
        memory: int = 0,
        **settings: Any,
    ):
        info = DeviceInfo("a", "a1", memory=memory)
        self.core = WorkerCore(info, WorkerSettings(**settings), policies=find)
        self.node = NodeCore(self.core)
        self.book = book
        self.now = 0.0
        for name in ("a", "g", *peers):
            self.take(Appeared(name, f"{name}1"))
        self.hear("g", Install(book))
        for part in book.parts_of("a"):
            self.take(Fetched(book.id, part))
            self.take(Loaded(book.id, part, "no room" if part == without else None))

    def take(self, event: NodeEvent) -> list[Any]:
        """What it wants done."""
        actions = self.node.handle(event, self.now)
        assert broken(self.node) == [], event
        return list(actions)

    def take_tick(self) -> list[Any]:
        """It is woken."""
        return self.take(Tick())

    def hear(
        self, sender: str, message: CoreMessage, body: Body = None, size: int = 0
    ) -> list[Any]:
        return self.take(Arrived(sender, message, body, size))

    def task(
        self,
        number: int,
        plan: str,
        stage: int = 0,
        giver: str = "g",
        attempt: int = 1,
        route: Route = (),
        budget_ms: float = 1000.0,
        body: Body = "input",
        size: int = 0,
        **more: Any,
    ) -> list[Any]:
        """Give it a task. The route, if none is said, is all holders of each stage."""
        if not route:
            stages = next((p.stages for p in self.book.plans if p.name == plan), ())
            route = tuple(tuple(s.parts) for s in stages)
        fields = set(Itinerary.__struct_fields__)
        told = {name: more.pop(name) for name in list(more) if name in fields}
        itinerary = Itinerary(told.pop("playbook", self.book.id), plan, route, **told)
        about = ("g", "g1", number, attempt)
        task = Task(*about, stage, giver, budget_ms, itinerary=itinerary, **more)
        return self.hear(giver, task, body, size)

    def ran(self, run: Run, sure: float | None = None, size: int = 10) -> list[Any]:
        """A run of it ended well."""
        outcome = Outcome(f"made by {run.part}", size, sure, "early")
        return self.take(Ran(run.jobs, (outcome,) * len(run.jobs), run_ms=10.0))


class LoneGateway:
    """The gateway ``g`` and the devices that it sees, all of which have installed ``book``."""

    def __init__(self, book: Playbook, devices: str = "abc", **settings: Any) -> None:
        digest = settings.pop("digest", lambda body: (str(body),))
        self.core = GatewayCore("g", GatewaySettings(**settings), policies=find, digest=digest)
        self.node = NodeCore(WorkerCore(DeviceInfo("g", "g1"), policies=find), self.core)
        self.now = 0.0
        self.take(Appeared("g", "g1"))
        for name in devices:
            self.appears(name, f"{name}1")
        self.take(Adopt(book))
        for name in devices:
            self.installed(name, book)

    def take(self, event: NodeEvent) -> list[Any]:
        """What it wants done, but for what its worker says of itself."""
        actions = self.node.handle(event, self.now)
        assert broken(self.node) == [], event
        return [a for a in actions if not (isinstance(a, Send) and isinstance(a.message, News))]

    def hear(self, sender: str, message: CoreMessage, body: Body = None) -> list[Any]:
        return self.take(Arrived(sender, message, body))

    def appears(self, name: str, incarnation: str, **info: Any) -> list[Any]:
        """A device is seen and says hello."""
        seen = self.take(Appeared(name, incarnation))
        return seen + self.hear(name, Hello(DeviceInfo(name, incarnation, **info)))

    def installed(self, name: str, book: Playbook, **refused: str) -> list[Any]:
        ready = tuple(part for part in book.parts_of(name) if part not in refused)
        return self.hear(name, Installed(book.id, ready, refused))

    def ask(self, number: int, budget_ms: float = 1000.0) -> list[Any]:
        return self.take(Submitted(number, f"x{number}", budget_ms))

    def answer(self, giver: str, task: Any, body: Body = "answer", **more: Any) -> list[Any]:
        """``giver`` answers an attempt (a task or resume that was sent for it)."""
        message = Answered(
            gateway=task.gateway,
            incarnation=more.pop("incarnation", task.incarnation),
            number=task.number,
            attempt=task.attempt,
            plan=more.pop("plan", task.itinerary.plan),
            stage=more.pop("stage", 0),
            giver=giver,
            **more,
        )
        return self.hear(giver, message, body)

    def refuse(self, giver: str, task: Any, why: Why, stage: int = 0, **more: Any) -> list[Any]:
        """``giver`` refuses an attempt."""
        names = (task.gateway, task.incarnation, task.number, task.attempt)
        return self.hear(giver, Refused(*names, stage, why, **more))
