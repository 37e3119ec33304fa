"""What a link carries: goodput and round-trip time, from messages that were sent anyway.

Each message tells how long the link needed for it: from when it left, or from when the one before
it was through if it had to wait for that, until it came (the samples of delivery rate of BBR,
Cardwell et al. 2016, taken message by message). When it came is told on the receiver's clock, so
that a sender that is late to hear of it, as a busy or weak device is, does not take that for the
link: what the way takes, and by how much the clocks differ, is told by messages too small to say
anything of the rate, and by questions that are asked for it while the line is quiet (the least of
the last seconds, since clocks drift; and the link took no longer than until the acknowledgement).
Acknowledgements that come in a bunch tell nothing one by one, so times and bytes are added up until
there is enough of them.

No I/O and no clock; times are seconds on any steady clock.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import msgspec

SMALL_BYTES = 2048
"""Messages up to this size measure the round trip."""
LARGE_BYTES = 4096
"""Messages from this size on measure the rate."""
SMOOTHING = 0.6
"""Weight of a new sample: the better of the last two, as what holds up a single message, on its way
out of a busy device say, makes no slow link. Logarithms are averaged, so that a jump is believed
after a few messages, one down no later than the message after one up."""
ENOUGH_S, ENOUGH_MESSAGES = 1e-3, 4
"""A sample of the rate: so much time on the link, or so many messages."""
IN_A_ROW = 4
"""Messages without a rest between them that make one sample: a receiver that is late itself reads
several at once, and only of all of them it is known how long they took."""
WINDOW_S, STALE_S = 10.0, 30.0
"""Round trips and ways are the least of this long: queues make them longer, nothing shorter. A way
is no longer known after this long, since clocks drift."""
USUAL = 0.25
"""Weight of a new round trip in what is usual."""
_LEAST_S = 20e-6


class LinkRate(msgspec.Struct, frozen=True):
    """What a link carries: ``bytes_per_s`` (0: not known), measured ``age_s`` ago; ``rtt_ms`` (0:
    not known)."""

    bytes_per_s: float = 0.0
    rtt_ms: float = 0.0
    age_s: float = math.inf


class _Least:
    """The least of what was seen within :data:`WINDOW_S`; the last one, if that is longer ago."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()  # (when, value), both increasing

    def see(self, value: float, now: float) -> None:
        """Another value."""
        while self._seen and self._seen[-1][1] >= value:
            self._seen.pop()
        self._seen.append((now, value))
        while len(self._seen) > 1 and self._seen[0][0] < now - WINDOW_S:
            self._seen.popleft()

    @property
    def value(self) -> float | None:
        """The least; None before there was any."""
        return self._seen[0][1] if self._seen else None

    def fresh(self, now: float) -> float | None:
        """The least; None where nothing was seen for :data:`STALE_S`."""
        return self.value if self._seen and self._seen[-1][0] >= now - STALE_S else None


class _Flying(NamedTuple):
    seq: int
    size: int
    left: float
    alone: bool


