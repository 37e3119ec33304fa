"""What a node's processor does beside computing: requests, runs and messages cost it time."""

from __future__ import annotations

import msgspec


class Handling(msgspec.Struct, frozen=True):
    """Seconds of a core: for each request that a client asks here (until it has its answer), for
    each run beside the run itself, for each message that is sent or received, and for each byte of
    its body; from the system's calls to what is decided."""

    asked_s: float = 0.0
    run_s: float = 0.0
    message_s: float = 0.0
    byte_s: float = 0.0

    def message(self, size: int) -> float:
        """For a message with a body of so many bytes, where it is sent or received."""
        return self.message_s + size * self.byte_s

    def at(self, speed: float) -> Handling:
        """On a core of this speed."""
        return Handling(
            self.asked_s / speed,
            self.run_s / speed,
            self.message_s / speed,
            self.byte_s / speed,
        )


FREE = Handling()
"""It takes no time: what is told in virtual time is then a matter of links and of computing."""

MEASURED = Handling(asked_s=0.21e-3, run_s=0.12e-3, message_s=0.08e-3, byte_s=0.5e-9)
"""Of a host under load, on one core of an AMD EPYC virtual machine. Requests, runs and messages:
``shoal bench node.agreement`` (2026-11-30), as its module ``gauge`` tells them apart; where one
request follows the other and finds the caches cold, each costs half as much again. Bytes: what a
worker takes more for tensors of 600 kB than of 64 KiB, two of them in and two out, ``shoal bench
wire.cost`` (the gateway, which copies what it is asked, 0.7)."""
