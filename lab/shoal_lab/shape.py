"""What a wire does in one direction, and the ``tc`` line that makes the kernel do it. Pure.

``tbf`` limits the rate. Its burst is one packet and what a millisecond lets through, so that a
short message is not given away for nothing. Rates count IP packets (``tbf`` on a veth device also
counts 14 bytes of Ethernet: 1 % at full packets). A full queue holds 100 ms of the rate.
"""

from __future__ import annotations

import msgspec

PACKET_BYTES = 1600
"""A full packet with its headers, rounded up."""
QUEUE_S = 0.1
LEAST_QUEUE_PACKETS = 20
UNLIMITED_PACKETS = 10_000


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """One direction of a wire. ``mbit`` None: no limit. ``cut``: nothing passes."""

    mbit: float | None = None
    delay_ms: float = 0.0
    loss: float = 0.0
    cut: bool = False

    @property
    def delays_or_loses(self) -> bool:
        """Whether a rate alone does not make it."""
        return self.delay_ms > 0 or self.loss > 0


def queue_bytes(mbit: float) -> int:
    """How much may wait for a wire of this rate."""
    return max(round(mbit * 1e6 / 8 * QUEUE_S), LEAST_QUEUE_PACKETS * PACKET_BYTES)


def tc_line(device: str, shape: Shape, netem: bool) -> str:
    """The line for ``tc -batch``. With ``netem`` it also delays and loses; else a relay must."""
    root = f"qdisc replace dev {device} root"
    if shape.cut:
        # A queue without room drops every packet, and nobody is told.
        return f"{root} pfifo limit 0"
    rate = None if shape.mbit is None else round(shape.mbit * 1e6)
    if netem and shape.delays_or_loses:
        words = [root, "netem limit", str(_netem_packets(shape)), f"delay {shape.delay_ms:.3f}ms"]
        if shape.loss:
            words.append(f"loss {100 * shape.loss:.4f}%")
        if rate is not None:
            words.append(f"rate {rate}bit")
        return " ".join(words)
    if shape.mbit is None or rate is None:
        return f"{root} pfifo limit {UNLIMITED_PACKETS}"
    burst = PACKET_BYTES + rate // 8 // 1000
    return f"{root} tbf rate {rate}bit burst {burst} limit {queue_bytes(shape.mbit)}"


def _netem_packets(shape: Shape) -> int:
    """netem's queue holds what waits for the rate and what is on its way."""
    if shape.mbit is None:
        return UNLIMITED_PACKETS
    on_the_way = shape.mbit * 1e6 / 8 * shape.delay_ms / 1000
    # Short packets count as much as full ones here: leave room for them.
    return LEAST_QUEUE_PACKETS + round((queue_bytes(shape.mbit) + on_the_way) / PACKET_BYTES * 2)
