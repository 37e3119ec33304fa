"""The link: a mesh that tells who is there, and connections made directly between each two nodes.

:class:`~shoal.mesh.peers.Peers` decides; here are the threads and sockets around it:

- one that hears who calls (:class:`~shoal.mesh.greeting.Porter`);
- one for each call that is under way;
- one for each peer that is up, which reads what comes and gives it to the sink;
- one for each peer for which more was to be sent than the system took at once;
- the clock.

``_lock`` guards what is decided and is not held while a socket is waited for, nor while the sink is
called. What a peer is sent does not need it.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import queue
import socket
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

import msgspec

from shoal.errors import FrameError, MeshError, UsageError
from shoal.mesh.discovery import Discovery
from shoal.mesh.doors import Doors
from shoal.mesh.events import (
    MAX_BODY,
    MAX_HEAD,
    Body,
    LinkEvent,
    LinkStats,
    NameLost,
    Outdated,
    PeerDown,
    PeerUp,
    Received,
    Sink,
)
from shoal.mesh.frames import Kind, NodeSeen, write_header, write_news
from shoal.mesh.greeting import Porter, reply, say_hello
from shoal.mesh.hello import CallerHello, No, Refusal, Welcome
from shoal.mesh.names import check_name
from shoal.mesh.peers import Action, Ask, Begin, Break, Call, Peers, Session, Tell
from shoal.mesh.place import MAX_PLACES, Place
from shoal.mesh.rate import LinkRate
from shoal.mesh.receiver import Asked, Incoming, News, Receiver
from shoal.mesh.sender import Sender
from shoal.process import home, keep_for_ever, tell_of_forks

LOOK_S = 1.0
"""Time between two looks at what the mesh shows."""
NEWS_S = 5.0
"""Time after which peers are told again whom this node is in touch with."""
OFFER_AGAIN_S, HERE_S = 0.005, 0.05
"""Time after which a message that found no room is offered again, and after which its sender, whose
questions are not read meanwhile, is told that this node is here."""
LAST_WORDS_S = 0.5
"""How long what came before a break is read after it."""
MAX_CALLS = 64
"""Calls that are under way at a time."""

_PONG = write_header(Kind.PONG)

Caller = Callable[
    [Sequence[Place], Callable[[], bool]], Iterator[tuple[Place, socket.socket | str]]
]
"""Makes connections, as :func:`shoal.mesh.doors.call`."""
log = logging.getLogger("shoal.mesh")


class _Line:
    """The two ends here of the connections of a session."""

    def __init__(
        self, sender: Sender, receiver: Receiver, sockets: tuple[socket.socket, socket.socket]
    ) -> None:
        self.sender, self.receiver, self.sockets = sender, receiver, sockets
        self.held = False
        """Whether nothing is read, as the node has no room; so nothing can be heard either."""
        self._ended_at = math.inf

    @property
    def stands(self) -> bool:
        """Whether it is not broken, as far as is known."""
        return self._ended_at == math.inf and not self.sender.failure

    @property
    def over(self) -> bool:
        """Whether it is broken for so long that nothing more is read."""
        return self._ended_at < math.inf and time.monotonic() > self._ended_at + LAST_WORDS_S

    def hang_up(self) -> None:
        """Wake all who wait for a socket."""
        self._ended_at = min(self._ended_at, time.monotonic())
        self.sender.close()
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the sockets, once nobody uses them."""
        self.sender.join()
        for sock in self.sockets:
            sock.close()


