"""Who is there: alive, suspect, gone, back.

A peer that the mesh no longer sees is *suspect*: it gets no new work at once, since giving its
work to others is cheap and right even when it is alive. After ``grace_s`` it is *gone*: what is
held for it may be freed. A peer that shows up again is alive, under the same incarnation (it was
frozen or cut off) or under a new one (it restarted and knows nothing).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shoal.core.messages import DeviceInfo


class State(StrEnum):
    """The state of a peer."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    GONE = "gone"


@dataclass(slots=True)
class Peer:
    """What is known of a peer. ``since`` is when it came into its state, in seconds."""

    incarnation: str
    state: State
    since: float
    info: DeviceInfo | None = None


class Membership:
    """The peers of one node."""

    def __init__(self, grace_s: float = 5.0) -> None:
        self._grace_s = grace_s
        self._peers: dict[str, Peer] = {}

    def appeared(self, name: str, incarnation: str, now: float) -> None:
        """Note that the mesh sees ``name``."""
        peer = self._peers.get(name)
        if peer is None or peer.incarnation != incarnation:
            self._peers[name] = Peer(incarnation, State.ALIVE, now)
        elif peer.state is not State.ALIVE:
            peer.state, peer.since = State.ALIVE, now

    def vanished(self, name: str, incarnation: str, now: float) -> bool:
        """Note that the mesh lost ``name``; False when that incarnation is old news."""
        peer = self._peers.get(name)
        if peer is None or peer.incarnation != incarnation or peer.state is not State.ALIVE:
            return False
        peer.state, peer.since = State.SUSPECT, now
        return True

    def hello(self, info: DeviceInfo) -> bool:
        """Take what a peer says of itself; False when it is not the incarnation that is seen."""
        peer = self._peers.get(info.name)
        if peer is None or peer.incarnation != info.incarnation:
            return False
        peer.info = info
        return True

    def expire(self, now: float) -> list[str]:
        """Turn suspects whose grace has passed into gone ones; their names."""
        names = []
        for name, peer in self._peers.items():
            if peer.state is State.SUSPECT and now >= peer.since + self._grace_s:
                peer.state, peer.since = State.GONE, now
                names.append(name)
        return names

    def next_expiry(self) -> float | None:
        """When :meth:`expire` has work to do next, in seconds."""
        suspects = [p.since for p in self._peers.values() if p.state is State.SUSPECT]
        return min(suspects) + self._grace_s if suspects else None

    def alive(self, name: str) -> bool:
        """Whether ``name`` is seen now."""
        peer = self._peers.get(name)
        return peer is not None and peer.state is State.ALIVE

    def get(self, name: str) -> Peer | None:
        """What is known of ``name``."""
        return self._peers.get(name)

    def items(self) -> list[tuple[str, Peer]]:
        """All peers ever seen, by name."""
        return list(self._peers.items())
