"""How nodes talk: one small interface, two kinds (Zenoh between processes, in-process for tests).

A node opens one link under its name. It sends bytes to a peer by name and gets back what arrives.
Nothing here knows what the bytes mean.

What a node can rely on:

- ``PeerUp`` comes before the first message of an incarnation, ``PeerDown`` after the last one,
  and the ``PeerDown`` of an incarnation before the ``PeerUp`` of the next.
- Between a ``PeerUp`` and the next ``PeerDown`` messages arrive in order, each exactly once.
- A ``PeerDown`` is a break for both sides: what had not arrived is dropped, and the other side,
  if it lives, is told of a break too. Nothing sent before a break arrives after it.
- A slow peer holds up nobody else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from typing import Protocol, TypeAlias

import msgspec

from shoal.mesh.goodput import LinkRate

MAX_HEAD = 1 << 24
"""Largest head in bytes; more is refused before it is read."""
MAX_BODY = 1 << 30
"""Largest body in bytes; more is refused before memory is taken."""


class Received(msgspec.Struct, frozen=True):
    """Bytes from a peer: a short head and an optional body (any contiguous buffer)."""

    sender: str
    head: bytes
    body: bytes | memoryview | None = None


class PeerUp(msgspec.Struct, frozen=True):
    """A node became visible. ``incarnation`` differs each time that a node starts."""

    name: str
    incarnation: str


class PeerDown(msgspec.Struct, frozen=True):
    """A node is no longer visible: it left, died, froze, or the way to it is cut. What was sent
    to it and has not arrived is dropped; its messages need not be settled any more."""

    name: str
    incarnation: str


class NameLost(msgspec.Struct, frozen=True):
    """While this node was out of touch (frozen, cut off) another one took its name and is alive.
    This link is closed: the node should stop."""

    name: str
    incarnation: str


LinkEvent: TypeAlias = Received | PeerUp | PeerDown | NameLost
Sink: TypeAlias = Callable[[LinkEvent], bool]
"""Takes an event and never blocks. For a message, False says that there is no room: it is kept
(its sender gets no credit) and offered again after the next :meth:`Link.settle`, or a little
later. For other events the answer does not matter. Called by one thread at a time, never while
the link holds a lock, so it may call the link."""


Work: TypeAlias = Callable[[], Collection[str]]
"""The peers with which something is under way that a break would harm, beside messages. Called
about once a second on a thread of the link; must not block, and may be wrong for a moment."""


class LinkStats(msgspec.Struct, frozen=True):
    """Counts since the link was started. ``dropped`` are frames that were malformed, copies, too
    large, or from or for another incarnation or session."""

    sent: int = 0
    received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    resent: int = 0
    dropped: int = 0


class Link(ABC):
    """A node's way to its peers."""

    name: str
    incarnation: str
    """Empty until the link is started."""

    @abstractmethod
    def start(self, sink: Sink, work: Work = tuple) -> None:
        """Become visible and let events flow into ``sink`` (called from the link's threads).
        ``work`` says what must not be disturbed.

        Raises NameTakenError when a live node has this name.
        """

    @abstractmethod
    def concern(self, names: Iterable[str], only: bool = False) -> None:
        """This node (which is started) has something to do with these: from now on it matters that
        it sees them. ``only``: what becomes of any others does not matter."""

    @abstractmethod
    def send(
        self, to: str, head: bytes, body: bytes | bytearray | memoryview | None = None
    ) -> bool:
        """Send to a peer; returns at once, with the body copied (bytes and bytearray once, a
        memoryview of a part of one twice). False when the peer is not visible or when too much
        waits for it already (the caller decides what then). FrameError when it is too large."""

    @abstractmethod
    def settle(self, sender: str) -> None:
        """Say that the oldest unsettled message of ``sender`` has been dealt with, so that it may
        send another (credits). Ignored when there is none."""

    @abstractmethod
    def peers(self) -> dict[str, str]:
        """Visible peers and their incarnations."""

    @abstractmethod
    def waiting(self, to: str) -> int:
        """Messages to a peer that are not settled yet (in flight and queued)."""

    @abstractmethod
    def rates(self) -> dict[str, LinkRate]:
        """What the links to peers carry, as measured from what was sent: of those where something
        has arrived, or is late, since this was last asked."""

    def who(self, address: str) -> str | None:
        """The name of the node that answers at an address; None where that cannot be said. Takes
        up to a second."""
        return None

    @abstractmethod
    def stats(self) -> LinkStats:
        """Counts since the link was started."""

    @abstractmethod
    def close(self) -> None:
        """Leave: peers see it at once, and what still waits is dropped (see :meth:`waiting`).
        Idempotent; no threads remain. Does nothing in a child made by fork."""


class LinkFactory(Protocol):
    """Opens a link under a name."""

    def __call__(self, name: str) -> Link: ...
