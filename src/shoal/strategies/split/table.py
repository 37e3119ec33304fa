"""The plans of a playbook as columns, what they cost on given facts, and nothing else.

For the plan that cuts at ``c`` and packs to ``b`` bits (docs/split.md)::

    T_dev = k_d * (time before the cut + packing)
    T_net = rtt + bytes / goodput          (and the answer's way back)
    T_srv = k_s * (unpacking + time after the cut)

latency is their sum and the queues on the way, throughput 1 / the largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


LEAST_MS = 1e-6
"""No link or server is busy for less with an image."""


@dataclass(frozen=True)
class Table:
    """One row for each plan. ``device_ms`` is computing on the device, ``pack_ms`` packing there;
    ``bytes`` crosses the link (0: nothing does, and there is no server). ``server_ms`` and
    ``unpack_ms`` have a column for each server. ``here`` tells where the device computes a stage,
    so that its queue is met. ``answer_bytes`` come back from a server.

    ``power_w`` is what the device draws waiting, computing and sending (None: not stated).
    """

    names: tuple[str, ...]
    device_ms: Floats
    pack_ms: Floats
    bytes: Floats
    server_ms: Floats
    unpack_ms: Floats
    accuracy: Floats
    here: Flags
    answer_bytes: float = 0.0
    device_message_ms: float = 0.0
    server_message_ms: float = 0.0
    power_w: tuple[float, float, float] | None = None

    @property
    def crosses(self) -> Flags:
        """Which plans need a server."""
        return np.asarray(self.bytes > 0)


@dataclass(frozen=True)
class Facts:
    """What is the case now. ``slow`` and ``queue_ms`` are the device's slowdown and the work
    waiting there; arrays have an entry for each server: slowdown, queue, how many times its
    computing time one image takes since others use it too (``crowd``), goodput to and from it in
    bytes/s, round trip, and the fixed time of a hop. ``usable`` are the servers to be had."""

    slow: float
    queue_ms: float
    server_slow: Floats
    server_queue_ms: Floats
    crowd: Floats
    up: Floats
    down: Floats
    rtt_ms: Floats
    hop_ms: Floats
    usable: Flags
    device_usable: bool = True


@dataclass(frozen=True)
class Costs:
    """What each plan costs: ms, ms between images, ms, ms, bytes, joules, and the parts that they
    are made of. ``server`` is the index of the best server for each, ``usable`` which plans can be
    followed."""

    latency_ms: Floats
    period_ms: Floats
    server_ms: Floats
    bytes: Floats
    energy_j: Floats
    lost: Floats
    device_ms: Floats
    link_ms: Floats
    server: npt.NDArray[np.intp]
    usable: Flags


def costs(table: Table, facts: Facts) -> Costs:
    """The costs of all plans at once."""
    crosses = table.bytes > 0
    device = facts.slow * (table.device_ms + table.pack_ms)
    device = device + np.where(crosses, table.device_message_ms, 0.0)
    count = len(table.names)
    if facts.up.size:
        sending = table.bytes[:, None] / facts.up * 1e3
        back = table.answer_bytes / facts.down * 1e3
        working = facts.server_slow * (table.unpack_ms + table.server_ms)
        working = working + table.server_message_ms
        fixed = facts.rtt_ms + 2 * facts.hop_ms + back + facts.server_queue_ms
        away = np.where(facts.usable, sending + working + fixed, np.inf)
        server = away.argmin(axis=1)
        rows = np.arange(count)
        link = np.where(crosses, sending[rows, server], 0.0)
        work = np.where(crosses, working[rows, server], 0.0)
        beyond = np.where(crosses, away[rows, server], 0.0)
        busy = np.maximum(np.maximum(sending, back), working * facts.crowd)
        rates = facts.usable / np.maximum(busy, LEAST_MS)
        with np.errstate(divide="ignore"):
            shared = np.where(crosses, 1.0 / rates.sum(axis=1), 0.0)
        usable = ~crosses | np.isfinite(beyond)
    else:
        server = np.zeros(count, np.intp)
        link = work = beyond = shared = np.zeros(count)
        usable = ~crosses
    latency = device + beyond + np.where(table.here, facts.queue_ms, 0.0)
    if not facts.device_usable:
        usable = usable & ~table.here
    return Costs(
        latency_ms=latency,
        period_ms=np.maximum(device, shared),
        server_ms=work,
        bytes=table.bytes + np.where(crosses, table.answer_bytes, 0.0),
        energy_j=_energy_j(table, device, link, latency),
        lost=1.0 - table.accuracy,
        device_ms=device,
        link_ms=link,
        server=server,
        usable=usable,
    )


def _energy_j(table: Table, device: Floats, link: Floats, latency: Floats) -> Floats:
    """What the device draws during one request; 0 where its powers are not stated."""
    if table.power_w is None:
        return np.zeros_like(device)
    idle_w, busy_w, transmit_w = table.power_w
    with np.errstate(invalid="ignore"):
        waiting = np.maximum(0.0, latency - device - link)
    joules: Floats = (busy_w * device + transmit_w * link + idle_w * waiting) / 1e3
    return joules


def stated(servers: Sequence[str], links: Mapping[str, tuple[float, float, float, float]]) -> Facts:
    """Facts when nothing was measured yet: ``links`` has goodput to and from each server, round
    trip and hop time."""
    rows = np.array([links[name] for name in servers], np.float64).reshape(-1, 4)
    ones = np.ones(len(servers))
    return Facts(
        slow=1.0,
        queue_ms=0.0,
        server_slow=ones,
        server_queue_ms=np.zeros(len(servers)),
        crowd=ones,
        up=rows[:, 0],
        down=rows[:, 1],
        rtt_ms=rows[:, 2],
        hop_ms=rows[:, 3],
        usable=np.ones(len(servers), bool),
    )
