"""Who is there, who calls whom, and whether who is silent lives: without I/O and without a clock.

Two things are known of a node: whether its sign of life is *visible* on the mesh (a liveliness
token), and whether a *session* with it stands (its two connections). A peer is up while a session
stands; what follows from a sign of life is:

===========================================  ====================================================
it comes                                     who is first of the two calls (see below)
a later life of the same name comes          the session with the earlier one is broken
it goes                                      the session is doubted: the peer is asked over it,
                                             again and again until the sign is back, and the
                                             session is broken when no reply comes
===========================================  ====================================================

So a node that died is noticed by its connections, one that froze or is cut off by its silence, and
a mesh that lost its view of somebody who lives breaks nothing. A peer that is visible and says
nothing for long is asked too: the way to it may be cut where that to the mesh is not. Peers also
tell each other whom they are in touch with, so that a node is found although the mesh shows it to
some only; what they tell is hearsay, which ends no session and counts for little.

Of two nodes the one with the lesser name calls at once, and the other when nothing came of it for
a while; one that takes no data anywhere, or that cannot be called, makes no difference between
them. A call that comes while an own one is under way is taken by the greater name, and refused by
the lesser, whose own comes first: so one session comes of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from shoal.mesh.frames import NodeSeen
from shoal.mesh.hello import CallerHello, No, Refusal
from shoal.mesh.place import Place

MAX_PEERS = 1024
"""Names of which something is known at a time."""
MAX_LIVES = 8
"""Visible lives of a name, the current one among them."""
GRACE_S = 0.25
"""Time that the node with the lesser name has to call."""
AGAIN_S, FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.03, 0.1, 2.0
"""Time until a node is called again: when it says so, and else; it doubles up to the longest, also
with each session that did not last so long."""
LEAST_PATIENCE_S = 0.1
"""Least time in which a peer that is doubted must say something."""
QUIET_S, QUIET_PATIENCE_S = 2.0, 5.0
"""Silence after which a peer that is visible is asked, and time in which it must say something: it
may be busy, which its sign is not."""
HEARSAY_S = 15.0
"""How long what a peer tells of a node counts, unless it is told again."""
LONGEST_HEARSAY_PAUSE_S = 30.0
"""Longest time until a node is called again that is only heard of."""
MAX_HEARSAY = 256
"""Names that are only heard of, at a time."""


class Session(msgspec.Struct, frozen=True):
    """A session with ``incarnation`` of ``name``: its ``number`` among those of the caller, which
    is this node if ``ours``."""

    name: str
    incarnation: str
    number: int
    ours: bool
    places: tuple[Place, ...] = ()


class Call(msgspec.Struct, frozen=True):
    """Call a node at one of these places; :meth:`Peers.may_ask` follows, and
    :meth:`Peers.answered` or :meth:`Peers.failed`."""

    session: Session


class Begin(msgspec.Struct, frozen=True):
    """A session stands: tell of it, and read what comes; :meth:`Peers.ended` follows."""

    session: Session


class Break(msgspec.Struct, frozen=True):
    """Close the connections of a session, at once."""

    session: Session
    why: str


class Ask(msgspec.Struct, frozen=True):
    """Send a PING on a session."""

    session: Session


class Tell(msgspec.Struct, frozen=True):
    """Send NEWS on a session."""

    session: Session
    nodes: tuple[NodeSeen, ...]


Action: TypeAlias = Call | Begin | Break | Ask | Tell
Clock: TypeAlias = Callable[[Session], float]
"""A time of a session, in seconds."""


@dataclass(slots=True)
class _Peer:
    """What is known of a name. Of ``lives`` the sign is visible, ``hearsay`` is a later life that a
    peer told of, last at ``told_at``. ``calling`` is an own call, ``asked`` whether it is past the
    point where it may be given up; ``ending`` a session that is broken and whose last words are not
    told yet."""

    lives: dict[str, tuple[Place, ...]] = field(default_factory=dict)
    hearsay: tuple[str, tuple[Place, ...]] | None = None
    told_at: float = 0.0
    standing: Session | None = None
    began_at: float = 0.0
    ending: Session | None = None
    calling: Session | None = None
    asked: bool = False
    call_at: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    failures: int = 0
    failure: str = ""
    ask_at: float = 0.0  # when it is asked next, while it is doubted
    asked_at: float | None = None
    patience_s: float = LEAST_PATIENCE_S
    suspect: bool = False  # it is doubted although it is visible

    @property
    def idle(self) -> bool:
        return not (self.lives or self.hearsay or self.standing or self.ending or self.calling)

    @property
    def unseen(self) -> bool:
        return self.standing is not None and self.standing.incarnation not in self.lives

    @property
    def doubted(self) -> bool:
        return self.unseen or (self.suspect and self.standing is not None)

    def life(self) -> str:
        """The latest life that is there beyond doubt."""
        return max([*self.lives, self.standing.incarnation if self.standing else ""])

    @property
    def only_heard_of(self) -> bool:
        return self.hearsay is not None and not (self.lives or self.standing or self.ending)

    def obstacle(self) -> str:
        """Why there is no way to it although it is visible; empty where there is one, or may be."""
        if not self.lives or self.standing:
            return ""
        if self.failure or not any(self.lives.values()):
            return self.failure or "it tells no place to be called at"
        return f"{self.calling.places[0]}: no reply yet" if self.calling else ""

    def next(self) -> tuple[str, tuple[Place, ...]] | None:
        """The life to call next, and its places: the latest that is visible, in turns with what is
        heard of, which is later, or a lie."""
        visible = max(self.lives.items(), default=None, key=lambda each: each[0])
        if self.hearsay is None or (visible is not None and self.failures % 2):
            return visible
        return self.hearsay


class Peers:
    """The peers of the node ``name``, which takes data at ``places``. ``lease_s`` is the silence
    after which a peer counts as gone. Times are seconds on any steady clock."""

    def __init__(self, name: str, lease_s: float) -> None:
        self.name = name
        self.incarnation = ""
        self.places: tuple[Place, ...] = ()
        self._lease_s = lease_s
        self._patience_s = max(LEAST_PATIENCE_S, lease_s / 4)
        self._peers: dict[str, _Peer] = {}
        self._numbers = 0
        self._actions: list[Action] = []

    def take(self) -> list[Action]:
        """What is to be done, in this order; to be asked for after every call below."""
        actions, self._actions = self._actions, []
        return actions

    # -- what the mesh shows --------------------------------------------------------------------

    def appeared(self, name: str, incarnation: str, places: Sequence[Place], now: float) -> None:
        """The sign of a life is visible."""
        peer = self._peer(name)
        if peer is None or (len(peer.lives) >= MAX_LIVES and incarnation not in peer.lives):
            return
        peer.lives[incarnation] = tuple(places)
        if peer.hearsay is not None and peer.hearsay[0] <= incarnation:
            peer.hearsay = None
        if peer.standing is not None and peer.standing.incarnation < incarnation:
            self._break(peer, "a later life of it came")
        elif not peer.doubted:
            peer.asked_at = None
        self._news_of(name, peer, incarnation, now)

    def vanished(self, name: str, incarnation: str, now: float) -> None:
        """The sign of a life is gone."""
        peer = self._peers.get(name)
        if peer is None or peer.lives.pop(incarnation, None) is None:
            return
        if peer.standing is not None and peer.standing.incarnation == incarnation:
            self._doubt(peer, self._patience_s, now)
        self._tidy(name, peer)

    def blinded(self, now: float) -> None:
        """This node sees no signs any more, as it has left the mesh for a moment: that says little
        of the others."""
        for name, peer in list(self._peers.items()):
            if peer.standing is not None and not peer.doubted:
                peer.lives.clear()
                self._doubt(peer, max(self._lease_s, self._patience_s), now)
            peer.lives.clear()
            self._tidy(name, peer)

    def heard(self, node: NodeSeen, now: float) -> None:
        """A peer says that it is in touch with a node."""
        peer = self._peers.get(node.name)
        if peer is None:
            full = sum(known.only_heard_of for known in self._peers.values()) >= MAX_HEARSAY
            peer = self._peer(node.name) if node.places and not full else None
        if peer is None or not node.places or peer.life() >= node.incarnation:
            return
        before = peer.hearsay[0] if peer.hearsay is not None else ""
        if before <= node.incarnation:
            peer.hearsay, peer.told_at = (node.incarnation, node.places), now
        if before < node.incarnation:
            if peer.standing is not None:  # the earlier life may be frozen
                self._suspect(peer, self._patience_s, now)
            self._news_of(node.name, peer, node.incarnation, now)

    # -- calls ----------------------------------------------------------------------------------

    def may_ask(self, session: Session) -> bool:
        """A called node can be reached, and is about to be asked for a session; False when that is
        not wanted any more. A call of the same node that comes later finds it under way."""
        peer = self._peers.get(session.name)
        if peer is None or peer.calling != session or peer.standing or peer.ending:
            return False
        peer.asked = True
        return True

    def answered(self, session: Session, now: float) -> bool:
        """The called node took the session; False when it is not wanted any more."""
        peer = self._peers.get(session.name)
        if peer is None or peer.calling != session:
            return False
        peer.calling = None
        if peer.standing or peer.ending:
            return False
        self._begin(peer, session, now)
        return True

    def failed(self, session: Session, why: str, now: float, *, again: bool = False) -> None:
        """Nothing came of a call; ``again`` says that it will soon."""
        peer = self._peers.get(session.name)
        if peer is None or peer.calling != session:
            return
        peer.calling = None
        if again:
            peer.call_at = now + AGAIN_S
            return
        peer.failure = why
        peer.failures += 1
        peer.call_at = now + peer.pause_s
        longest = LONGEST_PAUSE_S if peer.lives else LONGEST_HEARSAY_PAUSE_S
        peer.pause_s = min(2 * peer.pause_s, longest)
        self._tidy(session.name, peer)

    def called(self, hello: CallerHello, now: float) -> Session | Refusal:
        """A node asks for a session: it stands now, or why not."""
        text = ""
        if (hello.target, hello.life) != (self.name, self.incarnation):
            text = f"{hello.target} in another life was called"
        elif hello.name == self.name:
            text = "it has the same name"
        if text:
            return self._no(No.STRANGER, text)
        peer = self._peer(hello.name)
        if peer is None:
            return self._no(No.STRANGER, f"it knows {MAX_PEERS} nodes already")
        if peer.life() > hello.incarnation:
            return self._no(No.STRANGER, f"a later life of {hello.name} is there")
        if peer.standing is not None:
            # It would not call, had it not lost this one: but perhaps the two crossed.
            self._suspect(peer, self._patience_s, now)
        if peer.standing is not None or peer.ending is not None:
            return self._no(No.AGAIN, "the last session has not ended yet")
        if peer.calling is not None and peer.asked and self.name < hello.name:
            return self._no(No.AGAIN, "its own call comes first")
        peer.calling = None  # theirs it is
        session = Session(hello.name, hello.incarnation, hello.number, False, hello.places)
        self._begin(peer, session, now)
        return session

    def _no(self, no: No, text: str) -> Refusal:
        return Refusal(no, text, self.name, self.incarnation)

    # -- sessions -------------------------------------------------------------------------------

    def lost(self, session: Session, why: str) -> None:
        """A connection of a session is broken; :meth:`ended` follows when all is told."""
        peer = self._peers.get(session.name)
        if peer is not None and peer.standing == session:
            self._break(peer, why)

    def ended(self, session: Session, now: float) -> None:
        """All that came of a broken session, and that it is broken, has been told."""
        peer = self._peers.get(session.name)
        if peer is None or peer.ending != session:
            return
        peer.ending = None
        peer.failures = 0
        peer.call_at = now + self._grace(session.name)
        if now - peer.began_at >= LONGEST_PAUSE_S:
            peer.pause_s = FIRST_PAUSE_S
        else:
            peer.call_at += peer.pause_s
            peer.pause_s = min(2 * peer.pause_s, LONGEST_PAUSE_S)
        self._tidy(session.name, peer)

    def tell_all(self) -> None:
        """Tell all peers again whom this node is in touch with: some may have lost the way."""
        known = self._in_touch()
        for peer in self._peers.values():
            if peer.standing is not None and known:
                self._actions.append(Tell(peer.standing, known))

    def break_all(self, why: str) -> None:
        """This node leaves."""
        for peer in self._peers.values():
            peer.lives.clear()
            peer.hearsay = None
            if peer.standing is not None:
                self._break(peer, why)

    # -- time -----------------------------------------------------------------------------------

    def tick(self, now: float, heard_at: Clock, late_s: Clock) -> None:
        """Time passes. ``heard_at`` is when something came last on a session, ``late_s`` how long
        what is sent now waits for what was sent before."""
        for name, peer in list(self._peers.items()):
            if peer.standing is not None:
                self._judge(peer, peer.standing, now, heard_at, late_s)
            if peer.hearsay is not None and now - peer.told_at > HEARSAY_S:
                peer.hearsay = None
            self._call(name, peer, now)
            self._tidy(name, peer)

    def due(self, now: float) -> float:
        """When :meth:`tick` has something to do soon; infinite when it is enough to call it once
        a second."""
        at = math.inf
        for name, peer in self._peers.items():
            if peer.doubted and peer.asked_at is None:
                at = min(at, peer.ask_at)
            elif peer.doubted and peer.asked_at is not None:
                soon = now + self._patience_s / 4
                at = min(at, max(peer.asked_at + peer.patience_s, soon))
            if self._wants(name, peer):
                at = min(at, peer.call_at)
        return at

    # -- what is asked --------------------------------------------------------------------------

    def visible(self, name: str) -> frozenset[str]:
        """The lives of a name whose signs are visible."""
        peer = self._peers.get(name)
        return frozenset(peer.lives if peer else ())

    def unseen(self) -> list[str]:
        """The peers that are up although no sign of them is visible."""
        return [name for name, peer in self._peers.items() if peer.unseen]

    def unreachable(self) -> dict[str, str]:
        """The nodes that are visible, and that there is no way to (yet), and why."""
        found = ((name, peer.obstacle()) for name, peer in self._peers.items())
        return {name: why for name, why in found if why}

    # -- inside ---------------------------------------------------------------------------------

    def _peer(self, name: str) -> _Peer | None:
        """What is known of a name, from now on at least; None when too many are known."""
        peer = self._peers.get(name)
        if peer is None and name != self.name and len(self._peers) < MAX_PEERS:
            peer = self._peers[name] = _Peer()
        return peer

    def _tidy(self, name: str, peer: _Peer) -> None:
        if peer.idle:
            self._peers.pop(name, None)

    def _news_of(self, name: str, peer: _Peer, incarnation: str, now: float) -> None:
        """A life is known of, perhaps anew."""
        if peer.calling is not None and peer.calling.incarnation < incarnation:
            peer.calling = None
        peer.pause_s, peer.failures = FIRST_PAUSE_S, 0
        if peer.calling is None:
            peer.call_at = now + self._grace(name)

    def _in_touch(self) -> tuple[NodeSeen, ...]:
        standing = (peer.standing for peer in self._peers.values())
        return tuple(_node(session) for session in standing if session and session.places)

    def _grace(self, name: str) -> float:
        """How long the other one has to call."""
        return 0.0 if self.name < name or not self.places else GRACE_S

    def _wants(self, name: str, peer: _Peer) -> bool:
        life = peer.next()
        engaged = peer.standing or peer.ending or peer.calling
        return not engaged and life is not None and bool(life[1])

    def _call(self, name: str, peer: _Peer, now: float) -> None:
        life = peer.next()
        if life is None or now < peer.call_at or not self._wants(name, peer):
            return
        self._numbers += 1
        peer.calling = Session(name, life[0], self._numbers, True, life[1])
        peer.asked = False
        self._actions.append(Call(peer.calling))

    def _begin(self, peer: _Peer, session: Session, now: float) -> None:
        known = self._in_touch()
        for other in self._peers.values():
            if other.standing is not None and session.places:
                self._actions.append(Tell(other.standing, (_node(session),)))
        peer.standing, peer.began_at, peer.failure = session, now, ""
        # Its sign may be on its way.
        peer.ask_at, peer.asked_at, peer.patience_s = now + self._lease_s, None, self._lease_s
        peer.suspect = False
        self._actions.append(Begin(session))
        if known:
            self._actions.append(Tell(session, known))

    def _break(self, peer: _Peer, why: str) -> None:
        if peer.standing is not None:
            if peer.hearsay is not None and peer.hearsay[0] <= peer.standing.incarnation:
                peer.hearsay = None
            self._actions.append(Break(peer.standing, why))
            peer.ending, peer.standing = peer.standing, None

    def _doubt(self, peer: _Peer, patience_s: float, now: float) -> None:
        """Ask a peer now, unless it is being asked; it has so much time at most."""
        if peer.asked_at is None:
            peer.ask_at, peer.patience_s = now, patience_s
        else:
            peer.patience_s = min(patience_s, peer.patience_s)

    def _suspect(self, peer: _Peer, patience_s: float, now: float) -> None:
        self._doubt(peer, patience_s, now)
        peer.suspect = True

    def _judge(
        self, peer: _Peer, session: Session, now: float, heard_at: Clock, late_s: Clock
    ) -> None:
        if not peer.doubted:
            if now - heard_at(session) < QUIET_S:
                return
            self._suspect(peer, max(QUIET_PATIENCE_S, self._lease_s), now)
        if peer.asked_at is not None:
            if heard_at(session) >= peer.asked_at:
                peer.asked_at, peer.ask_at = None, now + self._patience_s
                peer.patience_s, peer.suspect = self._patience_s, False
            elif now - peer.asked_at >= peer.patience_s + late_s(session):
                self._break(peer, "it is silent")
        elif now >= peer.ask_at:
            peer.asked_at = now
            self._actions.append(Ask(session))


def _node(session: Session) -> NodeSeen:
    return NodeSeen(session.name, session.incarnation, session.places)
