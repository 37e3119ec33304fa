"""What both kinds of link share: threads, locks and a sink around an :class:`Exchange`.

A kind of link brings five things: ``_open`` (join the network, learn the incarnation), ``_post``
(queue a frame, never block), ``_push`` (put on the wire what does not have to wait), ``_hint``
(transmit a tiny frame now or never) and ``_leave``. It
calls ``_frame`` with what arrives and ``_sighted`` with what it sees. Sightings may come from a
thread that must not wait, so they are queued; a frame is looked at after all sightings that came
before it, or the first message of a new peer would be one of a stranger.

Two locks. ``_lock`` guards the exchange and is held for microseconds only. ``_turn`` is held by
the one thread that is offering events to the sink, so they come in order; the sink is never
called with ``_lock`` held, so it may take the node's own locks.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import queue
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from shoal.errors import FrameError, UsageError
from shoal.mesh.credit import PIECE_BYTES
from shoal.mesh.exchange import MAX_LIVES, Discard, Exchange, Hint, Outgoing, Transmit
from shoal.mesh.goodput import LinkRate
from shoal.mesh.link import (
    MAX_BODY,
    MAX_HEAD,
    Link,
    LinkEvent,
    LinkStats,
    NameLost,
    Received,
    Sink,
    Work,
)
from shoal.mesh.names import check_name, is_incarnation, is_name
from shoal.process import home, keep_for_ever, tell_of_forks

TICK_S, CALM_S = 0.1, 0.5
"""Time between two looks at acknowledgements that are overdue, or owed; the longest, while none
is: each wakes a thread, which may have a twentieth of a core."""
OFFER_AGAIN_S = 0.02
"""Time after which a message that found no room is offered again."""
MAX_SIGHTINGS = 4096
"""Sightings that may wait; when there are more, the view is no longer to be trusted."""
MAX_CHORES = 256
"""Chores that may wait for the clock thread; more are not done."""

Chore: TypeAlias = Callable[[float], None]
"""Something to do on the clock thread, given the time."""

log = logging.getLogger("shoal.mesh")


class ExchangeLink(Link):
    """A link around an :class:`Exchange`; see the module for what a kind of link adds."""

    def __init__(self, name: str, max_body: int = MAX_BODY, piece_bytes: int = PIECE_BYTES) -> None:
        self.name = check_name(name)
        self.incarnation = ""
        self._home = home()
        self._max_body = max_body
        self._exchange = Exchange(name, "", max_body, piece_bytes)
        self._lock = threading.Lock()
        self._turn = threading.RLock()
        self._sightings: deque[tuple[str, str, bool]] = deque()
        self._overrun = False  # sightings were lost
        self._twins: set[str] = set()  # other lives under our name that are visible
        self._chores: queue.Queue[Chore | None] = queue.Queue(MAX_CHORES)
        self._clock = threading.Thread(target=self._keep_time, name=f"{name}-clock", daemon=True)
        self._sink: Sink | None = None
        self._work: Work = tuple
        self._closed = False
        self._tick_at = 0.0  # when the clock thread looks next
        self._offering = 0  # the thread that is offering events

    # -- what a kind of link brings -------------------------------------------------------------

    @abstractmethod
    def _open(self) -> str:
        """Join the network under the name and give the incarnation. Frames and sightings may
        come from now on."""

    @abstractmethod
    def _post(self, frame: Transmit | Discard) -> None:
        """Queue a frame behind the others for its peer, or discard those. Must not block: the
        exchange is locked, so that frames are queued in their order."""

    def _push(self, to: str) -> None:
        """Put on the wire what is queued for a peer and does not have to wait; no lock is held."""

    @abstractmethod
    def _hint(self, frame: Hint) -> None:
        """Transmit a tiny frame at once, or lose it. Must not block."""

    @abstractmethod
    def _leave(self) -> None:
        """Leave the network and end all threads of this kind of link."""

    def _pack(self, body: bytes | bytearray | memoryview) -> Any:
        """A copy of ``body`` as ``_post`` likes it."""
        return bytes(body)

    def _on_tick(self, now: float) -> None:
        """Called on the clock thread every :data:`CALM_S` at least."""

    @abstractmethod
    def _on_twin(self, now: float) -> None:
        """Other lives under our name came or went (clock thread)."""

    # -- the interface --------------------------------------------------------------------------

    def start(self, sink: Sink, work: Work = tuple) -> None:
        if self._sink is not None or self._closed:
            raise UsageError(f"the link of {self.name!r} was started before; make a new one")
        self._sink = sink
        self._work = work
        tell_of_forks(self)
        try:
            self.incarnation = self._open()
        except BaseException:
            self._closed = True
            self._leave()
            raise
        self._clock.start()
        # Threads that are inside the engine when the interpreter ends would abort the process.
        atexit.register(self.close)

    def send(
        self, to: str, head: bytes, body: bytes | bytearray | memoryview | None = None
    ) -> bool:
        size = None if body is None else memoryview(body).nbytes
        if len(head) > MAX_HEAD or (size or 0) > self._max_body:
            raise FrameError(
                f"a message of {len(head)} + {size} bytes to {to!r} is over the limits "
                f"({MAX_HEAD} + {self._max_body}); send fewer images at once"
            )
        # Copied before the peer is known to take it: copying is long, the lock must be short.
        packed = None if body is None else self._pack(body)
        with self._lock:
            taken = self._exchange.send(to, head, packed, size, time.monotonic())
            posted = self._flush()
        self._transmit(posted)
        return taken

    def settle(self, sender: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._exchange.settle(sender, now)
            posted = self._flush()
            offer = self._exchange.has_event
            late = self._exchange.owes(sender) and self._tick_at > now + TICK_S
        self._transmit(posted)
        if offer or late:
            self._chore(_look)

    def peers(self) -> dict[str, str]:
        with self._lock:
            return self._exchange.peers()

    def waiting(self, to: str) -> int:
        with self._lock:
            return self._exchange.waiting(to)

    def rates(self) -> dict[str, LinkRate]:
        with self._lock:
            return self._exchange.rates(time.monotonic())

    def stats(self) -> LinkStats:
        with self._lock:
            return self._exchange.stats()

    def close(self) -> None:
        if not self._home.here:
            return  # it is the parent's, and so are its threads
        with self._lock:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        self._leave()
        with self._lock:  # nobody is there any more, and nothing is kept
            self._exchange.blinded()
            self._exchange.outgoing()
            while self._exchange.next_event() is not None:
                pass
        with contextlib.suppress(queue.Full):
            self._chores.put_nowait(None)
        self._join(self._clock)

    def in_child(self) -> None:
        """See :class:`~shoal.process.Inherited`."""
        keep_for_ever(self)

    # -- what a kind of link calls --------------------------------------------------------------

    def _frame(self, sender: str, attachment: bytes, size: int, read: Callable[[], bytes]) -> None:
        """A frame came (any thread)."""
        now = time.monotonic()
        self._tell(lambda exchange: exchange.arrived(sender, attachment, size, read, now))

    def _sighted(self, name: str, incarnation: str, visible: bool) -> None:
        """A life of a node is, or is no longer, visible (any thread; never waits)."""
        if len(self._sightings) >= MAX_SIGHTINGS:
            self._overrun = True
            return
        self._sightings.append((name, incarnation, visible))
        if len(self._sightings) == 1:
            self._chore(_look)

    def _tell(self, change: Callable[[Exchange], None]) -> None:
        """Change the exchange, and tell the node what follows."""
        with self._lock:
            self._see()
            change(self._exchange)
            posted = self._flush()
        self._transmit(posted)
        self._offer()

    def _chore(self, chore: Chore) -> None:
        """Have the clock thread do something soon, unless too much waits already."""
        with contextlib.suppress(queue.Full):
            self._chores.put_nowait(chore)

    def _lose_name(self, incarnation: str) -> None:
        """Another node has the name now (clock thread)."""
        self.close()
        if self._sink is not None:
            with self._turn:
                self._show(self._sink, NameLost(self.name, incarnation))

    def _twin_lives(self) -> set[str]:
        """Other lives under our name that are visible."""
        with self._lock:
            return set(self._twins)

    def _join(self, thread: threading.Thread) -> None:
        """Wait for a thread to end, unless it is this one or may be waiting for this one."""
        if thread.ident is None or threading.get_ident() in (thread.ident, self._offering):
            return
        thread.join()

    # -- inside ---------------------------------------------------------------------------------

    def _see(self) -> None:
        """Take note of all sightings, in order; with the lock held."""
        while self._sightings:
            name, incarnation, visible = self._sightings.popleft()
            if not (is_name(name) and is_incarnation(incarnation)):
                self._exchange.drop()
            elif name != self.name:
                change = self._exchange.appeared if visible else self._exchange.vanished
                change(name, incarnation)
            elif not visible:
                self._twins.discard(incarnation)
            elif incarnation != self.incarnation and len(self._twins) < MAX_LIVES:
                self._twins.add(incarnation)

    def _flush(self) -> list[Outgoing]:
        """Post what must keep its order while the lock is held; :meth:`_transmit` follows without
        it."""
        frames = self._exchange.outgoing()
        for frame in frames:
            if not isinstance(frame, Hint):
                self._post(frame)
        return frames

    def _transmit(self, frames: list[Outgoing]) -> None:
        for frame in frames:
            if isinstance(frame, Hint):
                self._hint(frame)
            else:
                self._push(frame.to)

    def _offer(self) -> None:
        """Offer to the sink all that there is to offer."""
        sink = self._sink
        if sink is None:
            return
        refused = False
        with self._turn:
            self._offering = threading.get_ident()
            while not self._closed:
                with self._lock:
                    event = self._exchange.next_event()
                if event is None:
                    break
                taken = self._show(sink, event)
                refused = refused or not taken
                with self._lock:
                    self._exchange.offered(event, taken)
            self._offering = 0
        if refused and threading.current_thread() is not self._clock:
            self._chore(_look)

    def _show(self, sink: Sink, event: LinkEvent) -> bool:
        try:
            return sink(event)
        except Exception:
            log.exception("the sink of %s failed at %s", self.name, type(event).__name__)
            if isinstance(event, Received):
                self.settle(event.sender)  # nobody else will, and its sender must not starve
            return True

    def _safely(self, chore: Chore) -> None:
        """Do a chore; a fault of ours must not end the clock thread."""
        try:
            chore(time.monotonic())
        except Exception:
            log.exception("%s failed at a chore", self.name)

    def _keep_time(self) -> None:
        again_at = 0.0
        twins: set[str] = set()
        while not self._closed:
            now = time.monotonic()
            if now >= self._tick_at:
                self._tell(functools.partial(Exchange.tick, now=now))
                self._safely(self._on_tick)
                self._tick_at, again_at = now + CALM_S, now + OFFER_AGAIN_S
            elif self._exchange.refused and now >= again_at:
                self._tell(Exchange.offer_again)
                again_at = now + OFFER_AGAIN_S
            else:
                self._tell(_nothing)  # but look at the sightings
            if (seen := self._twin_lives()) != twins:
                twins = seen
                self._safely(self._on_twin)
            with self._lock:
                due_at = max(self._exchange.due(now), now + TICK_S)
            self._tick_at = min(self._tick_at, due_at)
            wake_at = again_at if self._exchange.refused else self._tick_at
            try:
                chore = self._chores.get(timeout=max(wake_at - now, 0.0))
            except queue.Empty:
                continue
            if chore is None:
                return
            self._safely(chore)


def _look(now: float) -> None:
    """The chore of looking whether there is news, which the clock does after every chore."""


def _nothing(exchange: Exchange) -> None:
    """Changes nothing."""
