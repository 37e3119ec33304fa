"""What is the case now, from what a gateway sees: measured where it was, stated where not."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.core.policy import DeviceView, LinkView, View
from shoal.strategies.split.table import Facts, ServerFacts

LEAST_BYTES_PER_S = 100.0
"""Slower goodput than this is taken for this."""
SLOWEST, FASTEST = 100.0, 0.01
"""Bounds of a slowdown that is believed."""
LONGEST_MS = 1e9
"""A longer queue is taken for this."""
_UNSEEN, _UNMEASURED = DeviceView(usable=False), LinkView()


def facts(view: View, device: str, servers: Sequence[str], stated: Facts) -> Facts:
    """The facts that ``view`` shows of a device and its servers; ``stated`` is what holds for a
    link that nobody has measured.

    Slowdowns are those that the gateway observes (time over forecast), goodput and round trip
    those of its links. A way back is as much slower than stated as the way there. The queue of a
    server is the longer one of what it was given from here and what it says that it has.
    """
    own = view.devices.get(device, _UNSEEN)
    each = zip(servers, stated.servers, strict=True)
    return Facts(
        slow=_slow(own),
        queue_ms=min(own.work_ms * _slow(own), LONGEST_MS),
        servers=tuple(_server(view, name, known) for name, known in each),
        device_usable=own.usable,
        images=view.images,
    )


def _server(view: View, name: str, stated: ServerFacts) -> ServerFacts:
    seen, link = view.devices.get(name, _UNSEEN), view.links.get(name, _UNMEASURED)
    up = max(link.bytes_per_s, LEAST_BYTES_PER_S) if link.bytes_per_s > 0 else stated.up
    return ServerFacts(
        slow=_slow(seen),
        queue_ms=_queue_ms(seen),
        crowd=_crowd(seen),
        up=up,
        down=stated.down * (up / stated.up),
        rtt_ms=link.rtt_ms if link.rtt_ms > 0 else stated.rtt_ms,
        hop_ms=stated.hop_ms,
        usable=seen.usable,
    )


def _slow(seen: DeviceView) -> float:
    return min(max(seen.slowdown, FASTEST), SLOWEST)


def _queue_ms(seen: DeviceView) -> float:
    said_ms = (seen.load.waiting + seen.load.running) * seen.load.run_ms
    return min(max(seen.work_ms * _slow(seen), said_ms), LONGEST_MS)


def _crowd(seen: DeviceView) -> float:
    """How many requests share a server for each one from here: those of others are in its queue
    beside ours and will go on coming."""
    others = max(0, seen.load.waiting + seen.load.running - seen.outstanding)
    return 1.0 + others / max(1, seen.outstanding)
