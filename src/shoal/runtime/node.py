"""A node: the machines of :mod:`shoal.core` driven by the real clock, a link and an engine.

Threads, each with one thing to do, and queues between them:

- *decide* hands every event to the core and its actions on; it never computes nor blocks;
- *compute* runs parts (the engine lets the GIL go), unpacking what came;
- *send* packs and sends; *open* unpacks answers (gateways only);
- *load* fetches parts and makes sessions; *give* serves blobs to peers.

So receiving, computing and sending overlap, and no lock is held while computing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from shoal.codec.frame import Frame
from shoal.core.actions import (
    Deliver,
    Drained,
    GatewayAction,
    Load,
    Reject,
    Run,
    Send,
    Unload,
    Wake,
    WorkerAction,
)
from shoal.core.events import (
    Appeared,
    Arrived,
    Drain,
    LinkMeasured,
    Loaded,
    Ran,
    RunFailed,
    Tick,
    Unsent,
    Vanished,
)
from shoal.core.messages import (
    NEWS,
    Answer,
    DeviceInfo,
    Installed,
    Moved,
    Refused,
    RequestMessage,
    Task,
    Why,
)
from shoal.core.worker import WorkerCore
from shoal.errors import FrameError, NameTakenError, RequestError, ShoalError, VersionError
from shoal.mesh.link import Link, LinkEvent, NameLost, PeerDown, PeerUp, Received
from shoal.model.engine import Engine
from shoal.model.store import PartStore
from shoal.runtime import wire
from shoal.runtime.body import Body
from shoal.runtime.outbox import Outbox
from shoal.runtime.parts import Exchange, Shelf
from shoal.runtime.probe import Prober
from shoal.runtime.runner import run
from shoal.version import VERSION

if TYPE_CHECKING:
    from shoal.core.gateway import GatewayCore

log = logging.getLogger("shoal")

FOR_GATEWAY = (Answer, Refused, Moved, Installed)
INBOX = 4096
"""Events that may wait for the core; beyond it the link holds messages back."""
MAX_ASKED = 1024
"""Blobs and measurements that peers may have asked for and not got; more are not answered."""
COMPLAIN_S = 1.0
"""Time between two entries in the log about messages that cannot be read."""
WEIGH_S = 0.05
"""Least time between two looks at what the links carry."""
MAX_PAUSE_S = 60.0
"""Longest sleep of the deciding thread, whatever time the core asks to be woken at."""

T = TypeVar("T")
Event: TypeAlias = Any
_NOTHING = object()
MEMORY_SHARE = 0.8
"""Share of the machine's memory that parts may take when no limit is stated."""


