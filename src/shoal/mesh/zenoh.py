"""The mesh between processes and machines, on Eclipse Zenoh: who is there, and under which name.

Each node is a Zenoh peer; one that is told the address of any other finds the rest through gossip.
What nodes say to each other goes over connections of their own (:mod:`shoal.mesh.link`). Keys,
all below ``shoal/CLUSTER``:

==================================  ===========================================================
alive/NAME/LIFE/VERSION/PLACES      liveliness token: this life of this node is here, and takes
                                    connections at these places
claim                               a node that wants a name asks whether it is free
answer/NAME/NUMBER                  everybody answers (see :mod:`shoal.mesh.claim`)
taken/NAME/LIFE                     a life that was out of touch is told that the name is not its
                                    own now
==================================  ===========================================================

What all nodes subscribe to has one key, and who speaks is in the attachment: of a pattern that two
nodes subscribe to, Zenoh keeps some 5 KiB for ever each time that one of them goes.

Nothing is done on Zenoh's threads: what they bring becomes a chore of the mesh's own thread.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec

from shoal.errors import AddressInUseError, MeshError, NameTakenError, UsageError
from shoal.mesh import farewell, native
from shoal.mesh.address import Address, bindable, dial, numbered, parse_address, resolved
from shoal.mesh.claim import Claim, Claimed
from shoal.mesh.discovery import Discovery
from shoal.mesh.doors import Doors, call
from shoal.mesh.events import MAX_BODY
from shoal.mesh.hello import VERSION
from shoal.mesh.link import Link
from shoal.mesh.names import check_name, is_incarnation, is_name, new_incarnation
from shoal.mesh.patience import Patience
from shoal.mesh.peers import MAX_LIVES, MAX_PEERS
from shoal.mesh.place import Place, read_places, write_places
from shoal.mesh.session import Session, configuration

if TYPE_CHECKING:
    import zenoh
else:
    from shoal.mesh.native import zenoh

MAX_CHORES = 4096
"""Chores that may wait for the thread; more are not done, and the mesh is joined anew."""
MAX_VERSION = 16
"""Letters of a version that are told."""
MAX_ABOUT = 256
"""Largest attachment of a claim in bytes."""
OPEN_TRIES = 5
FIRST_CONTACT_S = 0.25
"""How long a node that starts waits for somebody to reply at the addresses that it calls."""
LEAVE_S = 1.0
"""How long who leaves waits for it."""
WHO_S = 1.0
"""How long the node at an address has to say who it is."""

_Chore: TypeAlias = Callable[[], None]
log = logging.getLogger("shoal.mesh")

_decode_answer = msgspec.msgpack.Decoder(Claimed).decode
_now = time.monotonic


def _hasty() -> dict[str, Any]:
    """Settings of what may be lost and must not wait."""
    return {
        "congestion_control": zenoh.CongestionControl.DROP,
        "express": True,
        "priority": zenoh.Priority.INTERACTIVE_HIGH,
    }


def _parts(sample: zenoh.Sample) -> list[str]:
    """The parts of a key after PREFIX/KIND."""
    return str(sample.key_expr).split("/")[3:]


def _name_and_life(parts: Sequence[str]) -> tuple[str, str]:
    """What parts of a key or of a claim begin with; empty where that cannot be."""
    name, life = (*parts, "", "")[:2]
    return (name, life) if is_name(name) and is_incarnation(life) else ("", "")


def _about(sample: zenoh.Sample) -> list[str]:
    """The parts of what the attachment says; none when it is missing, or too long."""
    attachment = sample.attachment
    if attachment is None or len(attachment) > MAX_ABOUT:
        return []
    return attachment.to_bytes().decode("ascii", "replace").split("/")


class ZenohDiscovery(Discovery):
    """A node's way into a Zenoh mesh; see :class:`ZenohLink` for the settings."""

    def __init__(
        self,
        name: str,
        cluster: str,
        listen: Sequence[Address],
        connect: Sequence[Address],
        lease_ms: int,
        settings: Mapping[str, Any],
    ) -> None:
        self.lease_s = lease_ms / 1000
        self.bound: list[Address] = []
        """Where this node listens, with real ports, once it has joined."""
        self._name = name
        self._life = ""
        self._cluster = cluster
        self._prefix = f"shoal/{cluster}"
        self._listen, self._connect = listen, connect
        self._configure = functools.partial(configuration, lease_ms=lease_ms, settings=settings)
        self._configure(listen, list(map(str, connect)))  # what is wrong with it is said at once
        self._patience = Patience(calls=bool(connect))
        self._session: Session | None = None
        self._sign: Any = None  # of life, in this session
        self._link: Link | None = None
        self._token = ""
        self._lives: dict[str, set[str]] = {}  # what was told to the link, and is visible
        self._overrun = self._left = False
        self._joins = False  # it is about to join anew
        self._view = 0  # counts how often it has
        self._leave_lock = threading.Lock()
        self._threads: queue.Queue[_Chore | None] = queue.Queue(MAX_CHORES)
        self._thread = threading.Thread(target=self._serve, name=f"{name}-mesh", daemon=True)

    # -- joining and leaving ----------------------------------------------------------------------

    def join(self) -> str:
        self._session = self._bind()
        self._life = self._take_name(self._session)
        return self._life

    def show(self, link: Link, places: Sequence[Place]) -> None:
        self._link = link
        me = f"{self._name}/{self._life}"
        self._token = f"{self._prefix}/alive/{me}/{VERSION}/{write_places(places)}"
        self._thread.start()
        try:
            if self._session is not None:
                self._join_in(self._session)
        except zenoh.ZError as error:
            raise MeshError(f"Zenoh cannot be used: {error}") from error

    def look(self, unseen: Sequence[str], alone: bool, now: float) -> None:
        reason = self._patience.judge(unseen, alone, now)
        if self._overrun:
            reason = "too much happened at once"
        if reason is not None and not self._joins:
            self._joins = self._chore(functools.partial(self._reopen, reason))

    def leave(self) -> None:
        """See :meth:`Discovery.leave`. What Zenoh still waits for after :data:`LEAVE_S` (a call to
        a peer that is frozen) is let go, and ends by itself."""
        end = _now() + LEAVE_S
        self._left = True
        self._end_session(LEAVE_S)
        with contextlib.suppress(queue.Full):  # then the thread is awake, and looks
            self._threads.put_nowait(None)
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, end - _now()))

    def _end_session(self, wait_s: float | None) -> None:
        with self._leave_lock:
            session, self._session = self._session, None
            sign, self._sign = self._sign, None
        farewell.bid(session, sign, wait_s)

    def who(self, address: Address) -> str | None:
        """See :meth:`shoal.mesh.link.Link.who`."""
        if dial(address) is not None:
            return None
        try:
            # Without gossip only the node that is called is seen, not those that it sees.
            session = cast(
                Session, zenoh.open(self._configure((), resolved(address), gossip=False))
            )
        except zenoh.ZError:
            return None
        try:
            end = _now() + WHO_S
            while not (names := self._visible(session)) and _now() < end:
                time.sleep(0.02)
        finally:
            farewell.bid(session, None, 0.0)
        return min(names, default=None)

    def _bind(self) -> Session:
        """Open a session that listens, with real ports for port 0."""
        for _ in range(OPEN_TRIES):
            try:
                bound = [bindable(address) for address in self._listen]
            except AddressInUseError:
                if farewell.wait_for_all():  # a session of this process may have had the port
                    continue
                raise
            try:
                session = self._open(bound)
            except zenoh.ZError as error:
                failure = error
                if "os error 98" not in str(error) and "in use" not in str(error):
                    raise MeshError(f"Zenoh cannot be started: {error}") from error
                continue  # somebody else was quicker to take the port
            self.bound = bound
            return session
        raise AddressInUseError(
            f"cannot listen on {', '.join(map(str, self._listen))}: {failure}; "
            "stop the other process, or choose another port"
        ) from failure

    def _gone(self) -> bool:
        return self._left

    def _open(self, bound: Sequence[Address]) -> Session:
        calls = [text for address in self._connect for text in resolved(address)]
        listen = [numbered(address) for address in bound]
        return cast(Session, zenoh.open(self._configure(listen, calls)))

    def _take_name(self, session: Session) -> str:
        """A new incarnation, once the name is free (see :mod:`shoal.mesh.claim`)."""
        number = new_incarnation()  # of this claim
        claim = Claim(_now() + 1.0 + 2 * self.lease_s)
        answers: Any = session.declare_subscriber(
            f"{self._prefix}/answer/{self._name}/{number}", zenoh.handlers.RingChannel(MAX_PEERS)
        )
        pause = 0.002
        alone_until = _now() + FIRST_CONTACT_S if self._connect else 0.0
        while True:
            while (sample := answers.try_recv()) is not None:
                with contextlib.suppress(msgspec.DecodeError):
                    claim.answered(_decode_answer(sample.payload.to_bytes()))
            visible = self._visible(session)
            free = claim.judge(visible.keys() - {self._name}, visible.get(self._name, ()), _now())
            if free is not None and (visible or _now() >= alone_until):
                break
            about = f"{self._name}/{number}".encode()
            session.put(f"{self._prefix}/claim", b"", attachment=about, **_hasty())
            time.sleep(pause)
            pause = min(2 * pause, 0.1)
        answers.undeclare()
        if not free:
            raise NameTakenError(
                f"a node called {self._name!r} is alive in cluster {self._cluster!r}; stop it, or "
                "choose another name"
            )
        return new_incarnation(claim.lives)

    def _visible(self, session: Session) -> dict[str, set[str]]:
        visible: dict[str, set[str]] = {}
        for reply in session.liveliness().get(f"{self._prefix}/alive/**", timeout=1.0):
            if reply.ok is not None:
                name, life = _name_and_life(_parts(reply.ok))
                if name:
                    visible.setdefault(name, set()).add(life)
        return visible

    def _join_in(self, session: Session) -> None:
        """Listen, look around, and become visible."""
        prefix = self._prefix

        def quick(callback: Callable[[zenoh.Sample], None]) -> Any:
            # Called on Zenoh's own thread: no thread between, so no queue without a bound.
            return zenoh.handlers.Callback(callback, indirect=False)

        # What is declared with a callback lives as long as the session, also without a reference.
        session.declare_subscriber(f"{prefix}/claim", quick(self._on_claim))
        session.declare_subscriber(f"{prefix}/taken/{self._name}/*", quick(self._on_taken))
        session.liveliness().declare_subscriber(
            f"{prefix}/alive/**",
            quick(functools.partial(self._on_alive, self._view)),
            history=True,
        )
        sign = session.liveliness().declare_token(self._token)
        with self._leave_lock:
            if self._session is session:
                self._sign = sign

    # -- called on Zenoh's threads: leave a chore and return --------------------------------------

    def _on_alive(self, view: int, sample: zenoh.Sample) -> None:
        visible = sample.kind == zenoh.SampleKind.PUT
        self._chore(functools.partial(self._sighted, view, _parts(sample), visible))

    def _on_claim(self, sample: zenoh.Sample) -> None:
        self._chore(functools.partial(self._answer, _about(sample)))

    def _on_taken(self, sample: zenoh.Sample) -> None:
        if _parts(sample) == [self._name, self._life] and len(sample.payload) == 16:
            self._chore(functools.partial(self._give_way, sample.payload.to_bytes()))

    def _chore(self, chore: _Chore) -> bool:
        try:
            self._threads.put_nowait(chore)
        except queue.Full:
            self._overrun = True
            return False
        return True

    # -- chores -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._left and (chore := self._threads.get()) is not None:
            try:
                chore()
            except Exception:  # a fault of ours must not end the thread
                log.exception("%s failed at a chore", self._name)

    def _sighted(self, view: int, parts: Sequence[str], visible: bool) -> None:
        """A sign of life came or went, before or after the mesh was joined anew."""
        name, life = _name_and_life(parts)
        version, places = (*parts[2:], "", "")[:2]
        link = self._link
        if link is None or view != self._view or not name:
            return
        if name == self._name:
            self._on_twin(life, visible)
        elif version != str(VERSION):
            if visible:
                version = version[:MAX_VERSION]
                theirs = f"version {version} of the wire" if version else "a version without a wire"
                link.outdated(
                    name,
                    f"speaks {theirs}, this is version {VERSION}; install the same version of "
                    "Shoal on both",
                )
        elif visible:
            lives = self._lives.get(name, set())
            if len(lives) < MAX_LIVES and (lives or len(self._lives) < MAX_PEERS):
                self._lives.setdefault(name, lives).add(life)
                link.appeared(name, life, read_places(places))
        else:
            link.vanished(name, life)
            self._lives.get(name, set()).discard(life)
            if not self._lives.get(name):
                self._lives.pop(name, None)

    def _answer(self, parts: Sequence[str]) -> None:
        name, number = _name_and_life(parts)
        if not name:
            return
        own = name == self._name
        life = self._life if own else max(self._lives.get(name, ()), default=None)
        answer = msgspec.msgpack.encode(Claimed(self._name, life, own))
        self._say(f"answer/{name}/{number}", answer)

    def _on_twin(self, life: str, visible: bool) -> None:
        """Tell an older life of our name, back from the frost, that its time is over."""
        if visible and life < self._life:
            self._say(f"taken/{self._name}/{life}", self._life.encode())

    def _give_way(self, successor: bytes) -> None:
        life = successor.decode("ascii", "replace")
        if is_incarnation(life) and life > self._life and self._link is not None:
            self._link.name_lost(life)

    def _say(self, key: str, payload: bytes) -> None:
        session = self._session
        if session is not None:
            with contextlib.suppress(zenoh.ZError):
                session.put(f"{self._prefix}/{key}", payload, **_hasty())

    def _reopen(self, reason: str) -> None:
        """Leave and join again as the same incarnation; connections of peers stand meanwhile."""
        link = self._link
        if self._gone() or link is None:
            return
        log.warning("%s joins the mesh anew: %s", self._name, reason)
        self._view += 1
        self._lives.clear()
        link.blinded()
        self._end_session(None)
        self._overrun = self._joins = False
        if self._gone():
            return
        try:
            session = self._open(self.bound)
        except zenoh.ZError as error:
            log.warning("%s cannot join the mesh yet: %s", self._name, error)
            self._overrun = True  # so it is tried again at the next look
            return
        with self._leave_lock:
            gone = self._gone()
            self._session = None if gone else session
        if gone:
            farewell.bid(session, None, None)
            return
        with contextlib.suppress(zenoh.ZError):  # closed by another thread meanwhile
            self._join_in(session)


