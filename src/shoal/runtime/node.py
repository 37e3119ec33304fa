"""A node: :class:`shoal.core.node.NodeCore` driven by the real clock, a link and an engine.

Events are given to the core by the threads that bring them, the link's reader and the clients of a
gateway among them (see :mod:`shoal.runtime.serial_queue`); what is small is sent and unpacked there
and then. What takes its time has threads of its own (see :mod:`shoal.runtime.threads`), and so has
sending what is large, what has to wait, and, where there is a core to spare for it, what was
computed while there is more to do (see :mod:`shoal.runtime.outbox`). So receiving, computing and
sending overlap, and no lock is held while computing.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from shoal.codec.frame import Frame
from shoal.core import actions, events
from shoal.core.messages import Answered, Task
from shoal.core.node import NodeCore
from shoal.core.settings import WorkerSettings
from shoal.core.worker.worker import WorkerCore
from shoal.errors import FrameError, NameTakenError, RequestError, ShoalError, VersionError
from shoal.mesh.events import LinkEvent, NameLost, Outdated, PeerDown, PeerUp, Received
from shoal.mesh.link import Link
from shoal.mesh.rate import LinkRate
from shoal.model.engine import Engine
from shoal.model.store import PartStore
from shoal.process import home
from shoal.runtime import wire
from shoal.runtime.body import Body
from shoal.runtime.machine import own_info
from shoal.runtime.outbox import Outbox
from shoal.runtime.parts import Exchange, LoadedParts
from shoal.runtime.probe import Prober
from shoal.runtime.questions import Questions
from shoal.runtime.recording import RecordingWriter
from shoal.runtime.sandbox import Sandbox
from shoal.runtime.serial_queue import SerialQueue
from shoal.runtime.threads import NodeThreads

if TYPE_CHECKING:
    from shoal.core.gateway.gateway import GatewayCore
    from shoal.runtime.service import Service

log = logging.getLogger("shoal")

INBOX = 4096
"""Events that may wait for the core; beyond it the link holds messages back."""
WEIGH_S = 0.05
"""Least time between two looks at what the links carry."""
SMALL_BYTES = 1 << 18
"""Answers up to this size are unpacked at once."""

T = TypeVar("T")


class Question(Generic[T]):
    """Something that is asked between two events, where it may look at the core."""

    def __init__(self, question: Callable[[], T]) -> None:
        self.answer: Future[T] = Future()
        self._question = question

    def put(self) -> None:
        """Ask it."""
        try:
            self.answer.set_result(self._question())
        except BaseException as error:
            self.answer.set_exception(error)


Event: TypeAlias = LinkEvent | events.NodeEvent | Question[Any]
"""What a node takes turns at."""


class Node:
    """One node on the mesh, of this machine. Of a gateway, ``service`` is told what becomes of
    requests and peers. ``memory_limit``: see :func:`~shoal.runtime.machine.own_info`. ``record`` is
    a file for all that it does (see :mod:`shoal.runtime.recording`): StoreError where that cannot
    be written."""

    def __init__(
        self,
        link: Link,
        store: PartStore,
        engine: Engine,
        *,
        memory_limit: int = 0,
        inbox: int = 256,
        gateway: GatewayCore | None = None,
        record: str | Path | None = None,
    ) -> None:
        info = own_info(link.name, engine, memory_limit, worker=gateway is None)
        self.link = link
        self.home = home()
        self.core = NodeCore(WorkerCore(info, WorkerSettings(inbox=inbox)), gateway)
        self.drained = threading.Event()
        self.strangers: dict[str, str] = {}
        self.name_lost: NameTakenError | None = None
        self.service: Service | None = None
        self.events = SerialQueue[Event](
            f"shoal-decide-{info.name}", self._handle, lambda: self.core.wake_at
        )
        self._outbox = Outbox(link, self._hand, self._unpackable)
        self.questions = Questions(self._outbox.control)
        self.exchange = Exchange(store, self.questions, self._peers, info.memory)
        self.shelf = LoadedParts(store, engine, self.exchange)
        self.prober = Prober(self.questions, self.shelf, store, engine, info.memory, self.no_way)
        self.sandbox = Sandbox(store.root, engine)
        self._threads = NodeThreads(
            info.name, self.shelf, self.prober, self.exchange, self.sandbox, self._hand
        )
        self._recording = None if record is None else RecordingWriter(record)
        self._weigh_at = 0.0
        self._unreachable: dict[str, str] = {}
        self._stopping = self._closed = False
        self._closing = threading.Lock()
        self._sending = threading.Thread(
            target=self._outbox.serve, name=f"shoal-send-{info.name}", daemon=True
        )
        self._spare = info.cores > info.threads  # a core that sends while others compute

    @property
    def name(self) -> str:
        """This node's name on the mesh."""
        return self.link.name

    @property
    def calling_back(self) -> bool:
        """Whether the calling thread is one that answers wait for: what it waits for never comes.
        Callbacks run on these."""
        return self.events.mine or self._threads.calls

    def start(self) -> None:
        """Join the mesh. Raises MeshError when that is not possible, StoreError when what it does
        cannot be recorded."""
        try:
            self.link.start(self._sink)
            self.core.introduce(self.link.incarnation)
            if self._recording is not None:
                self._recording.start(self.core.origin)
                self.core.log.tap = self._recording.take
        except BaseException:
            self.link.close()
            raise
        self._sending.start()
        self._threads.start(calls=self.core.gateway is not None)
        # A core sees itself first.
        self.events.start(events.Appeared(self.name, self.link.incarnation))

    def no_way(self, name: str) -> str:
        """Why this node cannot reach another that is there, and where it tried; empty where it can,
        and where the other is not there."""
        why = self.link.unreachable().get(name)
        return f"{self.name} cannot reach {name}: {why}" if why else ""

    def submit(self, event: Event) -> None:
        """Hand an event to the core, from outside."""
        self.home.check("the service")
        self.events.put(event)
        self.events.take(guest=True)

    def ask(self, question: Callable[[], T]) -> T:
        """Run ``question`` between two events, where it may look at the core; its result.

        RequestError when the node is closed, ForkError in a child of its process.
        """
        self.home.check("the service")
        if self.events.mine:
            return question()
        asked = Question(question)
        self.submit(asked)
        if self._closed:
            self._refuse(self.events.left())
        return asked.answer.result()

    def act(self, event: events.NodeEvent) -> None:
        """Have an event decided before this returns, also where a callback asks for it."""
        if self.events.mine:
            self._decide(event, time.monotonic())
        else:
            self.submit(event)
            self.ask(lambda: None)

    def drain(self) -> None:
        """Finish what is here, take nothing new; ``drained`` is set when that is done."""
        self.submit(events.Drain())

    def flush(self, timeout_s: float) -> bool:
        """Wait until the system has taken everything that was to be sent: it arrives although this
        node leaves, unless a link breaks."""
        end = time.monotonic() + timeout_s
        quiet = 0
        while quiet < 2 and time.monotonic() < end:
            waits = not self._outbox.idle or any(map(self.link.waiting, self.link.peers()))
            quiet = 0 if waits else quiet + 1
            time.sleep(0.005)
        return quiet == 2

    def close(self) -> None:
        """Leave the mesh and end all threads. Idempotent; nothing in a child of its process."""
        if not self.home.here:
            return
        with self._closing:
            if self._stopping:
                return
            self._stopping = True
        self._threads.leave()
        self.link.close()
        self.questions.close()
        left = self.events.close()
        self._outbox.stop()
        self._threads.close()
        if self._sending.ident is not None and self._sending is not threading.current_thread():
            self._sending.join()
        self._closed = True
        self._refuse([*left, *self.events.left()])
        if self._recording is not None:
            self._recording.close()

    def _refuse(self, events: list[Event]) -> None:
        """Nobody will answer what was asked after the end."""
        for event in events:
            if isinstance(event, Question):
                event.answer.set_exception(RequestError(f"the node {self.name} is closed"))

    # -- what comes in

    def _sink(self, event: LinkEvent) -> bool:
        """Called on the link's threads, which may decide, but never wait nor compute."""
        if isinstance(event, Received) and self.events.waiting > INBOX:
            return False
        self._hand(event)
        return True

    def _hand(self, event: Event) -> None:
        self.events.put(event)
        self.events.take()

    def _handle(self, event: Event | None) -> None:
        """Have an event decided, or what is due (None)."""
        now = time.monotonic()
        try:
            self._weigh(now)
            if event is not None:
                self._take(event, now)
            if not self.core.wake_at > now:  # rather too early than never, should it be no number
                self._decide(events.Tick(), now)
        except Exception as error:
            log.exception("%s: could not handle %s", self.name, type(event).__name__)
            self._fault(RequestError(f"the gateway failed: {type(error).__name__}: {error}"))

    def _weigh(self, now: float) -> None:
        """Tell the core what the links carry, before it decides about what comes next."""
        if now < self._weigh_at:
            return
        self._weigh_at = now + WEIGH_S
        for peer, rate in self.link.rates().items():
            self._decide(measured(peer, rate), now)
        unreachable = self.link.unreachable()
        if unreachable != self._unreachable:
            self._unreachable = unreachable
            self._decide(events.Unreachable(unreachable), now)

    def _take(self, event: Event, now: float) -> None:
        match event:
            case Received(sender, head, body):
                self._received(sender, head, body, now)
            case Outdated(name, text):
                self._strange(name, text)
            case PeerUp(name, incarnation):
                self.strangers.pop(name, None)
                self._decide(events.Appeared(name, incarnation), now)
                self._tell_of(name, True)
            case PeerDown(name, incarnation):
                self.strangers.pop(name, None)
                self.questions.gone(name)
                self._decide(events.Vanished(name, incarnation), now)
                self._tell_of(name, False)
            case NameLost(name):
                self.name_lost = NameTakenError(
                    f"while {name!r} was out of touch another node took its name and is alive; "
                    "give one of them another name"
                )
                log.error("%s", self.name_lost)
                self._decide(events.NameTaken(), now)
                self._fault(self.name_lost)
            case Question():
                event.put()
            case _:
                self._decide(event, now)

    def _received(
        self, sender: str, head: bytes, body: bytes | memoryview | None, now: float
    ) -> None:
        try:
            envelope = wire.decode(head)
        except VersionError as error:
            self._strange(sender, str(error))
            return
        except FrameError as error:
            log.warning("from %s: %s", sender, error)
            return
        message = envelope.message
        match message:
            case wire.Fetch():
                self._threads.give(sender, message)
            case wire.Ping():
                self._outbox.control(sender, wire.Pong(message.token))
            case wire.Chunk() | wire.Pong() | wire.Measured() | wire.MeasuredWay():
                self.questions.take(sender, message, body)
            case wire.Measure() | wire.MeasureWay():
                self._threads.measure(sender, message)
            case _:
                tensors, size = None, 0 if body is None else memoryview(body).nbytes
                if envelope.frame is not None:
                    payload = body if body is not None else b""
                    tensors = Body(frame=Frame(envelope.frame, (payload,)))
                if not isinstance(message, Answered) or self.core.gateway is None:
                    self._decide(events.Arrived(sender, message, tensors, size), now)
                elif tensors is None or tensors.is_swift("raw", SMALL_BYTES):
                    self._decide(_opened(sender, message, tensors), now)
                else:
                    opened = functools.partial(_opened, sender, message, tensors)
                    self._threads.call(lambda: self._hand(opened()))

    def _strange(self, name: str, text: str) -> None:
        if name not in self.strangers:
            log.warning("%s %s", name, text)
        self.strangers[name] = text

    # -- what goes out

    def _decide(self, event: events.NodeEvent, now: float) -> None:
        self._perform(self.core.handle(event, now))

    def _perform(self, todo: Sequence[actions.NodeAction]) -> None:
        runs = [action for action in todo if isinstance(action, actions.Run)]
        for each in runs:
            self._threads.run(each)
        # The computing thread has the next run to do; where there is a core for it, others send.
        later = bool(runs) and self._spare and self._threads.computes
        for action in todo:
            match action:
                case actions.Send():
                    (self._outbox.put if later else self._outbox.send)(action)
                case actions.Run():
                    pass  # begun before anything is sent
                case actions.Probe(to):
                    self.link.probe(to)
                case actions.FetchPart() | actions.LoadPart():
                    self._threads.load(action)
                case actions.UnloadPart(part):
                    self.shelf.unload(part)
                case actions.Deliver() | actions.Reject():
                    if self.service is not None:
                        self._give_out(functools.partial(self.service.on_result, action))
                case actions.Drained():
                    self.drained.set()

    def _fault(self, error: ShoalError) -> None:
        if self.service is not None:
            self._give_out(functools.partial(self.service.on_fault, error))

    def _tell_of(self, name: str, there: bool) -> None:
        if self.service is not None:
            self._threads.call(functools.partial(self.service.on_peer, name, there))

    def _give_out(self, give: Callable[[], None]) -> None:
        """Call back the clients: not on the thread of one of them, which may hold locks."""
        if self.events.guest:
            self._threads.call(give)
        else:
            give()

    def _unpackable(self, send: actions.Send, text: str) -> None:
        """What was to be sent cannot be (called on the sending thread)."""
        message = send.message
        if isinstance(message, Task | Answered):
            self._hand(events.Unpackable(send.to, message, text))
        else:
            log.error("to %s: %s cannot be sent: %s", send.to, type(message).__name__, text)

    def _peers(self) -> list[str]:
        return [name for name in self.link.peers() if name not in self.strangers]


def measured(peer: str, rate: LinkRate) -> events.LinkMeasured:
    """What a link says of the way to a peer, as an event."""
    return events.LinkMeasured(peer, rate.bytes_per_s, rate.rtt_ms, rate.age_s, rate.at_least)


def _opened(sender: str, answer: Answered, body: Body | None) -> events.Arrived | events.Damaged:
    """An answer, unpacked before the core hears of it: a damaged one is no answer, and the
    request is still there to be tried again."""
    try:
        if body is None:
            raise FrameError("an answer came without tensors")
        body.arrays()
    except Exception as error:
        return events.Damaged(sender, answer, str(error))
    return events.Arrived(sender, answer, body)