class Node:
    """One node on the mesh. ``on_result`` gets every Deliver and Reject, ``on_fault`` what went
    wrong for good or cannot be laid to one request (gateways only)."""

    def __init__(
        self,
        link: Link,
        info: DeviceInfo,
        store: PartStore,
        engine: Engine,
        *,
        gateway: GatewayCore | None = None,
        on_result: Callable[[Deliver | Reject], None] | None = None,
        on_fault: Callable[[ShoalError], None] | None = None,
        inbox: int = 256,
    ) -> None:
        self.link = link
        self.worker = WorkerCore(info, inbox=inbox)
        self.gateway = gateway
        self.drained = threading.Event()
        self.strangers: dict[str, str] = {}
        self.name_lost: NameTakenError | None = None
        self._on_result = on_result
        self._on_fault = on_fault
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._runs: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._loads: queue.SimpleQueue[Load | tuple[str, wire.Measure | wire.MeasureWay] | None] = (
            queue.SimpleQueue()
        )
        self._gifts: queue.SimpleQueue[tuple[str, wire.Fetch] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[str, Answer, Body | None] | None] = (
            queue.SimpleQueue()
        )
        self._outbox = Outbox(link, self._events.put, self._unpackable)
        self.exchange = Exchange(store, self._outbox.control, self._peers, info.memory)
        self.shelf = Shelf(store, engine, self.exchange)
        self.prober = Prober(self._outbox.control, self.shelf, store, engine, info.memory)
        self._wakes: dict[str, float] = {}
        self._complain_at = 0.0
        self._weigh_at = 0.0
        self._stopping = False
        self._closing = threading.Lock()
        self._threads = [
            threading.Thread(target=target, name=f"shoal-{name}-{info.name}", daemon=True)
            for name, target in (
                ("decide", self._decide),
                ("compute", self._compute),
                ("send", self._outbox.serve),
                ("load", self._load),
                ("give", self._give),
                *([("open", self._open)] if gateway is not None else []),
            )
        ]

    @property
    def name(self) -> str:
        """This node's name on the mesh."""
        return self.link.name

    def start(self) -> None:
        """Join the mesh. Raises MeshError when that is not possible."""
        try:
            self.link.start(self._sink)
        except BaseException:
            self.link.close()
            raise
        self.worker.introduce(self.link.incarnation)
        for thread in self._threads:
            thread.start()

    def submit(self, event: Event) -> None:
        """Hand an event to the core."""
        self._events.put(event)

    def ask(self, question: Callable[[], T]) -> T:
        """Run ``question`` between two events, where it may look at the cores; its result.

        RequestError when the node is closed.
        """
        if threading.current_thread() is self._threads[0]:
            return question()
        answer: Future[T] = Future()
        self._events.put((question, answer))
        if self._stopping and not self._threads[0].is_alive():
            self._refuse_questions()
        return answer.result()

    def act(self, decide: Callable[[float], list[GatewayAction]]) -> None:
        """Do what ``decide`` (given the time) says, between two events."""
        self._events.put(decide)

    def drain(self) -> None:
        """Finish what is here, take nothing new; ``drained`` is set when that is done."""
        self._events.put(Drain())

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything that was to be sent has been taken by its receiver."""
        end = time.monotonic() + timeout_s
        quiet = 0
        while quiet < 2 and time.monotonic() < end:
            waits = not self._outbox.idle or any(map(self.link.waiting, self.link.peers()))
            quiet = 0 if waits else quiet + 1
            time.sleep(0.005)
        return quiet == 2

    def close(self) -> None:
        """Leave the mesh and end all threads. Idempotent."""
        with self._closing:
            if self._stopping:
                return
            self._stopping = True
        self.link.close()
        self.exchange.close()
        self.prober.close()
        self._events.put(None)
        self._runs.put(None)
        self._loads.put(None)
        self._gifts.put(None)
        self._answers.put(None)
        self._outbox.stop()
        for thread in self._threads:
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join()
        self._refuse_questions()

    def _refuse_questions(self) -> None:
        """Nobody will answer what was asked after the end."""
        with contextlib.suppress(queue.Empty):
            while True:
                match self._events.get_nowait():
                    case (_, Future() as answer):
                        answer.set_exception(RequestError(f"the node {self.name} is closed"))

    # -- what comes in

    def _sink(self, event: LinkEvent) -> bool:
        """Called on the link's threads: hand over and return."""
        if isinstance(event, Received) and self._events.qsize() > INBOX:
            return False
        self._events.put(event)
        return True

    def _decide(self) -> None:
        event: Event = Appeared(self.name, self.link.incarnation)  # a core sees itself first
        while event is not None:
            now = time.monotonic()
            try:
                self._weigh(now)
                if event is not _NOTHING:
                    self._take(event, now)
                self._ring(now)
            except Exception as error:
                log.exception("%s: could not handle %s", self.name, type(event).__name__)
                if self._on_fault is not None:
                    text = f"the gateway failed: {type(error).__name__}: {error}"
                    self._on_fault(RequestError(text))
            event = _NOTHING
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=self._until_wake())

    def _weigh(self, now: float) -> None:
        """Tell the cores what the links carry, before they decide about what comes next."""
        if now < self._weigh_at:
            return
        self._weigh_at = now + WEIGH_S
        for peer, rate in self.link.rates().items():
            self._both(LinkMeasured(peer, rate.bytes_per_s, rate.rtt_ms), now)

    def _take(self, event: Event, now: float) -> None:
        match event:
            case Received(sender, head, body):
                try:
                    self._received(sender, head, body, now)
                finally:  # afterwards, as what follows from a message is more urgent than credit
                    self.link.settle(sender)
            case PeerUp(name, incarnation):
                self.strangers.pop(name, None)
                self._both(Appeared(name, incarnation), now)
            case PeerDown(name, incarnation):
                self._outbox.gone(name)
                self.exchange.gone(name)
                self.prober.gone(name)
                self._both(Vanished(name, incarnation), now)
            case NameLost(name):
                self.name_lost = NameTakenError(
                    f"while {name!r} was out of touch another node took its name and is alive; "
                    "give one of them another name"
                )
                log.error("%s", self.name_lost)
                self.drained.set()
                if self._on_fault is not None:
                    self._on_fault(self.name_lost)
            case Appeared():
                self._both(event, now)
            case Arrived():
                self._deal(event, now)
            case Unsent(_, message) if isinstance(message, RequestMessage):
                if self.gateway is not None and message.gateway == self.name:
                    self._serve(self.gateway.handle(event, now))
                else:
                    self._work(self.worker.handle(event, now))
            case Unsent():
                pass
            case LinkMeasured():
                self._both(event, now)
            case Ran() | RunFailed() | Loaded() | Drain():
                self._work(self.worker.handle(event, now))
            case (question, answer):
                try:
                    answer.set_result(question())
                except BaseException as error:
                    answer.set_exception(error)
            case _ if callable(event):
                self._serve(event(now))
            case _ if self.gateway is not None:
                self._serve(self.gateway.handle(event, now))

    def _received(
        self, sender: str, head: bytes, body: bytes | memoryview | None, now: float
    ) -> None:
        try:
            envelope = wire.decode(head)
        except VersionError as error:
            if sender not in self.strangers:
                log.warning("%s %s", sender, error)
            self.strangers[sender] = str(error)
            return
        except FrameError as error:
            if now >= self._complain_at:
                log.warning("from %s: %s", sender, error)
                self._complain_at = now + COMPLAIN_S
            return
        message = envelope.message
        match message:
            case wire.Fetch():
                if self._gifts.qsize() < MAX_ASKED:
                    self._gifts.put((sender, message))
            case wire.Chunk():
                self.exchange.take(sender, message, body)
            case wire.Ping():
                self._outbox.control(sender, wire.Pong(message.token))
            case wire.Pong() | wire.Measured() | wire.MeasuredWay():
                self.prober.take(sender, message)
            case wire.Measure() | wire.MeasureWay():
                if self._loads.qsize() < MAX_ASKED:
                    self._loads.put((sender, message))
            case _:
                tensors = None
                if envelope.frame is not None:
                    tensors = Body(frame=Frame(envelope.frame, body if body is not None else b""))
                if isinstance(message, Answer) and self.gateway is not None:
                    self._answers.put((sender, message, tensors))
                else:
                    self._deal(Arrived(sender, message, tensors), now)

    def _deal(self, event: Arrived, now: float) -> None:
        """A message for the core that it concerns."""
        if isinstance(event.message, FOR_GATEWAY):
            if self.gateway is not None:
                self._serve(self.gateway.handle(event, now))
        elif isinstance(event.message, NEWS):
            self._both(event, now)
        else:
            self._work(self.worker.handle(event, now))

    def _both(self, event: Appeared | Vanished | Arrived | LinkMeasured, now: float) -> None:
        self._work(self.worker.handle(event, now))
        if self.gateway is not None:
            self._serve(self.gateway.handle(event, now))

    def _until_wake(self) -> float | None:
        if not self._wakes:
            return None
        return min(max(0.0, min(self._wakes.values()) - time.monotonic()), MAX_PAUSE_S)

    def _ring(self, now: float) -> None:
        for who, at in list(self._wakes.items()):
            if not at > now:  # rather too early than never, should it be no number
                del self._wakes[who]
                if who == "worker":
                    self._work(self.worker.handle(Tick(), now))
                elif self.gateway is not None:
                    self._serve(self.gateway.handle(Tick(), now))

    # -- what goes out

    def _work(self, actions: list[WorkerAction]) -> None:
        for action in actions:
            match action:
                case Send():
                    self._send(action)
                case Run():
                    self._runs.put(action)
                case Load(part=part):
                    self.shelf.want(part)
                    self._loads.put(action)
                case Unload(part):
                    self.shelf.unload(part)
                case Wake(at):
                    self._wakes["worker"] = at
                case Drained():
                    self.drained.set()

    def _serve(self, actions: list[GatewayAction]) -> None:
        for action in actions:
            match action:
                case Send():
                    self._send(action)
                case Deliver() | Reject():
                    if self._on_result is not None:
                        self._on_result(action)
                case Wake(at):
                    self._wakes["gateway"] = at

    def _send(self, action: Send) -> None:
        if action.to == self.name:
            self._events.put(Arrived(self.name, action.message, action.body))
        else:
            self._outbox.put(action)

    def _unpackable(self, send: Send, text: str) -> None:
        """What was to be sent cannot be: to the core that owns the request it is a failed run
        (called on the sending thread)."""
        message = send.message
        if not isinstance(message, Task | Answer):
            log.error("to %s: %s cannot be sent: %s", send.to, type(message).__name__, text)
            return
        refused = _refusal(message, Why.RUN_FAILED, text)
        if message.gateway == self.name:
            self._events.put(Arrived(send.to, refused))
        else:
            self._outbox.put(Send(message.gateway, refused))

    def _peers(self) -> list[str]:
        return [name for name in self.link.peers() if name not in self.strangers]

    # -- threads that take their time

    def _compute(self) -> None:
        while (action := self._runs.get()) is not None:
            self._events.put(self._run(action))

    def _run(self, action: Run) -> Ran | RunFailed:
        session = self.shelf.session(action.part)
        if session is None:
            return RunFailed(action.jobs, f"the part {action.part[:12]} is not loaded")
        started = time.monotonic()
        try:
            outcomes = run(action, session)
        except FrameError as error:
            return RunFailed(action.jobs, str(error), damaged=True)
        except ShoalError as error:
            return RunFailed(action.jobs, str(error))
        except Exception as error:
            log.exception("%s: a run failed", self.name)
            return RunFailed(action.jobs, f"{type(error).__name__}: {error}")
        return Ran(action.jobs, outcomes, (time.monotonic() - started) * 1e3, started)

    def _load(self) -> None:
        while (task := self._loads.get()) is not None:
            if self._stopping:
                continue
            if isinstance(task, tuple):
                self._safely(self.prober.serve, *task)
                continue
            error = None
            try:
                wanted = self.shelf.load(task.part, task.info, task.source)
            except ShoalError as wrong:
                wanted, error = True, str(wrong)
            except Exception as wrong:
                log.exception("%s: could not load a part", self.name)
                wanted, error = True, f"{type(wrong).__name__}: {wrong}"
            if error is not None:
                log.warning("%s: the part %s is not loaded: %s", self.name, task.part[:12], error)
            if wanted:
                self._events.put(Loaded(task.playbook, task.part, error))

    def _open(self) -> None:
        """Unpack answers before the core hears of them: a damaged one is no answer, and the
        request is still there to be tried again."""
        while (item := self._answers.get()) is not None:
            sender, answer, body = item
            arrived = Arrived(sender, answer, body)
            try:
                if body is None:
                    raise FrameError("an answer came without tensors")
                body.arrays()
            except Exception as error:
                arrived = Arrived(sender, _refusal(answer, Why.BAD_BODY, str(error)))
            self._events.put(arrived)

    def _give(self) -> None:
        while (asked := self._gifts.get()) is not None:
            self._safely(self.exchange.give, *asked)

    def _safely(self, do: Callable[..., None], *what: Any) -> None:
        """A thread outlives what it was asked to do."""
        try:
            do(*what)
        except Exception:
            log.exception("%s: could not answer %s", self.name, type(what[-1]).__name__)


