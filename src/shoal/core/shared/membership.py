"""Who is there: alive, suspect, gone, back.

A peer that the mesh no longer sees is *suspect*: it gets no new work at once, since giving its
work to others is cheap and right even when it is alive. After ``grace_s`` it is *gone*: what is
held for it may be freed. A peer that shows up again is alive, under the same incarnation (it was
frozen or cut off) or under a new one (it restarted and knows nothing).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

from shoal.core.messages import DeviceInfo

MAX_STRANGERS = 256
"""How many peers are remembered that are gone, or have said hello and are not seen yet."""
MAX_FORMERS = 16
"""How many earlier incarnations of a peer are remembered: what is late may be of any of them."""


class State(StrEnum):
    """The state of a peer."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    GONE = "gone"


@dataclass(slots=True)
class Peer:
    """What is known of a peer. ``since`` is when it came into its state, in seconds; ``formers``
    the incarnations before this one that were seen, as many as are remembered; ``parts`` what it
    has loaded."""

    incarnation: str
    state: State
    since: float
    info: DeviceInfo | None = None
    formers: tuple[str, ...] = ()
    parts: frozenset[str] = frozenset()


class Membership:
    """The peers of one node. ``version`` changes with who is there."""

    def __init__(self, grace_s: float = 5.0) -> None:
        self.version = 0
        self._grace_s = grace_s
        self._peers: dict[str, Peer] = {}
        self._suspects: OrderedDict[str, float] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._early: OrderedDict[str, DeviceInfo] = OrderedDict()

    def appeared(self, name: str, incarnation: str, now: float) -> bool:
        """Note that the mesh sees ``name``; True when it is under a new incarnation."""
        self.version += 1
        peer = self._peers.get(name)
        new = peer is None or peer.incarnation != incarnation
        if peer is None or new:
            formers = () if peer is None else (*peer.formers, peer.incarnation)[-MAX_FORMERS:]
            peer = self._peers[name] = Peer(incarnation, State.ALIVE, now, formers=formers)
        elif peer.state is not State.ALIVE:
            peer.state, peer.since = State.ALIVE, now
        self._suspects.pop(name, None)
        self._gone.pop(name, None)
        early = self._early.pop(name, None)
        if early is not None and early.incarnation == incarnation:
            peer.info = early
        return new

    def vanished(self, name: str, incarnation: str, now: float) -> bool:
        """Note that the mesh lost ``name``; False when that incarnation is old news."""
        peer = self._peers.get(name)
        if peer is None or peer.incarnation != incarnation or peer.state is not State.ALIVE:
            return False
        self.version += 1
        peer.state, peer.since = State.SUSPECT, now
        self._suspects[name] = now
        return True

    def hello(self, info: DeviceInfo) -> bool:
        """Take what a peer says of itself; False when it is not the incarnation that is seen
        (it is remembered until that one appears: a hello may outrun the news of its sender)."""
        peer = self._peers.get(info.name)
        if peer is None or peer.incarnation != info.incarnation:
            self._early[info.name] = info
            if len(self._early) > MAX_STRANGERS:
                self._early.popitem(last=False)
            return False
        peer.info = info
        return True

    def holding(self, name: str, parts: tuple[str, ...]) -> None:
        """Take what a peer says that it has loaded."""
        peer = self._peers.get(name)
        if peer is not None:
            peer.parts = frozenset(parts)

    def expire(self, now: float) -> list[str]:
        """Turn suspects whose grace has passed into gone ones; their names."""
        names = []
        while self._suspects:
            name, since = next(iter(self._suspects.items()))
            if now < since + self._grace_s:
                break
            del self._suspects[name]
            peer = self._peers[name]
            peer.state, peer.since = State.GONE, now
            names.append(name)
            self._gone[name] = None
            if len(self._gone) > MAX_STRANGERS:
                del self._peers[self._gone.popitem(last=False)[0]]
        return names

    def next_expiry(self) -> float | None:
        """When :meth:`expire` has work to do next, in seconds."""
        if not self._suspects:
            return None
        return next(iter(self._suspects.values())) + self._grace_s

    def alive(self, name: str) -> bool:
        """Whether ``name`` is seen now."""
        peer = self._peers.get(name)
        return peer is not None and peer.state is State.ALIVE

    def gone(self, name: str) -> bool:
        """Whether ``name`` is not expected back: never seen, or not for the grace time."""
        peer = self._peers.get(name)
        return peer is None or peer.state is State.GONE

    def life(self, name: str) -> str:
        """The incarnation under which ``name`` is known, or was last; empty if it is not."""
        peer = self._peers.get(name)
        return "" if peer is None else peer.incarnation

    def draining(self, name: str) -> bool:
        """Whether ``name`` said that it takes nothing new."""
        peer = self._peers.get(name)
        return peer is not None and peer.info is not None and peer.info.draining

    def former(self, name: str, incarnation: str) -> bool:
        """Whether a peer is known to have started anew since this incarnation."""
        peer = self._peers.get(name)
        return peer is not None and peer.incarnation != incarnation in peer.formers

    def get(self, name: str) -> Peer | None:
        """What is known of ``name``."""
        return self._peers.get(name)

    def items(self) -> list[tuple[str, Peer]]:
        """All peers that are known, by name."""
        return list(self._peers.items())
