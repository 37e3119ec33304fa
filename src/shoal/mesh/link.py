"""How nodes talk: one small interface, two kinds (between processes, and in-process for tests).

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
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeAlias

import msgspec

from shoal.mesh.rate import LinkRate

MAX_HEAD = 1 << 24
"""Largest head in bytes; more is refused before it is read."""
MAX_BODY = 1 << 30
"""Largest body in bytes; more is refused before memory is taken."""

Buffer: TypeAlias = bytes | bytearray | memoryview
Body: TypeAlias = Buffer | Sequence[Buffer]
"""What is sent: one contiguous buffer, or several that are sent one behind the other."""


class Received(msgspec.Struct, frozen=True):
    """Bytes from a peer: a short head and an optional body, which is the taker's own."""

    sender: str
    head: bytes
    body: bytes | memoryview | None = None


class PeerUp(msgspec.Struct, frozen=True):
    """A node can be reached. ``incarnation`` differs each time that a node starts."""

    name: str
    incarnation: str


class PeerDown(msgspec.Struct, frozen=True):
    """A node can no longer be reached: it left, died, froze, or the way to it is cut. What was
    sent to it and has not arrived is dropped."""

    name: str
    incarnation: str


class NameLost(msgspec.Struct, frozen=True):
    """While this node was out of touch (frozen, cut off) another one took its name and is alive.
    This link is closed: the node should stop."""

    name: str
    incarnation: str


class Outdated(msgspec.Struct, frozen=True):
    """A node is there that speaks another version, so there is no way to talk to it."""

    name: str
    text: str


LinkEvent: TypeAlias = Received | PeerUp | PeerDown | NameLost | Outdated
Sink: TypeAlias = Callable[[LinkEvent], bool]
"""Takes an event and never blocks. For a message, False says that there is no room: nothing more
is read from its sender, and it is offered again a little later. For other events the answer does
not matter. What comes from one peer comes in order, from one thread at a time; different peers have
different threads. Called while the link holds no lock, so it may call the link."""


class LinkStats(msgspec.Struct, frozen=True):
    """Counts since the link was started. ``refused`` are connections of strangers, or of whoever
    broke the rules."""

    sent: int = 0
    received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    refused: int = 0


class Link(ABC):
    """A node's way to its peers."""

    name: str
    incarnation: str
    """Empty until the link is started."""

    @abstractmethod
    def start(self, sink: Sink) -> None:
        """Become visible and let events flow into ``sink`` (called from the link's threads).

        Raises NameTakenError when a live node has this name.
        """

    @abstractmethod
    def send(
        self,
        to: str,
        head: bytes,
        body: Body | None = None,
        *,
        work: bool = False,
        about: Hashable = None,
    ) -> bool:
        """Send to a peer; returns at once. The body is not copied: whoever sends it must not change
        it afterwards. False when the peer is not there, or when too much waits for it already (the
        caller decides what then); for ``work``, which somebody else could do as well, little is too
        much. What is ``about`` something (not None) and has no body goes before what waits of other
        things: it need not wait for their bodies. FrameError when it is too large."""

    @abstractmethod
    def peers(self) -> dict[str, str]:
        """The peers that are up, and their incarnations."""

    @abstractmethod
    def waiting(self, to: str) -> int:
        """Messages to a peer that the operating system has not taken yet."""

    @abstractmethod
    def rates(self) -> dict[str, LinkRate]:
        """What the links to peers carry: of those over which something was sent since this was
        last asked, or is under way."""

    @abstractmethod
    def probe(self, to: str) -> None:
        """Send a peer something that means nothing, to learn what the link carries."""

    @abstractmethod
    def unreachable(self) -> dict[str, str]:
        """Nodes that are there, and that this one has no way to (yet), and why: first the host and
        port that was tried, where there is one."""

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
        Idempotent. Takes a second or so at most: no threads remain, but for one that waits for the
        engine of the mesh where that must wait for somebody, and the process for it. Does nothing
        in a child made by fork."""


class LinkFactory(Protocol):
    """Opens a link under a name."""

    def __call__(self, name: str) -> Link: ...