class Goodput:
    """The estimate for one direction of one link."""

    def __init__(self) -> None:
        self.news = False
        """Whether a message has arrived since this was last set to False."""
        self._flying: deque[_Flying] = deque()
        self._arrived = 0.0  # when the last one was known to have arrived
        self._came: float | None = None  # when it came, on the receiver's clock
        # Those between which the line had no rest: bytes, and when the line began with them.
        self._in_a_row: deque[tuple[int, float]] = deque(maxlen=IN_A_ROW)
        self._log_rate: float | None = None
        self._log_last = -math.inf  # of the last sample
        self._sampled = -math.inf  # when that was
        self._bytes = 0
        self._seconds = 0.0
        self._messages = 0
        self._usual_s = 0.0
        self._trips, self._ways = _Least(), _Least()

    def left(self, seq: int, size: int, now: float) -> None:
        """Message ``seq`` of ``size`` bytes goes out."""
        self._flying.append(_Flying(seq, size, now, not self._flying))

    def arrived(self, upto: int, now: float, came: float | None) -> None:
        """All messages up to ``upto`` are known to have arrived, the last one at ``came`` on the
        receiver's clock (None where that is not known). Of large ones that is known at once; small
        ones may have arrived long before."""
        arrived = []
        while self._flying and self._flying[0].seq <= upto:
            arrived.append(self._flying.popleft())
        if not arrived:
            return
        last = arrived[-1]
        if any(message.size >= LARGE_BYTES for message in arrived):
            self._sample(arrived, now, came)
        elif len(arrived) == 1 and last.alone and last.size <= SMALL_BYTES:
            self.trip(now - last.left, now)
            if came is not None:
                self.way(came - last.left, now)
        self._arrived, self._came = now, came
        self.news = True

    def _sample(self, arrived: list[_Flying], now: float, came: float | None) -> None:
        """Large messages arrived, perhaps with small ones among them."""
        size = sum(message.size for message in arrived)
        first = next(message for message in arrived if message.size >= LARGE_BYTES)
        row, way = self._in_a_row, self._ways.fresh(now)
        if came is None or way is None or (self._came is None and self._arrived):
            row.clear()
            self._add(size, max(0.0, self._since(first, now)), len(arrived), now)
            return
        began = max(first.left + way, came - (now - first.left))
        if self._came is not None and self._came > began:
            began = self._came  # the line was busy until then
        else:
            row.clear()
        row.append((size, began))
        seconds = came - row[0][1]
        if seconds >= ENOUGH_S or len(row) == IN_A_ROW:
            self._take(_log_rate(sum(size for size, _ in row), seconds), now)
        elif len(row) == 1:
            self._add(size, max(0.0, seconds), len(arrived), now)

    def _add(self, size: int, seconds: float, messages: int, now: float) -> None:
        """Add up what says too little by itself."""
        self._bytes += size
        self._seconds += seconds
        self._messages += messages
        if self._seconds >= ENOUGH_S or self._messages >= ENOUGH_MESSAGES:
            self._take(_log_rate(self._bytes, self._seconds), now)
            self._bytes, self._seconds, self._messages = 0, 0.0, 0

    def _take(self, sample: float, now: float) -> None:
        """Take in a sample of the rate, or the one before it where that was better."""
        self._log_rate = self._with(max(sample, self._log_last))
        self._log_last = sample
        self._sampled = now

    def trip(self, seconds: float, now: float) -> None:
        """A round trip over the quiet line took ``seconds``."""
        first = self._trips.value is None
        self._usual_s += (1.0 if first else USUAL) * (seconds - self._usual_s)
        self._trips.see(seconds, now)
        self.news = True

    def way(self, seconds: float, now: float) -> None:
        """Something small came so long after it left, on the clocks of receiver and sender."""
        self._ways.see(seconds, now)

    @property
    def rtt_s(self) -> float:
        """The least round-trip time of late, in seconds; 0 where it is not known."""
        return self._trips.value or 0.0

    def rate(self, now: float) -> LinkRate:
        """What the link carries, as far as known. What is under way for longer than it should be
        counts already: a link that has become slow is not found out only by what comes through."""
        known = self._log_rate
        if self._flying and known is not None:
            first = self._flying[0]
            waited = self._since(first, now)
            if first.size >= LARGE_BYTES and waited * math.exp(known) > first.size:
                known = self._with(_log_rate(first.size, waited))
        bytes_per_s = 0.0 if known is None else math.exp(known)
        return LinkRate(bytes_per_s, self.rtt_s * 1e3, now - self._sampled)

    def _since(self, message: _Flying, now: float) -> float:
        """How long the link has worked for a message, in seconds, as far as is known here."""
        return now - max(self._arrived, message.left + self._usual_s)

    def _with(self, sample: float) -> float:
        """The logarithm of the rate, with one more sample."""
        known = sample if self._log_rate is None else self._log_rate
        return known + SMOOTHING * (sample - known)


def _log_rate(size: int, seconds: float) -> float:
    return math.log(size / max(seconds, _LEAST_S))
