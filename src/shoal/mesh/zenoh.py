"""The kind of link between processes and machines, on Eclipse Zenoh.

Each node is a Zenoh peer; one that is told the address of any other finds the rest through
gossip. Keys, all below ``shoal/CLUSTER``:

========================  =====================================================================
alive/NAME/INCARNATION    liveliness token: this life of this node is here
to/NAME/SENDER            messages (and questions) for NAME; blocks when the line is slow
to/NAME/SENDER/ack        acknowledgements; may be lost, never wait
view                      whom a node sees, every second (see :mod:`shoal.mesh.watchdog`)
claim                     a node that wants a name asks whether it is free
answer/NAME/NUMBER        everybody answers (see :mod:`shoal.mesh.claim`)
taken/NAME/INCARNATION    a life that was out of touch is told that the name is not its own now
========================  =====================================================================

What all nodes subscribe to has one key, and who speaks is in the attachment: of a pattern that two
nodes subscribe to, Zenoh keeps some 5 KiB for ever each time that one of them goes.

Nothing is computed on Zenoh's threads: messages go into a ring of Zenoh's own, which the reader
thread empties; the rest becomes chores of the clock thread. Each destination has a lane (a
declared publisher, and a thread for what the line does not take at once). The body is copied once
on its way in and once on its way out.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from shoal.errors import AddressInUseError, MeshError, NameTakenError
from shoal.mesh import native
from shoal.mesh.address import Address, bindable, dial, parse_address
from shoal.mesh.claim import Answer, Claim
from shoal.mesh.exchange import MAX_PEERS, Discard, Exchange, Hint, Transmit
from shoal.mesh.frames import MAX_ATTACHMENT
from shoal.mesh.lane import Lane
from shoal.mesh.link import MAX_BODY
from shoal.mesh.names import check_name, is_incarnation, is_name, new_incarnation
from shoal.mesh.session import Session, batch_bytes, configuration
from shoal.mesh.shell import TICK_S, ExchangeLink
from shoal.mesh.watchdog import BEAT_S, Watchdog

if TYPE_CHECKING:
    import zenoh
else:
    from shoal.mesh.native import zenoh

MAX_FRAMES = 512
"""Frames that may wait for the reader thread; the oldest is lost when there are more."""
MAX_ABOUT = 256
"""Largest attachment of a view or claim in bytes."""
MAX_VIEW = 1 << 17
"""Largest view in bytes."""
OPEN_TRIES = 5
FIRST_CONTACT_S = 0.25
"""How long a node that starts waits for somebody to reply at the addresses that it calls."""
GIVE_BACK_S = 0.2
"""How long the ways to peers that are gone may take to be given back, all together."""
WHO_S = 1.0
"""How long the node at an address has to say who it is."""

log = logging.getLogger("shoal.mesh")

_decode_view = msgspec.msgpack.Decoder(dict[str, str]).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode
_now = time.monotonic


def _hasty() -> dict[str, Any]:
    """Settings of what may be lost and must not wait."""
    return {
        "congestion_control": zenoh.CongestionControl.DROP,
        "express": True,
        "priority": zenoh.Priority.INTERACTIVE_HIGH,
    }


def _ends(sample: zenoh.Sample) -> tuple[str, str] | None:
    """The two last parts of the key, after PREFIX/KIND; None when it has not that form."""
    parts = str(sample.key_expr).split("/")
    return (parts[3], parts[4]) if len(parts) == 5 else None


def _about(sample: zenoh.Sample) -> tuple[str, str] | None:
    """What the attachment says, FIRST/SECOND; None when it has not that form."""
    attachment = sample.attachment
    if attachment is None or len(attachment) > MAX_ABOUT:
        return None
    first, slash, second = attachment.to_bytes().decode("ascii", "replace").partition("/")
    return (first, second) if slash else None


class _Way:
    """How frames get to one peer: a lane, and two publishers which its thread declares, because
    declaring may wait for some other peer."""

    def __init__(self, session: Session, key: str, thread_name: str) -> None:
        self._session = session
        self._key = key
        self._data: Any = None
        self._acks: Any = None
        self._over = False
        self.lane = Lane(thread_name, self._put, self._swift, self._end)

    def hint(self, frame: Hint) -> None:
        """Transmit at once, or lose it."""
        acks = self._acks
        if acks is None:
            self.lane.post(frame)
            self.lane.push()
            return
        with contextlib.suppress(zenoh.ZError):
            acks.put(b"", attachment=frame.attachment)

    def _swift(self, frame: Transmit | Hint) -> bool:
        return self._acks is not None and (isinstance(frame, Hint) or frame.swift)

    def _put(self, frame: Transmit | Hint) -> None:
        with contextlib.suppress(zenoh.ZError):  # the break is noticed elsewhere
            if self._over:
                return
            if self._acks is None:
                self._data = self._session.declare_publisher(
                    self._key, congestion_control=zenoh.CongestionControl.BLOCK, express=True
                )
                self._acks = self._session.declare_publisher(f"{self._key}/ack", **_hasty())
            if isinstance(frame, Hint):
                self._acks.put(b"", attachment=frame.attachment)
            else:
                body = b"" if frame.body is None else frame.body
                self._data.put(body, attachment=frame.attachment)

    def _end(self) -> None:
        """Let go of the publishers: of one that is there when its session ends, Zenoh keeps some
        14 KiB for ever."""
        self._over, self._data, self._acks = True, None, None


class ZenohLink(ExchangeLink):
    """A node's link on a Zenoh mesh.

    ``listen`` are the addresses of this node (port 0: any free one, see :attr:`addresses`),
    ``connect`` those of nodes to call; one that is up suffices, the others are heard of. Of two
    nodes only one may list the other. ``lease_ms`` is the time after which a silent peer counts
    as gone; raise it for links that stall longer. ``settings`` are further settings of Zenoh
    (certificates, access control, routers), paths to values.
    """

    def __init__(
        self,
        name: str,
        listen: Sequence[str] = ("tcp/0.0.0.0:0",),
        connect: Sequence[str] = (),
        cluster: str = "shoal",
        lease_ms: int = 400,
        max_body: int = MAX_BODY,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._listen = [parse_address(text) for text in listen]
        self._connect = [parse_address(text) for text in connect]
        super().__init__(name, max_body, batch_bytes(self._listen, self._connect))
        self._cluster = check_name(cluster, "cluster")
        self._prefix = f"shoal/{cluster}"
        self._bound: list[Address] = []
        self._lease_s = lease_ms / 1000
        self._configure = functools.partial(
            configuration, lease_ms=lease_ms, max_body=max_body, settings=settings or {}
        )
        self._configure(self._listen, self._connect)  # what is wrong with it is said at once
        self._session: Session | None = None
        self._ring: Any = None
        self._ring_changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name=f"{name}-reader", daemon=True)
        self._ways: dict[str, _Way] = {}
        self._ways_lock = threading.Lock()
        self._wanted: set[str] = set()  # whom we saw at the last beat
        self._beat_at = 0.0

    @property
    def addresses(self) -> list[str]:
        """Where this node listens, with real ports; empty until the link is started."""
        return [str(address) for address in self._bound]

    def unreachable(self) -> dict[str, str]:
        """The addresses to call at which nobody listens, and why; takes up to a second each."""
        reasons = {str(address): dial(address) for address in self._connect}
        return {address: reason for address, reason in reasons.items() if reason is not None}

    def who(self, address: str) -> str | None:
        called = [parse_address(address)]
        if dial(called[0]) is not None:
            return None
        try:
            # Without gossip only the node that is called is seen, not those that it sees.
            session = cast(Session, zenoh.open(self._configure((), called, gossip=False)))
        except zenoh.ZError:
            return None
        try:
            end = _now() + WHO_S
            while not (names := self._visible(session)) and _now() < end:
                time.sleep(0.02)
        finally:
            session.close()
        return min(names, default=None)

    def concern(self, names: Iterable[str], only: bool = False) -> None:
        self._watchdog.concern(names, only)

    def in_child(self) -> None:
        super().in_child()
        native.stop_listening({address.port for address in self._bound})

    # -- joining and leaving ----------------------------------------------------------------------

    def _open(self) -> str:
        session = self._bind()
        self._session = session
        incarnation = self._take_name(session)
        self._exchange.incarnation = incarnation
        self.incarnation = incarnation
        self._watchdog = Watchdog(self.name, incarnation, calls=bool(self._connect))
        self._join_in(session)
        self._reader.start()
        return incarnation

    def _bind(self) -> Session:
        """Open a session that listens, with real ports for port 0."""
        for _ in range(OPEN_TRIES):
            bound = [bindable(address) for address in self._listen]
            try:
                session = zenoh.open(self._configure(bound, self._connect))
            except zenoh.ZError as error:
                failure = error
                if "os error 98" not in str(error) and "in use" not in str(error):
                    raise MeshError(f"Zenoh cannot be started: {error}") from error
                continue  # somebody else was quicker to take the port
            self._bound = bound
            return session
        raise AddressInUseError(
            f"cannot listen on {', '.join(map(str, self._listen))}: {failure}; "
            "stop the other process, or choose another port"
        ) from failure

    def _take_name(self, session: Session) -> str:
        """A new incarnation, once the name is free (see :mod:`shoal.mesh.claim`)."""
        number = new_incarnation()  # of this claim
        claim = Claim(time.monotonic() + 1.0 + 2 * self._lease_s)
        answers: Any = session.declare_subscriber(
            f"{self._prefix}/answer/{self.name}/{number}", zenoh.handlers.RingChannel(MAX_PEERS)
        )
        pause = 0.002
        alone_until = _now() + FIRST_CONTACT_S if self._connect else 0.0
        while True:
            while (sample := answers.try_recv()) is not None:
                with contextlib.suppress(msgspec.DecodeError):
                    claim.answered(_decode_answer(sample.payload.to_bytes()))
            visible = self._visible(session)
            free = claim.judge(visible.keys() - {self.name}, visible.get(self.name, ()), _now())
            if free is not None and (visible or _now() >= alone_until):
                break
            about = f"{self.name}/{number}".encode()
            session.put(f"{self._prefix}/claim", b"", attachment=about, **_hasty())
            time.sleep(pause)
            pause = min(2 * pause, 0.1)
        answers.undeclare()
        if not free:
            raise NameTakenError(
                f"a node called {self.name!r} is alive in cluster {self._cluster!r}; stop it, or "
                "choose another name"
            )
        return new_incarnation(claim.lives)

    def _visible(self, session: Session) -> dict[str, set[str]]:
        """All visible nodes and their lives."""
        visible: dict[str, set[str]] = {}
        for reply in session.liveliness().get(f"{self._prefix}/alive/*/*", timeout=1.0):
            if reply.ok is not None:
                name, life = _ends(reply.ok) or ("", "")
                if is_name(name) and is_incarnation(life):
                    visible.setdefault(name, set()).add(life)
        return visible

    def _join_in(self, session: Session) -> None:
        """Listen, look around, and become visible."""
        me, prefix = f"{self.name}/{self.incarnation}", self._prefix

        def quick(callback: Any) -> Any:
            # Called on Zenoh's own thread: no thread between, so no queue without a bound.
            return zenoh.handlers.Callback(callback, indirect=False)

        subscriber = session.declare_subscriber(
            f"{prefix}/to/{self.name}/**", zenoh.handlers.RingChannel(MAX_FRAMES)
        )
        with self._ring_changed:
            self._ring = subscriber
            self._ring_changed.notify_all()
        # What is declared with a callback lives as long as the session, also without a reference.
        session.declare_subscriber(f"{prefix}/view", quick(self._on_view))
        session.declare_subscriber(f"{prefix}/claim", quick(self._on_claim))
        session.declare_subscriber(f"{prefix}/taken/{me}", quick(self._on_taken))
        session.liveliness().declare_subscriber(
            f"{prefix}/alive/*/*", quick(self._on_alive), history=True
        )
        self._token = session.liveliness().declare_token(f"{prefix}/alive/{me}")

    def _leave(self) -> None:
        session, self._session = self._session, None
        ways = self._give_back()
        if session is not None:
            session.close()
        with self._ring_changed:
            self._ring_changed.notify_all()
        self._join(self._reader)
        for way in ways:
            self._join(way.lane.thread)

    def _reopen(self, reason: str, now: float) -> None:
        """Leave and join again as the same incarnation (clock thread)."""
        log.warning("%s opens its Zenoh session anew: %s", self.name, reason)
        session, self._session = self._session, None
        self._give_back()
        if session is not None:
            session.close()
        with self._lock:
            self._sightings.clear()
            self._twins.clear()
            self._overrun = False
        self._tell(Exchange.blinded)
        self._watchdog.reopened()
        try:
            session = cast(Session, zenoh.open(self._configure(self._bound, self._connect)))
        except zenoh.ZError as error:  # tried again at the next beat
            log.warning("%s cannot open its Zenoh session yet: %s", self.name, error)
            return
        with self._lock:
            if not self._closed:
                self._session = session
        if self._session is session:
            with contextlib.suppress(zenoh.ZError):  # closed by another thread meanwhile
                self._join_in(session)
        else:
            session.close()

    # -- frames out -------------------------------------------------------------------------------

    def _pack(self, body: bytes | bytearray | memoryview) -> Any:
        if not isinstance(body, memoryview):
            return zenoh.ZBytes(body)
        whole = body.obj  # a view of all of it needs no copy of its own
        if (
            isinstance(whole, (bytes, bytearray))
            and len(whole) == body.nbytes
            and body.c_contiguous
        ):
            return zenoh.ZBytes(whole)
        return zenoh.ZBytes(bytes(body))

    def _post(self, frame: Transmit | Discard) -> None:
        if isinstance(frame, Transmit):
            if (way := self._way(frame.to)) is not None:
                way.lane.post(frame)
        elif (way := self._ways.get(frame.to)) is not None:
            way.lane.discard()

    def _push(self, to: str) -> None:
        if (way := self._ways.get(to)) is not None:
            way.lane.push()

    def _hint(self, frame: Hint) -> None:
        if (way := self._way(frame.to)) is not None:
            way.hint(frame)

    def _way(self, to: str) -> _Way | None:
        """The way to a peer; None while there is no session."""
        way = self._ways.get(to)
        if way is None:
            with self._ways_lock:
                way = self._ways.get(to)
                session = self._session
                if way is None and session is not None:
                    key = f"{self._prefix}/to/{to}/{self.name}"
                    way = self._ways[to] = _Way(session, key, f"{self.name}-to-{to}")
        return way

    def _drop_ways(self, keep: Collection[str] = ()) -> list[_Way]:
        """Give up the ways to all but those to keep."""
        with self._ways_lock:
            dropped = {to: way for to, way in self._ways.items() if to not in keep}
            for to, way in dropped.items():
                del self._ways[to]
                way.lane.close()
        return list(dropped.values())

    def _give_back(self) -> list[_Way]:
        """Give up all ways, before the session ends: a line that is stuck is not waited for."""
        ways = self._drop_ways()
        end = _now() + GIVE_BACK_S
        for way in ways:
            if threading.get_ident() not in (way.lane.thread.ident, self._offering):
                way.lane.thread.join(max(0.0, end - _now()))
        return ways

    # -- frames in (reader thread) ----------------------------------------------------------------

    def _read(self) -> None:
        ring = self._ring
        while not self._closed:
            try:
                sample = ring.recv()
            except zenoh.ZError:  # the session was closed
                with self._ring_changed:
                    while self._ring is ring and not self._closed:
                        self._ring_changed.wait()
                    ring = self._ring
                continue
            try:
                self._on_frame(sample)
            except Exception:  # a fault of ours, but the link must live on
                log.exception("%s failed at a frame", self.name)

    def _on_frame(self, sample: zenoh.Sample) -> None:
        attachment, payload = sample.attachment, sample.payload
        # Somebody may publish on a pattern of keys; only the key itself is ours.
        _, _, me, sender, *_ = (*str(sample.key_expr).split("/")[1:], "", "", "", "")
        if me != self.name or attachment is None or len(attachment) > MAX_ATTACHMENT:
            with self._lock:
                self._exchange.drop()
            return
        self._frame(sender, attachment.to_bytes(), len(payload), payload.to_bytes)

    # -- called on Zenoh's threads: leave a chore and return --------------------------------------

    def _on_alive(self, sample: zenoh.Sample) -> None:
        if (who := _ends(sample)) is not None:
            self._sighted(*who, sample.kind == zenoh.SampleKind.PUT)

    def _on_view(self, sample: zenoh.Sample) -> None:
        who = _about(sample)
        if who is not None and who[0] != self.name and len(sample.payload) <= MAX_VIEW:
            self._chore(functools.partial(self._hear, *who, sample.payload))

    def _on_claim(self, sample: zenoh.Sample) -> None:
        if (what := _about(sample)) is not None:
            self._chore(functools.partial(self._answer, *what))

    def _on_taken(self, sample: zenoh.Sample) -> None:
        if _ends(sample) == (self.name, self.incarnation) and len(sample.payload) == 16:
            self._chore(functools.partial(self._give_way, sample.payload.to_bytes()))

    # -- chores (clock thread) --------------------------------------------------------------------

    def _hear(self, name: str, incarnation: str, payload: zenoh.ZBytes, now: float) -> None:
        if not (is_name(name) and is_incarnation(incarnation)):
            return
        try:
            sees = _decode_view(payload.to_bytes())
        except msgspec.DecodeError:
            with self._lock:
                self._exchange.drop()
            return
        self._watchdog.heard(name, incarnation, sees, now)

    def _answer(self, name: str, number: str, now: float) -> None:
        """Say what we know of a name that another node claims."""
        if not (is_name(name) and is_incarnation(number)):
            return
        own = name == self.name
        life = self.incarnation if own else self.peers().get(name)
        answer = msgspec.msgpack.encode(Answer(self.name, life, own))
        self._say(f"answer/{name}/{number}", answer)

    def _on_twin(self, now: float) -> None:
        """Tell older lives of our name, back from the frost, that their time is over."""
        for incarnation in self._twin_lives():
            if incarnation < self.incarnation:
                self._say(f"taken/{self.name}/{incarnation}", self.incarnation.encode())

    def _give_way(self, successor: bytes, now: float) -> None:
        life = successor.decode("ascii", "replace")
        if is_incarnation(life) and life > self.incarnation:
            self._lose_name(life)

    def _on_tick(self, now: float) -> None:
        if now + TICK_S < self._beat_at:
            return
        self._beat_at = now + BEAT_S
        peers = self.peers()
        self._drop_ways(keep=self._wanted | peers.keys())
        self._wanted = set(peers)
        self._on_twin(now)
        me = f"{self.name}/{self.incarnation}".encode()
        self._say("view", msgspec.msgpack.encode(peers), attachment=me)
        reason = self._watchdog.judge(peers, self._busy(), now)
        if self._overrun:
            reason = "too many sightings at once"
        if self._session is None:
            reason = "the last attempt failed"
        if reason is not None and not self._closed:
            self._reopen(reason, now)

    def _busy(self) -> set[str]:
        """Those with whom something is under way."""
        with self._lock:
            busy = self._exchange.busy
        return busy | set(self._work())

    def _say(self, key: str, payload: bytes, attachment: bytes | None = None) -> None:
        session = self._session
        if session is not None:
            with contextlib.suppress(zenoh.ZError):
                session.put(f"{self._prefix}/{key}", payload, attachment=attachment, **_hasty())
