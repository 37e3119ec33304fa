"""What a link carries, from what the operating system knows of its connection.

Linux counts, for every connection, at what rate what was sent has been delivered (the samples of
BBR, Cardwell et al. 2016), whether the sender or the line was the limit then, and the least round
trip. Elsewhere the rate is that at which the system takes large messages, which says less, and
there is no round trip. No I/O and no clock here; times are seconds on any steady clock.
"""

from __future__ import annotations

import math

import msgspec

LARGE_BYTES = 1 << 15
"""Messages from this size on tell the rate where the system does not."""
SMOOTHING = 0.5
"""Weight of a new sample of such a rate."""
LATE_BYTES = 4096
"""So much must be under way for its lateness to count, and be delivered for a rate to count as
measured anew: a question now and then tells nothing."""


class LinkRate(msgspec.Struct, frozen=True):
    """What a link carries: ``bytes_per_s`` (0: not known), measured ``age_s`` ago; ``rtt_ms`` (0:
    not known). ``at_least`` says that the sender was the limit when it was measured: the line
    may carry more."""

    bytes_per_s: float = 0.0
    rtt_ms: float = 0.0
    age_s: float = math.inf
    at_least: bool = False


class TcpInfo(msgspec.Struct, frozen=True):
    """What the system says of a connection: the rate of delivery in bytes/s and whether the sender
    was the limit (``app_limited``), bytes that were delivered, bytes that are not sent yet, bytes
    that are sent and not delivered, the round trip and the least of it in seconds, and how long
    ago (seconds) the other system said something last, something was sent last (also again), and
    something came last. ``room`` is for how many bytes after those delivered the other system has
    room, as it said last; None where that is not known. ``shut`` says that this is what the bytes
    that are not sent wait for, and not the line."""

    delivery_rate: float
    app_limited: bool
    delivered: int
    unsent: int
    flying: int
    rtt_s: float
    min_rtt_s: float
    quiet_s: float
    unsaid_s: float = 0.0
    unheard_s: float = 0.0
    room: int | None = None
    shut: bool = False


class RateMeter:
    """The rate of one direction of one link."""

    def __init__(self) -> None:
        self._rate = LinkRate()
        self._measured_at = -math.inf
        self._delivered = 0
        self._counted = 0  # what was delivered when it was measured last
        self._stuck_at = math.inf  # nothing was delivered since, though bytes are under way
        self._clock_rate = 0.0

    def read(self, info: TcpInfo, now: float) -> None:
        """Take in what the system says now."""
        rate, at_least = info.delivery_rate, info.app_limited
        flying = info.flying + info.unsent
        if info.delivered > self._delivered:
            self._delivered = info.delivered
            self._stuck_at = math.inf
        if info.delivered >= self._counted + LATE_BYTES:
            self._counted = info.delivered
            self._measured_at = now - info.quiet_s
        if flying < LATE_BYTES:
            self._stuck_at = math.inf
        else:
            self._stuck_at = min(self._stuck_at, now - min(info.quiet_s, info.unsaid_s))
        late_s = now - self._stuck_at - info.rtt_s
        if late_s > 0 and rate * late_s > flying:
            # What is under way should have been through: it counts before it is.
            rate, at_least = flying / late_s, False
            self._measured_at = now
        self._rate = LinkRate(rate, info.min_rtt_s * 1e3, 0.0, at_least)

    def took(self, size: int, seconds: float, now: float) -> None:
        """The system took a message in this time; for where it says nothing itself."""
        if size < LARGE_BYTES:
            return
        sample = size / max(seconds, 1e-6)
        self._clock_rate += (SMOOTHING if self._clock_rate else 1.0) * (sample - self._clock_rate)
        self._measured_at = now
        self._rate = LinkRate(self._clock_rate, 0.0, 0.0, True)

    def rate(self, now: float) -> LinkRate:
        """What the link carries, as far as known."""
        return msgspec.structs.replace(self._rate, age_s=now - self._measured_at)