class Link:
    """A node's way to its peers: it sends bytes to a peer by name, and gives what comes to a sink
    (see :mod:`shoal.mesh.events`). Nothing here knows what the bytes mean.

    ``discovery`` shows who is there, ``open_doors`` says where this node takes connections,
    ``call`` makes them. ``known`` are places of nodes by name that are tried before those that they
    tell themselves. ``incarnation`` is empty until the link is started."""

    def __init__(
        self,
        name: str,
        cluster: str,
        discovery: Discovery,
        open_doors: Callable[[], Doors],
        call: Caller,
        max_body: int = MAX_BODY,
        known: Mapping[str, Place] | None = None,
    ) -> None:
        self.name = check_name(name)
        self.incarnation = ""
        self._cluster = check_name(cluster, "cluster")
        self._discovery = discovery
        self._open_doors = open_doors
        self._dial = call
        self._max_body = max_body
        self._known = dict(known or {})
        self._peers = Peers(name, discovery.lease_s)
        self._lock = threading.RLock()
        self._lines: dict[Session, _Line] = {}
        self._up: dict[str, tuple[str, Sender]] = {}  # replaced, never changed
        self._readers: set[threading.Thread] = set()
        self._calls: set[threading.Thread] = set()
        self._orphans: list[tuple[Session, _Line]] = []  # nobody reads what comes
        self._porter: Porter | None = None
        self._sink: Sink | None = None
        self._closed = False
        self._done = threading.Event()  # it is closed, and no thread is left
        self._closer: threading.Thread | None = None
        self._inside = threading.local()  # whether a thread is in the sink
        self._home = home()
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._wake_at = self._look_at = self._news_at = 0.0
        self._clock = threading.Thread(target=self._keep_time, name=f"{name}-clock", daemon=True)
        self._past = LinkStats()  # of sessions that have ended
        self._refused = 0

    # -- the interface --------------------------------------------------------------------------

    def start(self, sink: Sink) -> None:
        """Become visible and let events flow into ``sink`` (called from the link's threads).

        Raises NameTakenError when a live node has this name.
        """
        if self._sink is not None or self._closed:
            raise UsageError(f"the link of {self.name!r} was started before; make a new one")
        self._sink = sink
        tell_of_forks(self)
        doors: Doors | None = None
        try:
            self.incarnation = self._peers.incarnation = self._discovery.join()
            doors = self._open_doors()
            self._peers.places = doors.places
            self._porter = Porter(self.name, doors, self._called, self._strange)
            self._porter.start()
            self._clock.start()
            # Threads that are inside the engine when the interpreter ends would abort the process.
            atexit.register(self.close)
            self._discovery.show(self, doors.places)
        except BaseException:
            self.close()
            if doors is not None:
                doors.close()
            raise

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
        size = _size(body)
        if len(head) > MAX_HEAD or size > self._max_body:
            raise FrameError(
                f"a message of {len(head)} + {size} bytes to {to!r} is over the limits "
                f"({MAX_HEAD} + {self._max_body}); send fewer images at once"
            )
        up = self._up.get(to)
        return up is not None and up[1].send(head, body, work=work, about=about)

    def peers(self) -> dict[str, str]:
        """The peers that are up, and their incarnations."""
        return {name: incarnation for name, (incarnation, _) in self._up.items()}

    def waiting(self, to: str) -> int:
        """Messages to a peer that the operating system has not taken yet."""
        up = self._up.get(to)
        return up[1].waiting if up is not None else 0

    def rates(self) -> dict[str, LinkRate]:
        """What the links to peers carry: of those over which something was sent since this was
        last asked, or is under way."""
        now = time.monotonic()
        rates = ((name, sender.rate(now)) for name, (_, sender) in self._up.items())
        return {name: rate for name, rate in rates if rate is not None}

    def probe(self, to: str) -> None:
        """Send a peer something that means nothing, to learn what the link carries."""
        up = self._up.get(to)
        if up is not None:
            up[1].probe()

    def unreachable(self) -> dict[str, str]:
        """Nodes that are there, and that this one has no way to (yet), and why: first the host and
        port that was tried, where there is one."""
        with self._lock:
            return self._peers.unreachable()

    def who(self, address: str) -> str | None:
        """The name of the node that answers at an address; None where that cannot be said. Takes
        up to a second."""
        return None

    def stats(self) -> LinkStats:
        """Counts since the link was started."""
        with self._lock:
            total = self._past
            for line in self._lines.values():
                total = _sum(total, line)
            return msgspec.structs.replace(total, refused=self._refused)

    def close(self) -> None:
        """Leave: peers see it at once, and what still waits is dropped (see :meth:`waiting`).
        Idempotent. Takes a second or so at most: no threads remain, but for one that waits for the
        engine of the mesh where that must wait for somebody, and the process for it. Does nothing
        in a child made by fork."""
        if not self._home.here or self._leave():  # else it is the parent's, as are its threads
            return
        # Of two threads that close the second waits, unless the first may wait for it.
        within = self._closer is threading.current_thread() or getattr(self._inside, "sink", False)
        if not within:
            self._done.wait()

    def in_child(self) -> None:
        """See :class:`~shoal.process.Inherited`."""
        keep_for_ever(self)

    def _is_closed(self) -> bool:
        return self._closed

    def _leave(self) -> bool:
        """Close, unless that was begun before."""
        with self._lock:
            if self._closer is not None:
                return False
            self._closer, self._closed = threading.current_thread(), True
            self._peers.break_all("this node leaves")
            self._act()
        try:
            atexit.unregister(self.close)
            if self._porter is not None:
                self._porter.close()
                _join(self._porter.thread)
            self._discovery.leave()
            self._wakes.put(None)
            with self._lock:
                threads = [self._clock, *self._calls, *self._readers]
            for thread in threads:
                _join(thread)
        finally:
            self._done.set()
        return True

    # -- what the mesh tells --------------------------------------------------------------------

    def appeared(self, name: str, incarnation: str, places: Sequence[Place]) -> None:
        """The sign of a life is visible."""
        stated = self._known.get(name)
        if stated is not None:
            port = stated.port or (places[0].port if places else 0)
            first = (Place(stated.host, port),) if port else ()
            places = tuple(dict.fromkeys((*first, *places)))[:MAX_PLACES]
        with self._lock:
            self._peers.appeared(name, incarnation, places, time.monotonic())
            self._act()

    def vanished(self, name: str, incarnation: str) -> None:
        """The sign of a life is gone."""
        with self._lock:
            self._peers.vanished(name, incarnation, time.monotonic())
            self._act()

    def blinded(self) -> None:
        """No signs are visible any more."""
        with self._lock:
            self._peers.blinded(time.monotonic())
            self._act()

    def outdated(self, name: str, text: str) -> None:
        """A node is there that speaks another version."""
        self._show(Outdated(name, text))

    def name_lost(self, incarnation: str) -> None:
        """A later life took the name of this node."""
        self._leave()
        self._show(NameLost(self.name, incarnation))

    # -- calls ----------------------------------------------------------------------------------

    def _called(self, hello: CallerHello, there: socket.socket, back: socket.socket) -> None:
        """Somebody asks for a session (the porter's thread)."""
        with self._lock:
            if hello.cluster != self._cluster:
                answer = f"it is of the cluster {self._cluster!r}"
                verdict: Session | Refusal = Refusal(No.STRANGER, answer, self.name)
            elif self._closed:
                verdict = Refusal(No.AGAIN, "it is leaving", self.name, self.incarnation)
            else:
                verdict = self._peers.called(hello, time.monotonic())
            reply(there, verdict if isinstance(verdict, Refusal) else Welcome())
            if isinstance(verdict, Refusal):
                there.close()
                back.close()
            else:
                self._connect(verdict, sending=back, receiving=there)
            self._act()

    def _call(self, session: Session) -> None:
        """Ask a node for a session (a thread of its own)."""
        why, again = "", False
        try:
            for place, found in self._dial(session.places, self._is_closed):
                if isinstance(found, str):
                    why = why or f"{place}: {found}"
                    continue
                answer = self._ask(session, place, found)
                if answer is None:
                    return
                again = answer.no is No.AGAIN
                if again:
                    break
                whom = f" ({answer.name})" if answer.name not in ("", session.name) else ""
                why = f"{place}: {answer.text}{whom}"
        except Exception as error:
            log.exception("%s could not call %s", self.name, session.name)
            why = str(error)
        finally:
            with self._lock:
                self._calls.discard(threading.current_thread())
                self._peers.failed(session, why, time.monotonic(), again=again)
                self._act()

    def _ask(self, session: Session, place: Place, there: socket.socket) -> Refusal | None:
        """Ask whoever answers at a place; None when that is the end of the call."""
        back: socket.socket | None = None
        try:
            for _, found in self._dial([place], self._is_closed):
                if isinstance(found, str):
                    return Refusal(No.STRANGER, found)
                back = found
                break
            if back is None:
                return Refusal(No.STRANGER, "it took one connection and no other")
            with self._lock:
                if self._closed or not self._peers.may_ask(session):
                    return None
            answer = say_hello(
                there, back, lambda returns: self._hello(session, returns), self._is_closed
            )
            if isinstance(answer, Refusal):
                return answer
            with self._lock:
                if not self._closed and self._peers.answered(session, time.monotonic()):
                    self._connect(session, sending=there, receiving=back)
                    there = back = None  # type: ignore[assignment]
                    self._act()
        except MeshError as error:
            return Refusal(No.STRANGER, str(error))
        finally:
            for sock in (there, back):
                if sock is not None:
                    sock.close()
        return None

    def _hello(self, session: Session, back: bool) -> CallerHello:
        return CallerHello(
            cluster=self._cluster,
            name=self.name,
            incarnation=self.incarnation,
            target=session.name,
            life=session.incarnation,
            number=session.number,
            back=back,
            places=self._peers.places,
        )

    def _strange(self, why: str) -> None:
        """Somebody came who is none of us, or broke the rules."""
        with self._lock:
            self._refused += 1
        log.warning("%s refused a connection: %s", self.name, why)

    # -- what is decided, with the lock held ----------------------------------------------------

    def _act(self) -> None:
        while actions := self._peers.take():
            for action in actions:
                self._do(action)
        if self._peers.due(time.monotonic()) < self._wake_at:
            self._wake_at = 0.0  # once is enough
            self._wakes.put(None)

    def _do(self, action: Action) -> None:
        match action:
            case Call(session):
                self._start_call(session)
            case Begin(session):
                self._begin(session)
            case Break(session, why):
                log.info("%s broke with %s: %s", self.name, session.name, why)
                self._set_up(session.name, None)
                self._lines[session].hang_up()
            case Ask(session):
                self._lines[session].sender.ask()
            case Tell(session, nodes):
                self._lines[session].sender.urgent(write_news(list(nodes)))

    def _start_call(self, session: Session) -> None:
        if self._closed or len(self._calls) >= MAX_CALLS:
            self._peers.failed(session, "too many calls at once", time.monotonic(), again=True)
            return
        name = f"{self.name}-calls-{session.name}"
        thread = threading.Thread(target=self._call, args=(session,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more of them
            self._peers.failed(session, str(error), time.monotonic())
        else:
            self._calls.add(thread)

    def _connect(self, session: Session, sending: socket.socket, receiving: socket.socket) -> None:
        """Keep the connections of a session that is about to begin."""

        def fail() -> None:  # who reads finds the end, after what came before it
            with contextlib.suppress(OSError):
                receiving.shutdown(socket.SHUT_RDWR)

        sender = Sender(sending, f"{self.name}-to-{session.name}", fail)
        receiver = Receiver(receiving, self._max_body)
        self._lines[session] = _Line(sender, receiver, (sending, receiving))

    def _begin(self, session: Session) -> None:
        line = self._lines[session]
        self._set_up(session.name, (session.incarnation, line.sender))
        name = f"{self.name}-from-{session.name}"
        thread = threading.Thread(target=self._read, args=(session, line), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more of them: the clock tells that it is over
            line.hang_up()
            self._orphans.append((session, line))
            self._wakes.put(None)
        else:
            self._readers.add(thread)

    def _set_up(self, name: str, entry: tuple[str, Sender] | None) -> None:
        """Note who is up: whoever looks has no lock, so the table is replaced."""
        up = {other: known for other, known in self._up.items() if other != name}
        if entry is not None:
            up[name] = entry
        self._up = up

    # -- what comes (a thread for each peer) ----------------------------------------------------

    def _read(self, session: Session, line: _Line) -> None:
        why = "it left"
        try:
            self._show(PeerUp(session.name, session.incarnation))
            while not line.over and self._take(session, line):
                pass
        except FrameError as error:
            why = str(error)
            self._strange(f"{session.name}: {why}")
        except OSError as error:
            why = error.strerror or str(error)
        except Exception:
            log.exception("%s could not read what %s sent", self.name, session.name)
        with self._lock:
            self._peers.lost(session, line.sender.failure or why)
            self._act()
        line.close()
        self._show(PeerDown(session.name, session.incarnation))
        with self._lock:
            self._past = _sum(self._past, self._lines.pop(session))
            self._readers.discard(threading.current_thread())
            self._peers.ended(session, time.monotonic())
            self._act()

    def _take(self, session: Session, line: _Line) -> bool:
        """Do with what comes next what is to be done; False at the end. Nothing of it is kept."""
        match line.receiver.next():
            case Incoming(head, body):
                self._offer(line, Received(session.name, head, body))
            case Asked():
                line.sender.urgent(_PONG)
            case News(nodes):
                self._hear(nodes)
            case None:
                return False
        return True

    def _hear(self, nodes: Sequence[NodeSeen]) -> None:
        now = time.monotonic()
        with self._lock:
            for node in nodes:
                self._peers.heard(node, now)
            self._act()

    def _offer(self, line: _Line, event: Received) -> None:
        """Give a message to the node as soon as it has room; nothing more is read meanwhile."""
        told_at = time.monotonic()
        while not self._show(event) and line.stands:
            line.held = True
            time.sleep(OFFER_AGAIN_S)
            if time.monotonic() >= told_at + HERE_S:
                told_at = time.monotonic()
                line.sender.urgent(_PONG)
        line.held = False

    def _show(self, event: LinkEvent) -> bool:
        if self._sink is None or (self._closed and not isinstance(event, NameLost)):
            return True
        self._inside.sink = True
        try:
            return self._sink(event)
        except Exception:
            log.exception("the sink of %s failed at %s", self.name, type(event).__name__)
            return True
        finally:
            self._inside.sink = False

    # -- the clock ------------------------------------------------------------------------------

    def _keep_time(self) -> None:
        self._look_at = time.monotonic() + LOOK_S
        self._news_at = time.monotonic() + NEWS_S
        while not self._closed:
            now = time.monotonic()
            try:
                self._tick(now)
            except Exception:  # a fault of ours must not stop the clock
                log.exception("the clock of %s failed", self.name)
                self._wake_at = now + LOOK_S
            with contextlib.suppress(queue.Empty):
                self._wakes.get(timeout=max(0.0, self._wake_at - time.monotonic()))

    def _tick(self, now: float) -> None:
        while self._orphans:
            self._read(*self._orphans.pop())
        looks = now >= self._look_at
        with self._lock:
            self._wake_at = 0.0  # nobody needs to call this thread
            self._peers.tick(now, self._heard_at, self._late_s)
            if now >= self._news_at:
                self._news_at = now + NEWS_S
                self._peers.tell_all()
            self._act()
            unseen, alone = self._peers.unseen(), not self._up
            self._look_at = now + LOOK_S if looks else self._look_at
            self._wake_at = min(self._peers.due(now), self._look_at, self._news_at)
        if looks:
            self._discovery.look(unseen, alone, now)

    def _heard_at(self, session: Session) -> float:
        line, now = self._lines[session], time.monotonic()
        if line.held:
            return now
        return max(line.receiver.heard_at(now), line.sender.read_at(now))

    def _late_s(self, session: Session) -> float:
        return self._lines[session].sender.late_s()


def _size(body: Body | None) -> int:
    if body is None:
        return 0
    if isinstance(body, bytes | bytearray | memoryview):
        return memoryview(body).nbytes
    return sum(memoryview(part).nbytes for part in body)


def _sum(stats: LinkStats, line: _Line) -> LinkStats:
    return LinkStats(
        sent=stats.sent + line.sender.sent,
        received=stats.received + line.receiver.received,
        bytes_sent=stats.bytes_sent + line.sender.bytes_sent,
        bytes_received=stats.bytes_received + line.receiver.bytes_received,
    )


def _join(thread: threading.Thread) -> None:
    if thread.ident is not None and thread is not threading.current_thread():
        thread.join()
