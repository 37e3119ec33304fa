"""Flow control between one sender and one receiver, without I/O and without a clock.

The sender numbers its messages and keeps at most ``WINDOW`` of them unsettled; the rest wait, up
to a bound. The receiver takes them in order, each once, and says two things about them: *received*
(here, need not be sent again) and *settled* (the node has dealt with it; here is another credit).

The receiver speaks up when it has not done so for :data:`SILENCE_S`, when half a window or
:data:`MUCH_BYTES` are settled, when it is asked, and else when its clock ticks: of many small
messages, most cost no acknowledgement of their own.

Nothing is sent twice on suspicion. When an acknowledgement is overdue the sender *asks*; the
question travels behind the messages, so an answer that does not know them proves them lost, and
only then are they sent again. A slow receiver or a slow line thus costs a few bytes, not a second
copy of every body. Losses, copies, reordering and delay of any frame are all repaired this way.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import msgspec

from shoal.mesh.goodput import Goodput
from shoal.mesh.link import LinkEvent

WINDOW = 8
"""Unsettled messages that a sender may have on their way to one receiver."""
MUCH_BYTES = 1 << 13
"""Bytes that a receiver settles before it says so at once: large messages tell what the line
carries, by the time until they are acknowledged."""
SILENCE_S = 0.025
"""Time after which a receiver says at once what it settled."""
PIECE_BYTES = 60_000
"""Bytes of a message that a transport sends at a time, where it does not say so."""
SWIFT_PIECES = 14
"""Pieces that may be on their way to a receiver when the transport still takes all of the next
message without waiting for the line; see :mod:`shoal.mesh.session`."""
MAX_WAITING = 1024
"""Messages that may be queued for one receiver (in flight or not)."""
MAX_WAITING_BYTES = 256 << 20
"""Bytes of heads and bodies that may be queued for one receiver; one message may exceed it."""
ASK_S = 0.3
"""Seconds without news after which a sender asks, when its link looks next."""
MAX_ASK_S = 5.0
"""Longest time between two questions; it doubles up to here while there is no news."""
SOUND_S, SOUND_FOR_S = 0.25, 1.0
"""Time between two soundings of a quiet line, and for how long after it was used they go on."""
MAX_FUTILE = 5
"""How often the same messages are sent again before the session is given up as stuck."""


class Parcel(msgspec.Struct, frozen=True):
    """A message on its way. ``body`` is whatever the transport wants to be given."""

    seq: int
    head: bytes
    body: Any
    size: int | None

    @property
    def weight(self) -> int:
        """Bytes that it occupies while it waits."""
        return len(self.head) + (self.size or 0)


class Sender:
    """The sending side of one session. Times are seconds on any steady clock. A transport sends
    ``piece_bytes`` of a message at a time."""

    def __init__(
        self,
        window: int = WINDOW,
        max_waiting: int = MAX_WAITING,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._piece_bytes = piece_bytes
        self.window = window
        self.max_waiting = max_waiting
        self.max_waiting_bytes = max_waiting_bytes
        self.resent = 0
        self.goodput = Goodput()
        self._parcels: deque[Parcel] = deque()  # those after ``_received``, in order
        self._bytes = 0
        self._pieces = 0  # of those that went out and are not known to be received
        self._last = 0  # last number given
        self._sent = 0  # last number that went out
        self._received = 0
        self._settled = 0
        self._asked = 0  # last question
        self._answered = 0  # last question that is known to have come
        self._asked_about = 0  # what had gone out when it was asked; 0 when it is answered
        self._pause_s = ASK_S
        self._ask_at: float | None = None
        self._used_at = -math.inf  # when something was sent last
        self._sounding = 0  # number of the question that sounds the line; 0 when it is answered
        self._sounded_at = -math.inf
        self._futile = 0  # times that messages were sent again since the last progress

    @property
    def stuck(self) -> bool:
        """Whether the receiver answers, but does not get what is sent again and again (it may be
        larger than it takes)."""
        return self._futile >= MAX_FUTILE

    @property
    def waiting(self) -> int:
        """Messages that are not settled."""
        return self._last - self._settled

    @property
    def swift(self) -> bool:
        """Whether all that went out and is not known to be received has room in the transport, so
        that handing it over does not have to wait."""
        return self._pieces <= SWIFT_PIECES

    @property
    def queued_bytes(self) -> int:
        """Bytes held for messages that are not known to be received."""
        return self._bytes

    def due(self, now: float) -> float:
        """When :meth:`tick` or :meth:`sound` has something to do, as far as is known now;
        infinite for never."""
        if self._ask_at is not None:
            return self._ask_at
        at = self._sounded_at + SOUND_S
        return at if max(at, now) <= self._used_at + SOUND_FOR_S else math.inf

    def push(self, head: bytes, body: Any, size: int | None) -> bool:
        """Queue a message. False when there is no room."""
        parcel = Parcel(self._last + 1, head, body, size)
        if self.waiting >= self.max_waiting:
            return False
        if self._bytes and self._bytes + parcel.weight > self.max_waiting_bytes:
            return False
        self._last += 1
        self._bytes += parcel.weight
        self._parcels.append(parcel)
        return True

    def take(self, now: float) -> list[Parcel]:
        """The messages that may go out now, in order."""
        upto = min(self._last, self._settled + self.window)
        if upto <= self._sent:
            return []
        fresh = self._range(self._sent + 1, upto)
        for parcel in fresh:
            self.goodput.left(parcel.seq, parcel.weight, now)
        self._sent, self._sounding, self._used_at = upto, 0, now
        self._pieces += sum(map(self._room, fresh))
        if self._ask_at is None:
            self._ask_at = now + self._pause_s
        return fresh

    def tick(self, now: float) -> int | None:
        """The number of the question to send now, if one is due."""
        if self._ask_at is None or now < self._ask_at:
            return None
        self._asked += 1
        self._asked_about = self._sent
        self._ask_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, MAX_ASK_S)
        return self._asked

    def sound(self, now: float) -> int | None:
        """The number of a question whose answer tells the round trip, when it is time for one: the
        line is quiet, and was not a moment ago."""
        quiet = self._sent == self._settled and not self._asked_about
        if not quiet or now - self._used_at > SOUND_FOR_S or now - self._sounded_at < SOUND_S:
            return None
        self._asked += 1
        self._sounding, self._sounded_at = self._asked, now
        return self._asked

    def on_ack(
        self, received: int, settled: int, asked: int, now: float, came: float
    ) -> list[Parcel]:
        """Take note of what the receiver says; returns the messages that must be sent again.
        ``came`` is when the last of what it says came, on its own clock.

        An acknowledgement of what was never sent is ignored whole. One that knows nothing at all
        comes from a receiver that sees this sender only now: it is asked at once.
        """
        if not settled <= received <= self._sent or asked > self._asked:
            return []
        news = asked > self._answered  # then it may be the question that came last
        self._answered = max(self._answered, asked)
        if self._sounding and asked == self._sounding:
            self._sounding = 0
            self.goodput.trip(now - self._sounded_at, now)
            if received == self._received:
                self.goodput.way(came - self._sounded_at, now)
        if self._sent and not (received or asked or self._received or self._asked):
            self._ask_at = now
        if received > self._received or settled > self._settled:
            self._received = max(self._received, received)
            self.goodput.arrived(received, now, None if news else came)
            self._settled = max(self._settled, settled)
            while self._parcels and self._parcels[0].seq <= self._received:
                parcel = self._parcels.popleft()
                self._bytes -= parcel.weight
                self._pieces -= self._room(parcel)
            self._pause_s = ASK_S
            self._futile = 0
            self._ask_at = now + self._pause_s if self._sent > self._settled else None
            if self._ask_at is None:
                self._asked_about = 0  # there is nothing left to ask about
        if not self._asked_about or asked != self._asked:
            return []
        lost = self._range(self._received + 1, self._asked_about)
        self._asked_about = 0
        self.resent += len(lost)
        self._futile += bool(lost)
        return lost

    def _room(self, parcel: Parcel) -> int:
        """The pieces in which a transport sends a message."""
        return 1 + parcel.weight // self._piece_bytes

    def _range(self, first: int, last: int) -> list[Parcel]:
        if not self._parcels or last < first:
            return []
        start = self._parcels[0].seq
        return [self._parcels[at] for at in range(max(first - start, 0), last - start + 1)]


class Receiver:
    """The receiving side of one session: holds messages until the node has room for them."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._held: deque[LinkEvent] = deque()
        self._received = 0
        self._settled = 0
        self._asked = 0
        self._told = 0  # settled, as the sender was told
        self._bytes = 0  # that came since then
        self._told_at = -SILENCE_S
        self._came = 0.0  # when the last message or question came

    @property
    def held(self) -> int:
        """Messages that are here and were not popped yet."""
        return len(self._held)

    @property
    def unsettled(self) -> int:
        """Messages that came and are not settled."""
        return self._received - self._settled

    @property
    def owes(self) -> bool:
        """Whether the sender does not know yet of all that is settled."""
        return self._settled > self._told

    def must_tell(self, now: float) -> bool:
        """Whether it should know at once."""
        owed = self._settled - self._told
        much = owed >= max(1, self._window // 2) or self._bytes >= MUCH_BYTES
        return owed > 0 and (much or now - self._told_at >= SILENCE_S)

    def tell(self, now: float) -> tuple[int, int, int, float]:
        """What an acknowledgement says that goes out now: received, settled, asked, and when the
        last message or question came."""
        self._told, self._bytes, self._told_at = self._settled, 0, now
        return self._received, self._settled, self._asked, self._came

    def expects(self, seq: int) -> bool:
        """Whether message ``seq`` is the next one, and within the window."""
        return seq == self._received + 1 and self.unsettled < self._window

    def put(self, message: LinkEvent, size: int, now: float) -> None:
        """Hold the message of ``size`` bytes that was expected."""
        self._received += 1
        self._came = now
        self._bytes += size
        self._held.append(message)

    def asked(self, number: int, now: float) -> None:
        """The sender asked."""
        self._asked = max(self._asked, number)
        self._came = now

    def pop(self) -> LinkEvent:
        """The oldest message that is held, to offer it to the node."""
        return self._held.popleft()

    def put_back(self, message: LinkEvent) -> None:
        """The node had no room for the message that was popped last."""
        self._held.appendleft(message)

    def settle(self) -> bool:
        """The node has dealt with the oldest message that it took; False if there is none."""
        if self._settled >= self._received - len(self._held):
            return False
        self._settled += 1
        return True
