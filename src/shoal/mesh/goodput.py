"""What a link carries: goodput and round-trip time, from messages that were sent anyway.

Each acknowledged message tells how long the link needed for it: from when it left, or from when
the one before it was through if it had to wait for that, to its acknowledgement, less what a round
trip usually takes (the samples of delivery rate of BBR, Cardwell et al. 2016, taken message by
message). Acknowledgements that come in a bunch tell nothing one by one, so times and bytes are
added up until there is enough of them. Round trips are told by messages too small to say anything
of the rate, and by questions that are asked for it while the line is quiet.

No I/O and no clock; times are seconds on any steady clock.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import msgspec

SMALL_BYTES = 2048
"""Messages up to this size measure the round trip."""
LARGE_BYTES = 8192
"""Messages from this size on measure the rate."""
SMOOTHING = 0.5
"""Weight of a new sample. Logarithms are averaged, so that a jump up is believed as soon as a jump
down, after a few messages."""
ENOUGH_S, ENOUGH_MESSAGES = 1e-3, 4
"""A sample of the rate: so much time on the link, or so many messages."""
RTT_WINDOW_S = 10.0
"""The round-trip time is the least of this long: queues make it longer, nothing shorter."""
USUAL = 0.25
"""Weight of a new round trip in what is usual."""
_LEAST_S = 20e-6


class LinkRate(msgspec.Struct, frozen=True):
    """What a link carries: ``bytes_per_s`` (0: not known), ``rtt_ms`` (0: not known)."""

    bytes_per_s: float = 0.0
    rtt_ms: float = 0.0


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
        self._arrived = 0.0
        self._log_rate: float | None = None
        self._bytes = 0
        self._seconds = 0.0
        self._messages = 0
        self._usual_s = 0.0
        self._trips: deque[tuple[float, float]] = deque()  # (when, seconds), both increasing

    def left(self, seq: int, size: int, now: float) -> None:
        """Message ``seq`` of ``size`` bytes goes out."""
        self._flying.append(_Flying(seq, size, now, not self._flying))

    def arrived(self, upto: int, now: float) -> None:
        """All messages up to ``upto`` are known to have arrived. Of large ones that is known at
        once; small ones may have arrived long before."""
        arrived = []
        while self._flying and self._flying[0].seq <= upto:
            arrived.append(self._flying.popleft())
        if not arrived:
            return
        large = [message for message in arrived if message.size >= LARGE_BYTES]
        if large:
            self._bytes += sum(message.size for message in large)
            self._seconds += max(0.0, self._since(large[0], now))
            self._messages += len(large)
            if self._seconds >= ENOUGH_S or self._messages >= ENOUGH_MESSAGES:
                self._log_rate = self._with(self._bytes, self._seconds)
                self._bytes, self._seconds, self._messages = 0, 0.0, 0
        elif len(arrived) == 1 and arrived[0].alone and arrived[0].size <= SMALL_BYTES:
            self.trip(now - arrived[0].left, now)
        self._arrived = now
        self.news = True

    def trip(self, seconds: float, now: float) -> None:
        """A round trip over the quiet line took ``seconds``."""
        self._usual_s += (USUAL if self._trips else 1.0) * (seconds - self._usual_s)
        while self._trips and self._trips[-1][1] >= seconds:
            self._trips.pop()
        self._trips.append((now, seconds))
        while len(self._trips) > 1 and self._trips[0][0] < now - RTT_WINDOW_S:
            self._trips.popleft()
        self.news = True

    @property
    def rtt_s(self) -> float:
        """The least round-trip time of late, in seconds; 0 where it is not known."""
        return self._trips[0][1] if self._trips else 0.0

    def rate(self, now: float) -> LinkRate:
        """What the link carries, as far as known. What is under way for longer than it should be
        counts already: a link that has become slow is not found out only by what comes through."""
        known = self._log_rate
        if self._flying and known is not None:
            first = self._flying[0]
            waited = self._since(first, now)
            if first.size >= LARGE_BYTES and waited * math.exp(known) > first.size:
                known = self._with(first.size, waited)
        return LinkRate(0.0 if known is None else math.exp(known), self.rtt_s * 1e3)

    def _since(self, message: _Flying, now: float) -> float:
        """How long the link has worked for a message, in seconds."""
        return now - max(self._arrived, message.left + self._usual_s)

    def _with(self, size: int, seconds: float) -> float:
        """The logarithm of the rate, with one more sample."""
        sample = math.log(size / max(seconds, _LEAST_S))
        known = sample if self._log_rate is None else self._log_rate
        return known + SMOOTHING * (sample - known)
