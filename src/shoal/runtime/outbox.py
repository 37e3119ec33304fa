"""What leaves a node, in order for each peer: what is small is packed and sent at once, the rest by
a thread.

A peer whose link has no room waits in a queue of its own and holds nobody else up. Work for it is
not queued: the core is told at once, so that somebody else can have it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from shoal.core.actions import Send
from shoal.core.events import Unsent
from shoal.core.messages import Resume, Task
from shoal.errors import ShoalError
from shoal.mesh.link import Link
from shoal.runtime import wire

log = logging.getLogger("shoal")

RETRY_S = 0.005
SWIFT_BYTES = 1 << 19
"""Bodies up to this size that need no codec are packed in no time."""
MAX_HELD = 4096
"""Messages that are held for one peer whose link is full; more are lost, as on a broken link."""
MAX_HELD_BYTES = 256 << 20
"""Bytes of their bodies; one message may exceed it."""


class Control(msgspec.Struct, frozen=True):
    """A control message with plain bytes."""

    to: str
    message: wire.ControlMessage
    body: bytes | memoryview | None


class _Gone(msgspec.Struct, frozen=True):
    name: str


class _Held:
    """What waits for a peer, and how much its link held when it took no more."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        self.bytes = 0
        self._items: deque[tuple[Item, int]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def first(self) -> Item:
        """What came first."""
        return self._items[0][0]

    def add(self, item: Item) -> bool:
        """Hold a message too; False when there is no room for it."""
        size = _size(item)
        if self._items and (len(self._items) >= MAX_HELD or self.bytes + size > MAX_HELD_BYTES):
            return False
        self._items.append((item, size))
        self.bytes += size
        return True

    def drop_first(self) -> None:
        """What came first is out."""
        self.bytes -= self._items.popleft()[1]


def _size(item: Item) -> int:
    if isinstance(item, Control):
        return len(item.body or b"")
    return 0 if item.body is None else item.body.size


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
        self._queue: queue.SimpleQueue[Item | _Gone | None] = queue.SimpleQueue()
        self._held: dict[str, _Held] = {}
        self._flush_at = 0.0
        self._lock = threading.Lock()
        self._open = 0

    @property
    def idle(self) -> bool:
        """Whether the link has everything."""
        return not self._open

    def send(self, item: Send) -> None:
        """Send a message at once if that takes no time and none waits, else soon. One thread at a
        time may call this."""
        swift = item.body is None or item.body.is_swift(item.codec, SWIFT_BYTES)
        if not swift or not self.idle or not self._send(item):
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

    def gone(self, name: str) -> None:
        """Drop what waits for a peer that is gone."""
        self._queue.put(_Gone(name))

    def stop(self) -> None:
        """End the thread."""
        self._queue.put(None)

    def serve(self) -> None:
        """Send until stopped."""
        while True:
            try:
                item = self._queue.get(timeout=RETRY_S if self._held else None)
            except queue.Empty:
                self._flush()
                continue
            if item is None:
                return
            if isinstance(item, _Gone):
                held = self._held.pop(item.name, None)
                self._count(-len(held) if held else 0)
            else:
                self._post(item)
            if self._held and time.monotonic() >= self._flush_at:
                self._flush()

    def _post(self, item: Item) -> None:
        held = self._held.get(item.to)
        if held is None:
            if self._send(item):
                self._count(-1)
                return
            if not self._declined(item):
                held = self._held[item.to] = _Held(self._link.waiting(item.to))
                held.add(item)
            return
        if self._declined(item):
            return
        if not held.add(item):
            log.error(
                "to %s: %d messages of %d bytes wait already, one is lost",
                item.to,
                len(held),
                held.bytes,
            )
            self._count(-1)

    def _declined(self, item: Item) -> bool:
        """Tell the core of work that the link does not take; False for other messages."""
        if not isinstance(item, Send) or not isinstance(item.message, Task | Resume):
            return False
        self._count(-1)
        self._unsent(Unsent(item.to, item.message, full=True))
        return True

    def _flush(self) -> None:
        """Try again where the link has got rid of something."""
        for name, held in list(self._held.items()):
            if name in self._link.peers() and self._link.waiting(name) >= held.waiting:
                continue
            while held and self._send(held.first):
                held.drop_first()
                self._count(-1)
            held.waiting = self._link.waiting(name)
            if not held:
                del self._held[name]
        self._flush_at = time.monotonic() + RETRY_S

    def _send(self, item: Item) -> bool:
        """Send one message; False when there is no room for it now."""
        body: bytes | bytearray | memoryview | None
        try:
            if isinstance(item, Control):
                head, body = wire.encode(item.message), item.body
            elif item.body is None:
                head, body = wire.encode(item.message), None
            else:
                frame = item.body.frame(item.codec)
                head, body = wire.encode(item.message, frame.head), frame.payload
            view = memoryview(body) if body is not None else None
            if self._link.send(item.to, head, view):
                return True
        except ShoalError as error:
            self._give_up(item, str(error))
            return True
        except Exception as error:
            log.exception("a message to %s cannot be sent", item.to)
            self._give_up(item, f"{type(error).__name__}: {error}")
            return True
        if item.to in self._link.peers():
            return False
        if isinstance(item, Send):
            self._unsent(Unsent(item.to, item.message))
        return True

    def _give_up(self, item: Item, text: str) -> None:
        log.error("to %s: %s", item.to, text)
        if isinstance(item, Send):
            self._failed(item, text)

    def _count(self, change: int) -> None:
        with self._lock:
            self._open += change