class ZenohLink(Link):
    """A node's link on a Zenoh mesh.

    ``listen`` are the addresses of this node (port 0: any free one, see :attr:`addresses`),
    ``connect`` those of nodes to call; one that is up suffices, the others are heard of. Of two
    nodes only one may list the other. Data is taken at ``data_port`` of the same hosts (None: the
    port of the mesh plus 1, or any free one where that is taken; 0: any free one). ``known`` are
    places of nodes by name, which are tried before those that they tell; a port of 0 stands for
    the one that they tell. ``lease_ms`` is the time after which a silent peer counts as gone; raise
    it for links that stall longer. ``settings`` are further settings of Zenoh (certificates, access
    control, routers), paths to values.
    """

    def __init__(
        self,
        name: str,
        listen: Sequence[str] = ("tcp/0.0.0.0:0",),
        connect: Sequence[str] = (),
        cluster: str = "shoal",
        lease_ms: int = 400,
        data_port: int | None = None,
        max_body: int = MAX_BODY,
        known: Mapping[str, Place] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        addresses = [parse_address(text) for text in listen]
        connect_to = [parse_address(text) for text in connect]
        if data_port is not None and not 0 <= data_port < 1 << 16:
            raise UsageError(f"{data_port} is no port; give one up to 65535, or 0 for any")
        self._zenoh = ZenohDiscovery(
            check_name(name),
            check_name(cluster, "cluster"),
            addresses,
            connect_to,
            lease_ms,
            settings or {},
        )

        def open_doors() -> Doors:
            return Doors(self._zenoh.bound, data_port)

        super().__init__(name, cluster, self._zenoh, open_doors, call, max_body, known)

    @property
    def addresses(self) -> list[str]:
        """Where this node listens, with real ports; empty until the link is started."""
        return [str(address) for address in self._zenoh.bound]

    def who(self, address: str) -> str | None:
        return self._zenoh.who(parse_address(address))

    def in_child(self) -> None:
        super().in_child()
        native.stop_listening({address.port for address in self._zenoh.bound})