def _refusal(about: Task | Answer, why: Why, text: str) -> Refused:
    return Refused(
        gateway=about.gateway,
        incarnation=about.incarnation,
        number=about.number,
        attempt=about.attempt,
        stage=about.stage,
        why=why,
        text=text,
    )


def make_node(
    link: Link,
    store: PartStore,
    engine: Engine,
    *,
    memory_limit: int = 0,
    inbox: int = 256,
    gateway: GatewayCore | None = None,
    on_result: Callable[[Deliver | Reject], None] | None = None,
    on_fault: Callable[[ShoalError], None] | None = None,
) -> Node:
    """A node of this machine, not started. ``memory_limit`` is bytes for loaded parts (0: four
    fifths of the machine's memory)."""
    affinity = getattr(os, "sched_getaffinity", None)
    info = DeviceInfo(
        name=link.name,
        incarnation="",
        version=VERSION,
        cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        threads=engine.threads,
        memory=memory_limit or int(MEMORY_SHARE * machine_memory()),
        provider=engine.provider,
        worker=gateway is None,
    )
    return Node(
        link,
        info,
        store,
        engine,
        gateway=gateway,
        on_result=on_result,
        on_fault=on_fault,
        inbox=inbox,
    )


def machine_memory() -> int:
    """Bytes of memory of this machine (0 where the system does not say)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
