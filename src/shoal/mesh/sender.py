"""The sending end of a connection: at once what the system takes, the rest by a thread.

What waits is bounded, and waits here rather than in the system (``TCP_NOTSENT_LOWAT``): what was
given to the system can be given to nobody else.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from shoal.mesh.doors import AT_ONCE, IN_TIME, keep_unsent
from shoal.mesh.events import Body
from shoal.mesh.frames import MAX_WEIGHT, Kind, write_header
from shoal.mesh.rate import LinkRate, RateMeter
from shoal.mesh.tcp_info import tcp_info
from shoal.mesh.uptake import Uptake

MAX_WAITING, MAX_WORK = 4096, 64
"""Messages that may wait for one peer, and among how many that wait work is not taken."""
MAX_WAITING_BYTES = 256 << 20
"""Bytes of them; one message may exceed it."""
PIECE_S, LEAST_PIECE, FIRST_PIECE, MOST_PIECE = 0.02, 1 << 13, 1 << 16, 1 << 24
"""A piece of a body takes about this long on the line; bytes of the least, of one on a line that
is not known yet, and of the largest."""
PROBE_S, LEAST_PROBE = 0.03, 1 << 12
"""A probe takes about this long on the line; bytes of the least."""
LEAST_RATE = 1 << 16
"""Bytes/s of a line of which nothing is known yet."""
MAX_URGENT = 64
"""Small frames that may wait."""
MAX_VECTOR = 64
"""Buffers that are given to the system at once."""
MOST_AT_ONCE = 1 << 22
"""Bytes that leave on the thread of who sends them, and while others may not send, where the system
takes on and on. The largest piece may exceed it."""

_PING = write_header(Kind.PING)


class _Message(NamedTuple):
    """``views`` are all bytes of its body, ``size`` those of head and body; ``about``: see send."""

    head: bytes
    views: Sequence[memoryview]
    body: int | None
    size: int
    about: Hashable = None


_Run: TypeAlias = list[memoryview]
"""Bytes that leave one behind the other; before them something urgent may leave."""


class Sender:
    """Sends messages on ``sock``, which blocks, and which it does not close. ``failure`` is why the
    connection broke, if it did; ``fail`` is called then, once and from any thread, and does not
    wait."""

    def __init__(self, sock: socket.socket, name: str, fail: Callable[[], None]) -> None:
        self.failure = ""
        self.sent = self.bytes_sent = 0
        self._sock = sock
        self._name = name
        self._fail = fail
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._queue: deque[_Message] = deque()
        self._runs: Iterator[_Run] = iter(())  # of the message that is on its way
        self._rest: deque[memoryview] = deque()  # of the run that is on its way
        self._urgent: deque[bytes] = deque()
        self._bytes = 0  # that wait
        self._busy = False  # the thread sends
        self._closed = False
        self._thread: threading.Thread | None = None
        self._meter = RateMeter()
        self._uptake = Uptake()
        self._clocked = tcp_info(sock) is None  # the system says nothing
        self._measured = 0  # bytes sent when the rate was read last
        self._flying = False  # some were under way then
        self._piece = FIRST_PIECE

    @property
    def waiting(self) -> int:
        """Messages that the system has not taken whole."""
        return len(self._queue) + self._busy

    def send(self, head: bytes, body: Body | None, *, work: bool, about: Hashable = None) -> bool:
        """Send a message (see :meth:`Link.send`); False when too much waits, or the connection is
        broken."""
        message = _message(head, body, about)
        with self._lock:
            if self._closed:
                return False
            if self._busy:
                full = len(self._queue) >= (MAX_WORK if work else MAX_WAITING)
                if full or (self._queue and self._bytes + message.size > MAX_WAITING_BYTES):
                    return False
                self._queue.insert(self._place(message), message)
                self._bytes += message.size
            else:
                self._begin(message)
                if not self._push():
                    self._wake()
            self.sent += 1
            self.bytes_sent += message.size
        return True

    def _place(self, message: _Message) -> int:
        """Where a message waits: behind all, or, if it is small and about something, behind those
        about the same and others like it."""
        if message.about is None or message.body is not None:
            return len(self._queue)
        before = (
            place
            for place, other in enumerate(self._queue, 1)
            if other.about == message.about or (other.about is not None and other.body is None)
        )
        return max(before, default=0)

    def urgent(self, frame: bytes) -> None:
        """Send a small frame before what waits; not when the same waits already, or too many."""
        with self._lock:
            if self._closed or frame in self._urgent or len(self._urgent) >= MAX_URGENT:
                return
            self._urgent.append(frame)
            if not self._busy and not self._push():
                self._wake()

    def ask(self) -> None:
        """Have the other end say something; see also :meth:`read_at`."""
        info = tcp_info(self._sock)
        if info is not None:
            self._uptake.asked(info)
        self.urgent(_PING)

    def read_at(self, now: float) -> float:
        """When it was last seen that the other end reads, since it was asked; minus infinity where
        never, or not known. One thread at a time may call this, and :meth:`ask`."""
        info = tcp_info(self._sock)
        return -math.inf if info is None else self._uptake.read_at(info, now)

    def probe(self) -> None:
        """Send something that weighs enough to tell what the line carries, unless more than that is
        on its way already."""
        with self._lock:
            if self._busy or self._closed:
                return
            self._measure(time.monotonic())
            size = int(self._meter.rate(0.0).bytes_per_s * PROBE_S)
            size = min(max(size, LEAST_PROBE), MAX_WEIGHT)
            self._urgent.append(write_header(Kind.WEIGHT, 0, size, size) + bytes(size))
            self.bytes_sent += size
            if not self._push():
                self._wake()

    def rate(self, now: float) -> LinkRate | None:
        """What the line carries; None where nothing was sent since this was last asked, and
        nothing waits."""
        with self._lock:
            if self.bytes_sent == self._measured and not self._busy and not self._flying:
                return None
            self._measured = self.bytes_sent
            self._measure(now)
            return self._meter.rate(now)

    def late_s(self) -> float:
        """How long a question that is sent now may wait for what is before it on the line, and be
        on its way there and back, in seconds. What waits until the other end reads does not count:
        whether it does is seen (:meth:`read_at`)."""
        info = tcp_info(self._sock)
        if info is None:
            return 0.0
        if info.shut:
            return info.rtt_s + info.flying / (info.delivery_rate or LEAST_RATE)
        with self._lock:
            before = info.unsent + info.flying + sum(map(len, self._rest))
        return info.rtt_s + before / (info.delivery_rate or LEAST_RATE)

    def close(self) -> None:
        """Send nothing more. The thread ends when the socket does not block it any more."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            self._rest.clear()
            self._urgent.clear()
            self._bytes = 0
            self._news.notify_all()

    def join(self) -> None:
        """Wait for the thread."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # -- inside, with the lock held -------------------------------------------------------------

    def _begin(self, message: _Message) -> None:
        self._runs = _runs(message, self._next_piece)

    def _next(self) -> bool:
        """Make the next bytes the rest of a run, if there are any."""
        while not self._rest:
            run = next(self._runs, None)
            if run is None:
                if self._urgent:
                    self._rest.append(memoryview(self._urgent.popleft()))
                    return True
                if not self._queue:
                    return False
                message = self._queue.popleft()
                self._bytes -= message.size
                self._begin(message)
                continue
            self._rest.extend(map(memoryview, self._urgent))
            self._urgent.clear()
            self._rest.extend(run)
        return True

    def _push(self) -> bool:
        """Give the system what it takes without waiting; False when something is left."""
        taken = 0
        try:
            while self._next():
                if taken >= MOST_AT_ONCE:
                    return False
                count = self._sock.sendmsg(self._vector(), (), AT_ONCE)
                self._taken(count)
                taken += count
        except BlockingIOError:
            return False
        except OSError as error:
            self._broken(error)
        return True

    def _vector(self) -> list[memoryview]:
        return [self._rest[at] for at in range(min(len(self._rest), MAX_VECTOR))]

    def _taken(self, count: int) -> None:
        while self._rest and count >= len(self._rest[0]):
            count -= len(self._rest.popleft())
        if count:
            self._rest[0] = self._rest[0][count:]

    def _wake(self) -> None:
        self._busy = True
        if self._thread is not None:
            self._news.notify_all()
            return
        thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more of them
            self._broken(OSError(str(error)))
        else:
            self._thread = thread

    def _broken(self, error: OSError) -> None:
        if not self._closed:
            self._closed = True
            self.failure = error.strerror or str(error)
            self._fail()

    def _next_piece(self, left: int) -> int:
        if left > self._piece:
            self._measure(time.monotonic())
        return min(left, self._piece)

    def _measure(self, now: float) -> None:
        info = tcp_info(self._sock)
        if info is None:
            return
        self._flying = info.flying + info.unsent > 0
        self._meter.read(info, now)
        if info.delivery_rate:
            least = FIRST_PIECE if info.app_limited else LEAST_PIECE
            piece = int(min(max(info.delivery_rate * PIECE_S, least), MOST_PIECE))
            if not self._piece / 2 < piece < self._piece * 2:
                self._piece = piece
                with contextlib.suppress(OSError):
                    keep_unsent(self._sock, piece)

    # -- the thread -----------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            with self._lock:
                while not self._closed and not self._next():
                    self._busy = False
                    self._news.wait()
                if self._closed:
                    self._busy = False
                    return
                vector = self._vector()
            size, began = sum(map(len, vector)), time.monotonic()
            try:
                count = self._sock.sendmsg(vector, (), IN_TIME)
            except OSError as error:
                with self._lock:
                    self._broken(error)
                continue
            now = time.monotonic()
            del vector  # nothing that was sent is kept while there is nothing to send
            with self._lock:
                if count == size and self._clocked:
                    self._meter.took(count, now - began, now)
                if not self._closed:
                    self._taken(count)


def _message(head: bytes, body: Body | None, about: Hashable) -> _Message:
    if body is None:
        return _Message(head, (), None, len(head), about)
    parts = [body] if isinstance(body, bytes | bytearray | memoryview) else body
    views = [_flat(part) for part in parts]
    size = sum(map(len, views))
    return _Message(head, [view for view in views if len(view)], size, len(head) + size, about)


def _flat(part: bytes | bytearray | memoryview) -> memoryview:
    """The bytes of a buffer; those that do not lie one behind the other are copied."""
    view = memoryview(part)
    if not view.nbytes:
        return memoryview(b"")
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


def _runs(message: _Message, next_piece: Callable[[int], int]) -> Iterator[_Run]:
    """The frames of a message: of the bytes that are left, the next has ``next_piece`` of them."""
    left = message.body or 0
    size = next_piece(left)
    header = write_header(Kind.MESSAGE, len(message.head), message.body, size) + message.head
    rest = deque(message.views)
    while True:
        yield [memoryview(header), *_first(rest, size)]
        left -= size
        if not left:
            return
        size = next_piece(left)
        header = write_header(Kind.PIECE, 0, message.body, size)


def _first(rest: deque[memoryview], size: int) -> list[memoryview]:
    """The first bytes of what is left, which are taken away from it."""
    taken = []
    while size:
        view = rest.popleft()
        taken.append(view[:size])
        if len(view) > size:
            rest.appendleft(view[size:])
        size -= len(taken[-1])
    return taken
