"""What a node hears of its link, and how much may be sent over it.

What a node can rely on:

- ``PeerUp`` comes before the first message of an incarnation, ``PeerDown`` after the last one,
  and the ``PeerDown`` of an incarnation before the ``PeerUp`` of the next.
- Between a ``PeerUp`` and the next ``PeerDown`` messages arrive in order, each exactly once.
- A ``PeerDown`` is a break for both sides: what had not arrived is dropped, and the other side,
  if it lives, is told of a break too. Nothing sent before a break arrives after it.
- A slow peer holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

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
