"""What is the case now, from what a gateway sees: measured where it was, stated where not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from shoal.core.policy import DeviceView, LinkView, View
from shoal.strategies.split.table import Facts

LEAST_BYTES_PER_S = 100.0
"""Slower goodput than this is taken for this."""
SLOWEST, FASTEST = 100.0, 0.01
"""Bounds of a slowdown that is believed."""


def facts(view: View, device: str, servers: Sequence[str], stated: Facts) -> Facts:
    """The facts that ``view`` shows of a device and its servers; ``stated`` is what holds for a
    link that nobody has measured.

    Slowdowns are those that the gateway observes (time over forecast), goodput and round trip
    those of its links. A way back is as much slower than stated as the way there. The queue of a
    server is the longer one of what it was given from here and what it says that it has.
    """
    own = view.devices.get(device)
    seen = [view.devices.get(name) for name in servers]
    links = [view.links.get(name, LinkView()) for name in servers]
    up = np.array(
        [
            max(link.bytes_per_s, LEAST_BYTES_PER_S) if link.bytes_per_s > 0 else float(known)
            for link, known in zip(links, stated.up, strict=True)
        ],
        np.float64,
    )
    rtt = [
        link.rtt_ms if link.rtt_ms > 0 else float(known)
        for link, known in zip(links, stated.rtt_ms, strict=True)
    ]
    return Facts(
        slow=_slow(own),
        queue_ms=own.work_ms * _slow(own) if own is not None else 0.0,
        server_slow=np.array([_slow(server) for server in seen], np.float64),
        server_queue_ms=np.array([_queue_ms(server) for server in seen], np.float64),
        crowd=np.array([_crowd(server) for server in seen], np.float64),
        up=up,
        down=stated.down * (up / stated.up) if len(servers) else stated.down,
        rtt_ms=np.array(rtt, np.float64),
        hop_ms=stated.hop_ms,
        usable=np.array([server is not None and server.usable for server in seen], bool),
        device_usable=own is not None and own.usable,
    )


def measured_s(links: Mapping[str, LinkView], servers: Sequence[str]) -> float:
    """When one of the links to these servers was measured last, in seconds; -inf: never."""
    return max((links[name].at for name in servers if name in links), default=float("-inf"))


def _slow(seen: DeviceView | None) -> float:
    return min(max(seen.slowdown, FASTEST), SLOWEST) if seen is not None else 1.0


def _queue_ms(seen: DeviceView | None) -> float:
    """The work that stands before a new request."""
    if seen is None:
        return 0.0
    said_ms = (seen.load.waiting + seen.load.running) * seen.load.run_ms
    return max(seen.work_ms * _slow(seen), said_ms)


def _crowd(seen: DeviceView | None) -> float:
    """How many requests share a server for each one from here: those of others are in its queue
    beside ours and will go on coming."""
    if seen is None:
        return 1.0
    others = max(0, seen.load.waiting + seen.load.running - seen.outstanding)
    return 1.0 + others / max(1, seen.outstanding)
