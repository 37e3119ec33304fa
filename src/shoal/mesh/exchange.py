"""A node's side of the mesh as a state machine: no I/O, no clock, no threads.

Both kinds of link drive this very code. In go sightings (an incarnation is or is no longer
visible), frames, and what the node wants; out come frames to transmit and events for the node.

*Sessions.* A pair of incarnations counts its breaks. When one side loses sight of the other, what
was on its way between them is dropped, and the count goes up. A frame with a higher count tells
the other side that there was a break which it did not see; it then reports ``PeerDown`` and
``PeerUp`` as well. So both sides agree on where the unbroken stretches lie, and within each of
them messages arrive in order, each exactly once.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from shoal.errors import FrameError
from shoal.mesh.credit import PIECE_BYTES, Parcel, Receiver, Sender
from shoal.mesh.frames import Ack, Ask, Data, Frame, Pairing, decode, encode
from shoal.mesh.goodput import LinkRate
from shoal.mesh.link import MAX_BODY, LinkEvent, LinkStats, PeerDown, PeerUp, Received

MAX_PEERS = 1024
"""Names that are visible at a time; further ones are not seen."""
MAX_PAST = 256
"""Names that are not visible any more whose sessions are remembered."""
MAX_LIVES = 16
"""Incarnations under one name that are kept track of."""
MAX_SESSION = 1 << 62


class Transmit(msgspec.Struct, frozen=True):
    """Transmit a frame, in order with the others for that peer, and without loss where possible.
    ``body`` is what :meth:`Exchange.send` was given, None without one. A ``swift`` frame finds
    room in the transport at once, as what is on its way is little."""

    to: str
    attachment: bytes
    body: Any = None
    swift: bool = False


class Hint(msgspec.Struct, frozen=True):
    """Transmit a tiny frame that may be lost or overtake others, and must never wait."""

    to: str
    attachment: bytes


class Discard(msgspec.Struct, frozen=True):
    """There was a break: frames for ``to`` that have not left yet are worth nothing."""

    to: str


Outgoing: TypeAlias = Transmit | Hint | Discard


class _Peer:
    """What is known of a name: its visible lives, and the session with the current one."""

    def __init__(self, piece_bytes: int, sessions: dict[str, int]) -> None:
        self._piece_bytes = piece_bytes
        self.sessions = sessions  # of the last lives, for those that come back
        self.lives: set[str] = set()
        self.incarnation = ""
        self.up = False
        self.session = 0
        self.sender = Sender(piece_bytes=piece_bytes)
        self.receiver = Receiver()
        self.queued = False  # among those whose messages are to be offered

    def meet(self, incarnation: str) -> None:
        """The current life is another one now: a history of its own."""
        self.incarnation = incarnation
        self.session = self.sessions.get(incarnation, 0)

    def part(self) -> None:
        """The current life is out of sight; when it comes back it is another session."""
        self.up = False
        self.sessions.pop(self.incarnation, None)
        self.sessions[self.incarnation] = self.session + 1
        if len(self.sessions) > MAX_LIVES:
            del self.sessions[next(iter(self.sessions))]

    def renew(self) -> None:
        """Both directions start anew."""
        self.queued = False
        self.sender = Sender(piece_bytes=self._piece_bytes)
        self.receiver = Receiver()


class Exchange:
    """Sessions with all peers of one node. Times are seconds on any steady clock. The transport
    sends ``piece_bytes`` of a message at a time."""

    def __init__(
        self,
        name: str,
        incarnation: str,
        max_body: int = MAX_BODY,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._piece_bytes = piece_bytes
        self.name = name
        self.incarnation = incarnation
        self._max_body = max_body
        self._peers: dict[str, _Peer] = {}
        self._past: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._out: list[Outgoing] = []
        self._notices: deque[LinkEvent] = deque()
        self._ready: deque[str] = deque()  # names with messages to offer, each once
        self._refused: set[str] = set()  # names whose message found no room
        self._in_hand: tuple[str, Receiver] | None = None  # whose message is being offered
        self._sent = self._received = self._bytes_sent = self._bytes_received = 0
        self._resent = self._dropped = 0

    # -- what the network reports ---------------------------------------------------------------

    def appeared(self, name: str, incarnation: str) -> None:
        """An incarnation of a name is visible."""
        peer = self._peers.get(name)
        if peer is None:
            if len(self._peers) >= MAX_PEERS:
                self._dropped += 1
                return
            peer = self._peers[name] = _Peer(self._piece_bytes, self._past.pop(name, {}))
        if len(peer.lives) >= MAX_LIVES:
            self._dropped += 1
            return
        peer.lives.add(incarnation)
        self._follow(name, peer)

    def vanished(self, name: str, incarnation: str) -> None:
        """An incarnation of a name is no longer visible."""
        peer = self._peers.get(name)
        if peer is not None:
            peer.lives.discard(incarnation)
            self._follow(name, peer)
            self._retire(name, peer)

    def blinded(self) -> None:
        """Nobody is visible any more (the way to the network was given up)."""
        for name, peer in list(self._peers.items()):
            peer.lives.clear()
            self._follow(name, peer)
            self._retire(name, peer)

    def arrived(
        self, sender: str, attachment: bytes, size: int, read: Callable[[], bytes], now: float
    ) -> None:
        """A frame came with a payload of ``size`` bytes, which ``read`` copies when needed."""
        try:
            frame = decode(attachment, size, self._max_body)
        except FrameError:
            self._dropped += 1
            return
        peer = self._peers.get(sender)
        pairing = frame.pairing
        if (
            peer is None
            or not peer.up
            or pairing.source != peer.incarnation
            or pairing.target != self.incarnation
            or pairing.session > MAX_SESSION
        ):
            self._dropped += 1
            return
        if pairing.session < peer.session:
            self._dropped += 1
            self._ack(sender, peer, now)  # it does not know yet that there was a break
            return
        if pairing.session > peer.session:
            self._break(sender, peer, pairing.session)
        self._take(sender, peer, frame, read, now)

    def tick(self, now: float) -> None:
        """Time passes: ask where acknowledgements are overdue, give those that are owed, sound
        lines that are quiet, offer again what was refused."""
        for name, peer in self._peers.items():
            if peer.up:
                self._ask(name, peer, now)
                if (number := peer.sender.sound(now)) is not None:
                    self._question(name, peer, number)
                if peer.receiver.owes:
                    self._ack(name, peer, now)
        self.offer_again()

    def due(self, now: float) -> float:
        """When :meth:`tick` has something to do, as far as is known now; infinite for never."""
        at = math.inf
        for peer in self._peers.values():
            if peer.up:
                at = min(at, now if peer.receiver.owes else peer.sender.due(now))
        return at

    def owes(self, sender: str) -> bool:
        """Whether a sender does not know yet of all that is settled, and waits for a tick."""
        peer = self._peers.get(sender)
        return peer is not None and peer.up and peer.receiver.owes

    # -- what the node wants --------------------------------------------------------------------

    def send(self, to: str, head: bytes, body: Any, size: int | None, now: float) -> bool:
        """Queue a message. False when the peer is not visible or too much waits for it."""
        peer = self._peers.get(to)
        if peer is None or not peer.up or not peer.sender.push(head, body, size):
            return False
        self._sent += 1
        self._bytes_sent += len(head) + (size or 0)
        self._dispatch(to, peer, now)
        return True

    def settle(self, sender: str, now: float) -> None:
        """The node has dealt with the oldest message of ``sender``; one too many is ignored."""
        peer = self._peers.get(sender)
        settled = peer is not None and peer.up and peer.receiver.settle()
        if peer is not None and settled and peer.receiver.must_tell(now):
            self._ack(sender, peer, now)
        self.offer_again()

    def peers(self) -> dict[str, str]:
        """Visible peers and their incarnations."""
        return {name: peer.incarnation for name, peer in self._peers.items() if peer.up}

    def waiting(self, to: str) -> int:
        """Messages to a peer that are not settled."""
        peer = self._peers.get(to)
        return peer.sender.waiting if peer is not None and peer.up else 0

    def rates(self, now: float) -> dict[str, LinkRate]:
        """What the links carry over which something has arrived, or is late, since last asked."""
        news = {}
        for name, peer in self._peers.items():
            goodput = peer.sender.goodput
            if peer.up and (goodput.news or peer.sender.waiting):
                goodput.news = False
                news[name] = goodput.rate(now)
        return news

    def stats(self) -> LinkStats:
        """Counts since the start."""
        resent = self._resent + sum(peer.sender.resent for peer in self._peers.values())
        return LinkStats(
            sent=self._sent,
            received=self._received,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            resent=resent,
            dropped=self._dropped,
        )

    def drop(self) -> None:
        """Count something that was thrown away before it got here."""
        self._dropped += 1

    # -- what comes out -------------------------------------------------------------------------

    def outgoing(self) -> list[Outgoing]:
        """What to transmit, in this order; to be asked for after every call above."""
        out, self._out = self._out, []
        return out

    def next_event(self) -> LinkEvent | None:
        """The event to offer to the node now; :meth:`offered` must follow."""
        if self._notices:
            return self._notices.popleft()
        if not self._ready:
            return None
        name = self._ready.popleft()
        receiver = self._peers[name].receiver
        self._in_hand = name, receiver
        return receiver.pop()

    @property
    def has_event(self) -> bool:
        """Whether :meth:`next_event` has one."""
        return bool(self._notices or self._ready)

    def offered(self, event: LinkEvent, taken: bool) -> None:
        """``event`` was offered. A message that was not taken is offered again later; news of
        peers, and the last words of a peer that is gone, are not."""
        in_hand, self._in_hand = self._in_hand, None
        if in_hand is None:
            return
        name, receiver = in_hand
        peer = self._peers.get(name)
        if peer is None or peer.receiver is not receiver:
            return  # there was a break meanwhile
        if not taken:
            receiver.put_back(event)
            self._refused.add(name)
        elif receiver.held:
            self._ready.append(name)
        else:
            peer.queued = False

    def offer_again(self) -> None:
        """Offer again what was refused."""
        self._ready.extend(self._refused)
        self._refused.clear()

    @property
    def busy(self) -> set[str]:
        """Those to or from whom something is on its way."""
        return {
            name
            for name, peer in self._peers.items()
            if peer.sender.waiting or peer.receiver.unsettled
        }

    @property
    def refused(self) -> bool:
        """Whether some message found no room and is to be offered again soon."""
        return bool(self._refused)

    # -- inside ---------------------------------------------------------------------------------

    def _follow(self, name: str, peer: _Peer) -> None:
        """Make the newest visible life of a name the current one."""
        current = max(peer.lives, default=None)
        if peer.up and current != peer.incarnation:
            self._lose(name, peer)
            peer.part()
        if current is not None and not peer.up:
            peer.meet(current)
            peer.up = True
            self._notices.append(PeerUp(name, current))
            self._ack(
                name, peer, -math.inf
            )  # it may have spoken before it was seen: that was dropped

    def _break(self, name: str, peer: _Peer, session: int) -> None:
        """The other side saw a break that we did not see, or is to be told of one."""
        self._lose(name, peer)
        peer.session = session
        self._notices.append(PeerUp(name, peer.incarnation))

    def _lose(self, name: str, peer: _Peer) -> None:
        """What was on its way is dropped; what had come is offered once, then the bad news."""
        while peer.receiver.held:
            self._notices.append(peer.receiver.pop())
        self._notices.append(PeerDown(name, peer.incarnation))
        self._refused.discard(name)
        if name in self._ready:
            self._ready.remove(name)
        self._resent += peer.sender.resent
        peer.renew()
        self._out.append(Discard(name))

    def _retire(self, name: str, peer: _Peer) -> None:
        """Of a name that is not visible any more only the sessions are remembered."""
        if peer.lives:
            return
        self._resent += peer.sender.resent
        del self._peers[name]
        self._past[name] = peer.sessions
        if len(self._past) > MAX_PAST:
            self._past.popitem(last=False)

    def _take(
        self, name: str, peer: _Peer, frame: Frame, read: Callable[[], bytes], now: float
    ) -> None:
        match frame:
            case Data(seq=seq, head=head, size=size):
                if not peer.receiver.expects(seq):
                    self._dropped += 1  # a copy, or the message before it is lost: it will ask
                    return
                if not peer.queued:
                    peer.queued = True
                    self._ready.append(name)
                weight = len(head) + (size or 0)
                message = Received(name, head, None if size is None else read())
                peer.receiver.put(message, weight, now)
                self._received += 1
                self._bytes_received += weight
            case Ack(received=received, settled=settled, asked=asked, came=came):
                lost = peer.sender.on_ack(received, settled, asked, now, came)
                if peer.sender.stuck:
                    self._break(name, peer, peer.session + 1)
                    return
                for parcel in lost:
                    self._transmit(name, peer, parcel)
                self._dispatch(name, peer, now)
                self._ask(name, peer, now)
            case Ask(number=number):
                peer.receiver.asked(number, now)
                self._ack(name, peer, now)

    def _dispatch(self, name: str, peer: _Peer, now: float) -> None:
        for parcel in peer.sender.take(now):
            self._transmit(name, peer, parcel)

    def _transmit(self, name: str, peer: _Peer, parcel: Parcel) -> None:
        frame = Data(self._pairing(peer), parcel.seq, parcel.head, parcel.size)
        self._out.append(Transmit(name, encode(frame), parcel.body, peer.sender.swift))

    def _ack(self, name: str, peer: _Peer, now: float) -> None:
        frame = Ack(self._pairing(peer), *peer.receiver.tell(now))
        self._out.append(Hint(name, encode(frame)))

    def _ask(self, name: str, peer: _Peer, now: float) -> None:
        if (number := peer.sender.tick(now)) is not None:
            self._question(name, peer, number)

    def _question(self, name: str, peer: _Peer, number: int) -> None:
        self._out.append(Transmit(name, encode(Ask(self._pairing(peer), number))))

    def _pairing(self, peer: _Peer) -> Pairing:
        return Pairing(self.incarnation, peer.incarnation, peer.session)
