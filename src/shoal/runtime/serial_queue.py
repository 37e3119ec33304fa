"""Whose turn it is to decide: events are handled one at a time, by the thread that brings one.

A thread of its own for decisions would cost two hand-offs for every event: into its queue, and on
to whoever does what was decided. So the thread that brings an event handles it, and what waits
besides; if another one is at it, that one does. The clock thread handles only what is due.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

E = TypeVar("E")

GUEST_EVENTS = 8
"""Events that a guest handles at a time: it has come with one of its own."""
HOST_EVENTS = 32
"""Events that another thread of the node handles at a time: it has something else to do, such as
to read what peers answer. What is left has the clock thread, which has not."""
MAX_PAUSE_S = 60.0
"""Longest sleep of the clock thread, whatever time it is to ring at."""


class SerialQueue(Generic[E]):
    """Gives events to ``handle`` in the order in which they were put, never two at a time.

    ``handle`` gets an event, or None when the time has come that ``due`` named: seconds on the
    monotonic clock, infinite for never. It must not raise. ``due`` is asked after every turn, by
    the thread that had it. Nothing is handled before :meth:`start`, nor after :meth:`close`.
    """

    def __init__(
        self, name: str, handle: Callable[[E | None], None], due: Callable[[], float]
    ) -> None:
        self.guest = False
        """Whether the thread that has the turn came from outside: it does not expect to do more
        than decide, for instance to call back the clients of others."""
        self._handle = handle
        self._due = due
        self._events: queue.SimpleQueue[E] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._owner = 0
        self._open = False
        self._ring_at = math.inf  # when something is due
        self._awake_at = math.inf  # until when the clock thread sleeps
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._clock = threading.Thread(target=self._keep_time, name=name, daemon=True)

    @property
    def mine(self) -> bool:
        """Whether the calling thread has the turn."""
        return self._owner == threading.get_ident()

    @property
    def waiting(self) -> int:
        """Events that nobody has handled yet."""
        return self._events.qsize()

    def start(self, first: E) -> None:
        """Begin, with an event that comes before all that were put."""
        with self._turn:
            self._owner = threading.get_ident()
            self._handle(first)
            self._end()
            self._open = True
        self._clock.start()
        self.take()

    def put(self, event: E) -> None:
        """Queue an event; :meth:`take` must follow, which may need no lock that is held now."""
        self._events.put(event)

    def take(self, guest: bool = False) -> None:
        """Handle what waits, unless another thread is at it."""
        if not self._take(GUEST_EVENTS if guest else HOST_EVENTS, guest):
            self._calls.put(None)  # the clock thread has the rest

    def _take(self, left: float, guest: bool = False) -> bool:
        """As :meth:`take`, at most ``left`` events; False when it has handled as many."""
        # Whoever has the turn looks again after giving it back, so nothing is left behind.
        while self._open and not self._events.empty() and self._turn.acquire(blocking=False):
            self._owner, self.guest = threading.get_ident(), guest
            try:
                while self._open and left > 0:
                    self._handle(self._events.get_nowait())
                    left -= 1
            except queue.Empty:
                pass
            finally:
                try:
                    self._end()
                finally:  # a guest may be interrupted anywhere (Ctrl-C), and others wait
                    self._owner = 0
                    self._turn.release()
            if left <= 0:
                return False
        return True

    def close(self) -> list[E]:
        """Handle no more; what is left. An event that another thread handles is waited for, and
        so is the clock thread, which otherwise ends after the turn that closes."""
        self._open = False
        self._calls.put(None)
        if not self.mine:
            with self._turn:
                pass
            if self._clock.ident is not None:
                self._clock.join()
        return self.left()

    def left(self) -> list[E]:
        """Take out what was put and not handled."""
        events = []
        with contextlib.suppress(queue.Empty):
            while True:
                events.append(self._events.get_nowait())
        return events

    def _end(self) -> None:
        at = self._due()
        self._ring_at = at if at == at else -math.inf  # rather now than never
        self._owner = 0
        if self._ring_at < self._awake_at:
            self._calls.put(None)

    def _keep_time(self) -> None:
        while self._open:
            self._awake_at = self._ring_at
            if self._awake_at != self._ring_at:
                continue  # it changed in this moment, and nobody will call
            pause_s = min(max(self._awake_at - time.monotonic(), 0.0), MAX_PAUSE_S)
            if pause_s > 0:
                with contextlib.suppress(queue.Empty):
                    self._calls.get(timeout=pause_s)
            self._awake_at = -math.inf  # awake: nobody needs to call
            with self._turn:  # this thread may wait for whoever has it
                self._owner, self.guest = threading.get_ident(), False
                if self._open and time.monotonic() >= self._ring_at:
                    self._handle(None)
                self._end()
            self._take(math.inf)
