"""How nodes talk: one small interface, two kinds (Zenoh between processes, in-process for tests).

A node opens one link under its name. It sends bytes to a peer by name and gets back what arrives,
in order per sender, each exactly once while both incarnations live. Nothing here knows what the
bytes mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

MAX_HEAD = 1 << 20
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
    """A node is no longer visible: it left, died, froze, or the way to it is cut."""

    name: str
    incarnation: str


LinkEvent: TypeAlias = Received | PeerUp | PeerDown
Sink: TypeAlias = Callable[[LinkEvent], bool]
"""Takes an event, never blocks, and says False when there is no room (the link then lets the
sender send it again)."""


class LinkStats(msgspec.Struct, frozen=True):
    """Counts since the link was opened."""

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

    @abstractmethod
    def start(self, sink: Sink) -> None:
        """Become visible and let events flow into ``sink`` (called from the link's threads).

        Raises NameTakenError when a live node has this name.
        """

    @abstractmethod
    def send(self, to: str, head: bytes, body: bytes | memoryview | None = None) -> bool:
        """Send to a peer; returns at once. False when the peer is not visible or when too much
        waits for it already (the caller decides what then). The buffer must not change until
        the link is done with it."""

    @abstractmethod
    def settle(self, sender: str) -> None:
        """Say that the oldest unsettled message of ``sender`` has been dealt with, so that it may
        send another (credits)."""

    @abstractmethod
    def peers(self) -> dict[str, str]:
        """Visible peers and their incarnations."""

    @abstractmethod
    def waiting(self, to: str) -> int:
        """Messages to a peer that are not settled yet (in flight and queued)."""

    @abstractmethod
    def stats(self) -> LinkStats:
        """Counts since the link was opened."""

    @abstractmethod
    def close(self) -> None:
        """Leave: peers see it at once. Idempotent; no threads remain."""


class LinkFactory(Protocol):
    """Opens a link under a name."""

    def __call__(self, name: str) -> Link: ...
