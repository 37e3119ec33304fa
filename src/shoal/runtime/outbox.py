"""What leaves a node, in order for each peer: what is small is packed and sent at once, the rest by
a thread.

A peer whose link has no room holds nobody else up. Work for it is not queued: the core is told at
once, so that somebody else can have it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from shoal.core.actions import Send
from shoal.core.events import Unsent
from shoal.core.messages import CoreMessage, Resume, Task
from shoal.core.worker.attempts import RequestKey
from shoal.errors import ShoalError
from shoal.mesh.events import Body
from shoal.mesh.link import Link
from shoal.runtime import wire

log = logging.getLogger("shoal")

SWIFT_BYTES = 1 << 21
"""Bodies up to this size that need no codec are packed in no time."""


class Control(msgspec.Struct, frozen=True):
    """A control message with plain bytes."""

    to: str
    message: wire.ControlMessage
    body: bytes | memoryview | None


Item: TypeAlias = Send | Control


class Outbox:
    """Sends what it is given. ``serve`` is the body of the sending thread.

    ``unsent`` is told of work that the link did not take, ``failed`` of messages that cannot be
    sent to anybody (a tensor that no codec packs, a body over the limits), with the reason.
    """

    def __init__(
        self,
        link: Link,
        unsent: Callable[[Unsent], None],
        failed: Callable[[Send, str], None],
    ) -> None:
        self._link = link
        self._unsent = unsent
        self._failed = failed
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open = 0

    @property
    def idle(self) -> bool:
        """Whether the link has everything."""
        return not self._open

    def send(self, item: Send) -> None:
        """Send a message at once if that takes no time and none waits, else soon. One thread at a
        time may call this."""
        if self.idle and (item.body is None or item.body.is_swift(item.codec, SWIFT_BYTES)):
            self._send(item)
        else:
            self.put(item)

    def put(self, item: Item) -> None:
        """Send a message soon."""
        self._count(1)
        self._queue.put(item)

    def control(
        self, to: str, message: wire.ControlMessage, body: bytes | memoryview | None = None
    ) -> bool:
        """Send a control message soon; False when the peer is not there."""
        if to not in self._link.peers():
            return False
        self.put(Control(to, message, body))
        return True

    def stop(self) -> None:
        """End the thread."""
        self._queue.put(None)

    def serve(self) -> None:
        """Send until stopped."""
        while (item := self._queue.get()) is not None:
            self._send(item)
            self._count(-1)

    def _send(self, item: Item) -> None:
        body: Body | None
        work = isinstance(item.message, Task | Resume)
        about = _about(item.message)
        try:
            if isinstance(item, Control):
                head, body = wire.encode(item.message), item.body
            elif item.body is None:
                head, body = wire.encode(item.message), None
            else:
                frame = item.body.frame(item.codec)
                head, body = wire.encode(item.message, frame.head), frame.payload
            taken = self._link.send(item.to, head, body, work=work, about=about)
        except ShoalError as error:
            self._give_up(item, str(error))
        except Exception as error:
            log.exception("a message to %s cannot be sent", item.to)
            self._give_up(item, f"{type(error).__name__}: {error}")
        else:
            if not taken:
                self._not_taken(item, work)

    def _not_taken(self, item: Item, work: bool) -> None:
        full = item.to in self._link.peers()
        if full and not work:
            log.error("to %s: too much waits already, a message is lost", item.to)
        elif isinstance(item, Send):
            self._unsent(Unsent(item.to, item.message, full))

    def _give_up(self, item: Item, text: str) -> None:
        log.error("to %s: %s", item.to, text)
        if isinstance(item, Send):
            self._failed(item, text)

    def _count(self, change: int) -> None:
        with self._lock:
            self._open += change


def _about(message: CoreMessage | wire.ControlMessage) -> RequestKey | None:
    """The request that work is of: to go on with it needs not wait for the bodies of others."""
    if not isinstance(message, Task | Resume):
        return None
    return message.gateway, message.incarnation, message.number
