"""Whether who is sent much still reads it: evidence of life, where a reply must wait its turn.

A peer that is slow in reading (its core is busy, or it gets the memory of a large body for the
first time) reads a question late, as that comes after what was sent before. But what it has room
for is known: the system behind it acknowledges so much, also when the process is frozen, and no
more until that reads. So more than it had room for when it was asked is evidence that it has read
since. No I/O and no clock here.
"""

from __future__ import annotations

import math

from shoal.mesh.rate import TcpInfo

GROWTH, LEAST_GROWTH = 0.5, 1 << 16
"""By how much a system may raise what it has room for without being read from: as a part of that,
and in bytes. (A connection that is young may pass it, once: then a frozen peer is believed in for
one question more.)"""
UNTOLD_BYTES = 1 << 23
"""Room that is assumed where the system does not say how much there is (Linux before 5.4): 6 MB is
the most by default."""


class Uptake:
    """Of one direction of one connection."""

    def __init__(self) -> None:
        self._room_up_to: float = math.inf  # bytes since the connection began
        self._read_at = -math.inf

    def asked(self, info: TcpInfo) -> None:
        """A question is sent: what is read from now on counts."""
        room = UNTOLD_BYTES if info.room is None else info.room
        self._room_up_to = info.delivered + room + max(int(room * GROWTH), LEAST_GROWTH)

    def read_at(self, info: TcpInfo, now: float) -> float:
        """When it was last seen that it reads; minus infinity when never."""
        if info.delivered > self._room_up_to:
            self._read_at = now
            self.asked(info)
        return self._read_at
