"""What leaves a node: packed and sent by one thread, in order for each peer.

A peer whose link has no room waits in a queue of its own and holds nobody else up. How much can
wait is bounded by the cores: a worker holds a bounded number of jobs, a gateway of requests.
"""

from __future__ import annotations

import logging
import queue
from collections import deque
from typing import TypeAlias

import msgspec

from shoal.core.actions import Send
from shoal.errors import ShoalError
from shoal.mesh.link import Link
from shoal.runtime import wire

log = logging.getLogger("shoal")

RETRY_S = 0.001


class Control(msgspec.Struct, frozen=True):
    """A control message with plain bytes."""

    to: str
    message: wire.ControlMessage
    body: bytes | memoryview | None


class _Gone(msgspec.Struct, frozen=True):
    name: str


Item: TypeAlias = Send | Control


class Outbox:
    """Sends what is put into it. ``serve`` is the body of the sending thread."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._queue: queue.SimpleQueue[Item | _Gone | None] = queue.SimpleQueue()
        self._held: dict[str, deque[Item]] = {}
        self._sending = False

    @property
    def idle(self) -> bool:
        """Whether the link has everything."""
        return self._queue.empty() and not self._sending and not self._held

    def put(self, item: Item) -> None:
        """Send a message soon."""
        self._queue.put(item)

    def control(
        self, to: str, message: wire.ControlMessage, body: bytes | memoryview | None = None
    ) -> bool:
        """Send a control message soon; False when the peer is not there."""
        if to not in self._link.peers():
            return False
        self._queue.put(Control(to, message, body))
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
            self._sending = False
            try:
                item = self._queue.get(timeout=RETRY_S if self._held else None)
            except queue.Empty:
                self._flush()
                continue
            self._sending = True
            if item is None:
                return
            if isinstance(item, _Gone):
                self._held.pop(item.name, None)
            elif item.to in self._held:
                self._held[item.to].append(item)
                self._flush()
            elif not self._send(item):
                self._held[item.to] = deque([item])

    def _flush(self) -> None:
        for name, waiting in list(self._held.items()):
            while waiting and self._send(waiting[0]):
                waiting.popleft()
            if not waiting:
                del self._held[name]

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
        except ShoalError as error:
            log.error("to %s: %s", item.to, error)
            return True
        if self._link.send(item.to, head, memoryview(body) if body is not None else None):
            return True
        return item.to not in self._link.peers()
