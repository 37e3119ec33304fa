"""A node: the machines of :mod:`shoal.core` driven by the real clock, a link and an engine.

Events are given to the core by the threads that bring them (see :mod:`shoal.runtime.turns`), the
link's reader and the clients of a gateway among them; what is small is sent and unpacked there and
then. What takes its time has threads of its own (see :mod:`shoal.runtime.chores`), and so has
sending what is large, what has to wait, and, where there is a core to spare for it, what was
computed while there is more to do (see :mod:`shoal.runtime.outbox`). So receiving, computing and
sending overlap, and no lock is held while computing.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

import msgspec

from shoal.codec.frame import Frame
from shoal.core.actions import (
    Deliver,
    Drained,
    Fetch,
    GatewayAction,
    Load,
    Probe,
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
    Fetched,
    LinkMeasured,
    Loaded,
    Ran,
    RunFailed,
    Tick,
    Unsent,
    Vanished,
)
from shoal.core.messages import (
    FOR_GATEWAY,
    NEWS,
    Answer,
    DeviceInfo,
    Refused,
    RequestMessage,
    Task,
    Trial,
    Why,
    refusal,
)
from shoal.core.worker.worker import WorkerCore
from shoal.errors import FrameError, NameTakenError, RequestError, ShoalError, VersionError
from shoal.mesh.link import Link, LinkEvent, NameLost, Outdated, PeerDown, PeerUp, Received
from shoal.mesh.rate import LinkRate
from shoal.model.engine import Engine
from shoal.model.store import PartStore
from shoal.process import home
from shoal.runtime import wire
from shoal.runtime.body import Body
from shoal.runtime.chores import Chores
from shoal.runtime.outbox import Outbox
from shoal.runtime.parts import Exchange, Shelf
from shoal.runtime.probe import Prober
from shoal.runtime.sandbox import Sandbox
from shoal.runtime.turns import Event, Turns

if TYPE_CHECKING:
    from shoal.core.gateway.gateway import GatewayCore

log = logging.getLogger("shoal")

INBOX = 4096
"""Events that may wait for the core; beyond it the link holds messages back."""
WEIGH_S = 0.05
"""Least time between two looks at what the links carry."""
SMALL_BYTES = 1 << 18
"""Answers up to this size are unpacked at once."""

T = TypeVar("T")


class Node:
    """One node on the mesh. ``on_result`` gets every Deliver and Reject, ``on_fault`` what went
    wrong for good or cannot be laid to one request, ``on_peer`` a peer's name and whether it is
    there, when that changes (gateways only)."""

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
        on_peer: Callable[[str, bool], None] | None = None,
        inbox: int = 256,
    ) -> None:
        self.link = link
        self.home = home()
        self.worker = WorkerCore(info, inbox=inbox)
        self.gateway = gateway
        self.drained = threading.Event()
        self.strangers: dict[str, str] = {}
        self.name_lost: NameTakenError | None = None
        self._on_result = on_result
        self._on_fault = on_fault
        self._on_peer = on_peer
        self.turns = Turns(f"shoal-decide-{info.name}", self._handle, self._next_wake)
        self._outbox = Outbox(link, self._hand, self._unpackable)
        self.exchange = Exchange(store, self._outbox.control, self._peers, info.memory)
        self.shelf = Shelf(store, engine, self.exchange)
        self.prober = Prober(
            self._outbox.control, self.shelf, store, engine, info.memory, self.no_way
        )
        self.sandbox = Sandbox(store.root, engine)
        self._chores = Chores(
            info.name, self.shelf, self.prober, self.exchange, self.sandbox, self._hand
        )
        self._wakes: dict[str, float] = {}
        self._weigh_at = 0.0
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
        return self.turns.mine or self._chores.calls

    def start(self) -> None:
        """Join the mesh. Raises MeshError when that is not possible."""
        try:
            self.link.start(self._sink)
        except BaseException:
            self.link.close()
            raise
        self.worker.introduce(self.link.incarnation)
        self._sending.start()
        self._chores.start(calls=self.gateway is not None)
        self.turns.start(Appeared(self.name, self.link.incarnation))  # a core sees itself first

    def no_way(self, name: str) -> str:
        """Why this node cannot reach another that is there, and where it tried; empty where it can,
        and where the other is not there."""
        why = self.link.unreachable().get(name)
        return f"{self.name} cannot reach {name}: {why}" if why else ""

    def submit(self, event: Event) -> None:
        """Hand an event to the core, from outside."""
        self.home.check("the service")
        self.turns.put(event)
        self.turns.take(guest=True)

    def ask(self, question: Callable[[], T]) -> T:
        """Run ``question`` between two events, where it may look at the cores; its result.

        RequestError when the node is closed, ForkError in a child of its process.
        """
        self.home.check("the service")
        if self.turns.mine:
            return question()
        answer: Future[T] = Future()
        self.submit((question, answer))
        if self._closed:
            self._refuse(self.turns.left())
        return answer.result()

    def act(self, decide: Callable[[float], list[GatewayAction]]) -> None:
        """Do what ``decide`` (given the time) says, between two events; at once where a callback
        asks for it, which may wait for what follows."""
        if self.turns.mine:
            self._serve(decide(time.monotonic()))
        else:
            self.submit(decide)

    def drain(self) -> None:
        """Finish what is here, take nothing new; ``drained`` is set when that is done."""
        self.submit(Drain())

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
        self._chores.leave()
        self.link.close()
        self.exchange.close()
        self.prober.close()
        left = self.turns.close()
        self._outbox.stop()
        self._chores.close()
        if self._sending.ident is not None and self._sending is not threading.current_thread():
            self._sending.join()
        self._closed = True
        self._refuse([*left, *self.turns.left()])

    def _refuse(self, events: list[Event]) -> None:
        """Nobody will answer what was asked after the end."""
        for event in events:
            match event:
                case (_, Future() as answer):
                    answer.set_exception(RequestError(f"the node {self.name} is closed"))

    # -- what comes in

    def _sink(self, event: LinkEvent) -> bool:
        """Called on the link's threads, which may decide, but never wait nor compute."""
        if isinstance(event, Received) and self.turns.waiting > INBOX:
            return False
        self._hand(event)
        return True

    def _hand(self, event: Event) -> None:
        """Hand an event to the core, from a thread of the node."""
        self.turns.put(event)
        self.turns.take()

    def _handle(self, event: Event) -> None:
        """Have an event decided, or what is due (None)."""
        now = time.monotonic()
        try:
            self._weigh(now)
            if event is not None:
                self._take(event, now)
            self._ring(now)
        except Exception as error:
            log.exception("%s: could not handle %s", self.name, type(event).__name__)
            self._fault(RequestError(f"the gateway failed: {type(error).__name__}: {error}"))

    def _weigh(self, now: float) -> None:
        """Tell the cores what the links carry, before they decide about what comes next."""
        if now < self._weigh_at:
            return
        self._weigh_at = now + WEIGH_S
        for peer, rate in self.link.rates().items():
            self._both(measured(peer, rate), now)

    def _take(self, event: Event, now: float) -> None:
        match event:
            case Received(sender, head, body):
                self._received(sender, head, body, now)
            case Outdated(name, text):
                self._strange(name, text)
            case PeerUp(name, incarnation):
                self.strangers.pop(name, None)
                self._both(Appeared(name, incarnation), now)
                self._tell_of(name, True)
            case PeerDown(name, incarnation):
                self.strangers.pop(name, None)
                self.exchange.gone(name)
                self.prober.gone(name)
                self._both(Vanished(name, incarnation), now)
                self._tell_of(name, False)
            case NameLost(name):
                self.name_lost = NameTakenError(
                    f"while {name!r} was out of touch another node took its name and is alive; "
                    "give one of them another name"
                )
                log.error("%s", self.name_lost)
                self.drained.set()
                self._fault(self.name_lost)
            case Appeared():
                self._both(event, now)
            case Arrived():
                self._deal(event, now)
            case Unsent(_, Trial()):
                self._work(self.worker.handle(event, now))
            case Unsent(_, message) if isinstance(message, RequestMessage):
                if self.gateway is not None and message.gateway == self.name:
                    self._serve(self.gateway.handle(event, now))
                else:
                    self._work(self.worker.handle(event, now))
            case Unsent():
                pass
            case LinkMeasured():
                self._both(event, now)
            case Ran() | RunFailed() | Fetched() | Loaded() | Drain():
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
            self._strange(sender, str(error))
            return
        except FrameError as error:
            log.warning("from %s: %s", sender, error)
            return
        message = envelope.message
        match message:
            case wire.Fetch():
                self._chores.give(sender, message)
            case wire.Chunk():
                self.exchange.take(sender, message, body)
            case wire.Ping():
                self._outbox.control(sender, wire.Pong(message.token))
            case wire.Pong() | wire.Measured() | wire.MeasuredWay():
                self.prober.take(sender, message)
            case wire.Measure() | wire.MeasureWay():
                self._chores.measure(sender, message)
            case _:
                tensors = None
                if envelope.frame is not None:
                    payload = body if body is not None else b""
                    tensors = Body(frame=Frame(envelope.frame, (payload,)))
                if not isinstance(message, Answer) or self.gateway is None:
                    size = 0 if body is None else memoryview(body).nbytes  # whatever its head says
                    self._deal(Arrived(sender, message, tensors, size), now)
                elif tensors is None or tensors.is_swift("raw", SMALL_BYTES):
                    self._deal(_opened(sender, message, tensors), now)
                else:
                    opened = functools.partial(_opened, sender, message, tensors)
                    self._chores.call(lambda: self._hand(opened()))

    def _strange(self, name: str, text: str) -> None:
        """A peer speaks another version."""
        if name not in self.strangers:
            log.warning("%s %s", name, text)
        self.strangers[name] = text

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

    def _next_wake(self) -> float:
        return min(self._wakes.values(), default=math.inf)

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
        runs = [action for action in actions if isinstance(action, Run)]
        for each in runs:
            self._chores.run(each)
        # The computing thread has the next run to do; where there is a core for it, others send.
        later = bool(runs) and self._spare and self._chores.computes
        for action in actions:
            match action:
                case Send():
                    self._send(action, later)
                case Fetch() | Load():
                    self._chores.load(action)
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
                case Probe(to):
                    self.link.probe(to)
                case Deliver() | Reject() if self._on_result is not None:
                    self._give_out(functools.partial(self._on_result, action))
                case Wake(at):
                    self._wakes["gateway"] = at

    def _send(self, action: Send, later: bool = False) -> None:
        message = action.message
        if isinstance(message, Refused) and message.why is Why.PEER_ABSENT:
            text = "; ".join(filter(None, map(self.no_way, message.absent)))
            told = msgspec.structs.replace(message, text=text)
            action = msgspec.structs.replace(action, message=told)
        if action.to == self.name:
            self._hand(Arrived(self.name, action.message, action.body))
        elif later:
            self._outbox.put(action)
        else:
            self._outbox.send(action)

    def _fault(self, error: ShoalError) -> None:
        if self._on_fault is not None:
            self._give_out(functools.partial(self._on_fault, error))

    def _tell_of(self, name: str, there: bool) -> None:
        if self._on_peer is not None:
            self._chores.call(functools.partial(self._on_peer, name, there))

    def _give_out(self, give: Callable[[], None]) -> None:
        """Call back the clients: not on the thread of one of them, which may hold locks."""
        if self.turns.guest:
            self._chores.call(give)
        else:
            give()

    def _unpackable(self, send: Send, text: str) -> None:
        """What was to be sent cannot be: to the core that owns the request it is a failed run
        (called on the sending thread)."""
        message = send.message
        if not isinstance(message, Task | Answer):
            log.error("to %s: %s cannot be sent: %s", send.to, type(message).__name__, text)
            return
        refused = refusal(message, message.stage, Why.RUN_FAILED, text)
        if message.gateway == self.name:
            self._hand(Arrived(send.to, refused))
        else:
            self._outbox.put(Send(message.gateway, refused))

    def _peers(self) -> list[str]:
        return [name for name in self.link.peers() if name not in self.strangers]


def measured(peer: str, rate: LinkRate) -> LinkMeasured:
    """What a link says of the way to a peer, as an event."""
    return LinkMeasured(peer, rate.bytes_per_s, rate.rtt_ms, rate.age_s, rate.at_least)


def _opened(sender: str, answer: Answer, body: Body | None) -> Arrived:
    """An answer, unpacked before the core hears of it: a damaged one is no answer, and the
    request is still there to be tried again."""
    try:
        if body is None:
            raise FrameError("an answer came without tensors")
        body.arrays()
    except Exception as error:
        return Arrived(sender, refusal(answer, answer.stage, Why.BAD_BODY, str(error)))
    return Arrived(sender, answer, body)
