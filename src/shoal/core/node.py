"""A node as one state machine: its worker and, where clients ask it, its gateway.

An event goes in, actions come out. What is decided here and nowhere else: whom a message concerns,
what becomes of a message of the node to itself, of one that could not be sent, of an answer that
came damaged, and of a name that another node took. A driver brings events and does what the actions
say: :mod:`shoal.runtime` with sockets, ONNX Runtime and the real clock, :mod:`shoal.sim` in virtual
time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from shoal.core.actions import Drained, GatewayAction, NodeAction, Send
from shoal.core.events import (
    Adopt,
    Appeared,
    Arrived,
    Body,
    Cancelled,
    Damaged,
    Drain,
    Fetched,
    LinkMeasured,
    Loaded,
    NameTaken,
    NodeEvent,
    Ran,
    Release,
    RunFailed,
    Submitted,
    Tick,
    Unpackable,
    Unreachable,
    Unsent,
    Vanished,
)
from shoal.core.gateway.gateway import GatewayCore, GatewayEvent
from shoal.core.log import Log
from shoal.core.messages import (
    Answered,
    Busy,
    Forget,
    Heard,
    Hello,
    Holding,
    Install,
    Installed,
    Leave,
    Loading,
    Moved,
    Refused,
    Resume,
    Task,
    ToGateway,
    Trial,
    Uninstall,
    Why,
    refusal,
)
from shoal.core.policy import Policy
from shoal.core.settings import Origin
from shoal.core.worker.worker import WorkerCore


class NodeCore:
    """One node. ``gateway`` is None where nobody asks it. Its log remembers so many ``steps``, or
    as many as its gateway's."""

    def __init__(
        self, worker: WorkerCore, gateway: GatewayCore | None = None, steps: int | None = None
    ) -> None:
        self.name = worker.name
        self.worker = worker
        self.gateway = gateway
        self.log = gateway.log if gateway is not None else Log(worker.name, steps)
        self._unreachable: dict[str, str] = {}

    @property
    def origin(self) -> Origin:
        """What it was made of; to be asked for before anything is handled."""
        gateway = self.gateway.settings if self.gateway is not None else None
        return Origin(self.worker.info, self.worker.settings, gateway)

    def introduce(self, incarnation: str) -> None:
        """Take the incarnation under which this node is seen, before anything is handled."""
        self.worker.introduce(incarnation)

    @property
    def wake_at(self) -> float:
        """When this node wants a Tick, in seconds on the clock of :meth:`handle`; infinite for
        never. One that comes too early does no harm."""
        worker_at = self.worker.wake_at
        return worker_at if self.gateway is None else min(worker_at, self.gateway.wake_at)

    def handle(self, event: NodeEvent, now: float) -> list[NodeAction]:
        """Take an event at time ``now`` (seconds, any origin); what shall be done, in order."""
        actions: list[NodeAction] = []
        own: list[Send] = []
        try:
            self._handle(event, now, actions, own)
        except Exception as error:
            self.log.note(now, event, actions, own, f"{type(error).__name__}: {error}")
            raise
        self.log.note(now, event, actions, own)
        return actions

    def _handle(
        self, event: NodeEvent, now: float, actions: list[NodeAction], own: list[Send]
    ) -> None:
        """Find ``actions``, and the messages to itself that lead to some of them."""
        events = deque((event,))
        while events:
            for action in self._react(events.popleft(), now):
                if isinstance(action, Send):
                    action = self._explained(action)
                    if action.to == self.name:
                        own.append(action)
                        events.append(Arrived(self.name, action.message, action.body))
                        continue
                actions.append(action)

    # -- who is concerned

    def _react(self, event: NodeEvent, now: float) -> Sequence[NodeAction]:
        match event:
            case Arrived():
                return self._arrived(event, now)
            case Ran() | RunFailed() | Fetched() | Loaded() | Drain():
                return self.worker.handle(event, now)
            case Submitted() | Cancelled() | Adopt() | Release():
                return self._ask(event, now)
            case Appeared() | Vanished() | LinkMeasured() | Tick():
                return [*self.worker.handle(event, now), *self._ask(event, now)]
            case Unsent():
                return self._unsent(event, now)
            case Damaged(sender, answer, text):
                refused = refusal(answer, answer.stage, Why.BAD_BODY, text)
                return self._tell(sender, refused, now)
            case Unpackable(to, message, text):
                refused = refusal(message, message.stage, Why.RUN_FAILED, text)
                if message.gateway == self.name:
                    return self._tell(to, refused, now)
                return [Send(message.gateway, refused)]
            case Unreachable(peers):
                self._unreachable = peers
                return []
            case NameTaken():
                return [Drained()]

    def _arrived(self, event: Arrived, now: float) -> Sequence[NodeAction]:
        sender, message, body = event.sender, event.message, event.body
        match message:
            case Task(giver=giver) | Answered(giver=giver) if giver != sender:
                return []  # nobody speaks for another
            case Task() | Resume() | Leave() | Forget() | Install() | Heard() | Uninstall():
                return self.worker.hear(sender, message, body, event.size, now)
            case Answered() | Refused() | Moved() | Trial() | Installed() | Loading():
                return self._tell(sender, message, now, body)
            case Hello() | Holding() | Busy():
                actions: list[NodeAction] = [*self.worker.hear(sender, message, body, 0, now)]
                if self.gateway is not None:
                    actions += self.gateway.hear(sender, message, body, now)
                return actions

    def _ask(self, event: GatewayEvent, now: float) -> list[GatewayAction]:
        return self.gateway.handle(event, now) if self.gateway is not None else []

    def _tell(
        self, sender: str, message: ToGateway, now: float, body: object = None
    ) -> list[GatewayAction]:
        if self.gateway is None:
            return []
        return self.gateway.hear(sender, message, body, now)

    # -- what could not be sent

    def _unsent(self, event: Unsent, now: float) -> Sequence[NodeAction]:
        """Whoever owns the request decides: this node's gateway, or another's, which is told. What
        is not of a request is said again when the peer is seen again."""
        to, message = event.to, event.message
        why = Why.LINK_FULL if event.full else Why.PEER_ABSENT
        if isinstance(message, Task | Resume):
            self.worker.untaken(to, message)
        match message:
            case Task() | Resume() if message.gateway == self.name and self.gateway is not None:
                text = self._why_not((to,)) if why is Why.PEER_ABSENT else ""
                return self.gateway.untold(to, message, why, text, now)
            case Task() | Resume():
                return [self.worker.refuse(message, message.stage, why, "", (to,))]
            case Trial():
                return self.worker.unasked(to, now)
            case Forget():
                return [] if self.gateway is None else self.gateway.unforgotten(to, now)
            case Answered() | Refused() | Moved() | Leave() | Installed() | Loading() | Heard():
                return []
            case Install() | Uninstall() | Hello() | Holding() | Busy():
                return []

    def _explained(self, send: Send) -> Send:
        """A refusal since somebody is out of reach says why that is, where it is known."""
        message = send.message
        if not self._unreachable or not isinstance(message, Refused):
            return send
        if message.why is not Why.PEER_ABSENT:
            return send
        told = msgspec.structs.replace(message, text=self._why_not(message.absent))
        return msgspec.structs.replace(send, message=told)

    def _why_not(self, names: Sequence[str]) -> str:
        """Why this node cannot reach these peers, as far as it is known."""
        whys = ((name, self._unreachable.get(name)) for name in names)
        return "; ".join(f"{self.name} cannot reach {name}: {why}" for name, why in whys if why)


def make_core(
    origin: Origin,
    policies: Callable[[str], Policy],
    digest: Callable[[Body], tuple[str, ...]],
    steps: int | None = None,
) -> NodeCore:
    """The node that is made so; ``digest`` is for its gateway, if it has one. Its log remembers so
    many ``steps``."""
    worker = WorkerCore(origin.info, origin.worker, policies=policies)
    if origin.gateway is None:
        return NodeCore(worker, steps=steps)
    name, settings = origin.info.name, origin.gateway
    gateway = GatewayCore(name, settings, policies=policies, digest=digest, steps=steps)
    return NodeCore(worker, gateway)
