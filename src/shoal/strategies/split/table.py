"""The plans of a playbook as columns, what they cost on given facts, and nothing else.

For the plan that cuts at ``c`` and packs to ``b`` bits (docs/split.md)::

    T_dev = k_d * (time before the cut + packing) + messages and running a stage
    T_net = rtt + bytes / goodput          (and the answer's way back)
    T_srv = k_s * (unpacking + time after the cut)

latency is their sum and the queues on the way, throughput 1 / the largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

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
    device_stage_ms: float = 0.0
    server_message_ms: float = 0.0
    power_w: tuple[float, float, float] | None = None

    @cached_property
    def crosses(self) -> Flags:
        """Which plans need a server."""
        return np.asarray(self.bytes > 0)

    # What does not change from request to request is added up once: a decision costs a weak
    # device a good part of a millisecond.

    @cached_property
    def own_ms(self) -> Floats:
        """Computing and packing on the device."""
        return np.asarray(self.device_ms + self.pack_ms)

    @cached_property
    def beside_ms(self) -> Floats:
        """What messages, and a stage beside its run, cost the device."""
        crossing = np.where(self.crosses, self.device_message_ms, 0.0)
        return np.asarray(crossing + np.where(self.here, self.device_stage_ms, 0.0))

    @cached_property
    def away_ms(self) -> Floats:
        """Unpacking and computing on each server."""
        return np.asarray(self.unpack_ms + self.server_ms)

    @cached_property
    def all_bytes(self) -> Floats:
        """What crosses the link in both directions."""
        return np.asarray(self.bytes + np.where(self.crosses, self.answer_bytes, 0.0))

    @cached_property
    def lost(self) -> Floats:
        """The share of the accuracy that is not guaranteed."""
        return np.asarray(1.0 - self.accuracy)

    @cached_property
    def nothing(self) -> Floats:
        """Zeros."""
        return np.zeros(len(self.names))


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
    device = facts.slow * table.own_ms + table.beside_ms
    if not facts.up.size:
        away = _Away(table.nothing, table.nothing, table.nothing, table.nothing, _first(table))
        usable = ~table.crosses
    else:
        away = _one(table, facts) if facts.up.size == 1 else _several(table, facts)
        usable = ~table.crosses | np.isfinite(away.ms)
    latency = device + np.where(table.crosses, away.ms, 0.0)
    if facts.queue_ms > 0:
        latency = latency + np.where(table.here, facts.queue_ms, 0.0)
    if not facts.device_usable:
        usable = usable & ~table.here
    link = np.where(table.crosses, away.link_ms, 0.0)
    return Costs(
        latency_ms=latency,
        period_ms=np.maximum(device, np.where(table.crosses, away.period_ms, 0.0)),
        server_ms=np.where(table.crosses, away.server_ms, 0.0),
        bytes=table.all_bytes,
        energy_j=_energy_j(table, device, link, latency),
        lost=table.lost,
        device_ms=device,
        link_ms=link,
        server=away.server,
        usable=usable,
    )


class _Away(NamedTuple):
    """What is spent beyond the device, for a plan that crosses the link: all of it, on the link,
    on the server; the time between images; the best server."""

    ms: Floats
    link_ms: Floats
    server_ms: Floats
    period_ms: Floats
    server: npt.NDArray[np.intp]


def _one(table: Table, facts: Facts) -> _Away:
    """The same as :func:`_several`, in fewer steps."""
    up, down, crowd = float(facts.up[0]), float(facts.down[0]), float(facts.crowd[0])
    back = table.answer_bytes / down * 1e3
    link = table.bytes * (1e3 / up)
    work = float(facts.server_slow[0]) * table.away_ms[:, 0] + table.server_message_ms
    fixed = back + float(facts.rtt_ms[0] + 2 * facts.hop_ms[0] + facts.server_queue_ms[0])
    if not facts.usable[0]:
        fixed = np.inf
    period = np.maximum(np.maximum(link, work * crowd), max(back, LEAST_MS))
    return _Away(link + work + fixed, link, work, period, _first(table))


def _several(table: Table, facts: Facts) -> _Away:
    """Each plan goes to the server where it ends first; together they take one image after the
    other."""
    sending = table.bytes[:, None] / facts.up * 1e3
    back = table.answer_bytes / facts.down * 1e3
    working = facts.server_slow * table.away_ms + table.server_message_ms
    fixed = facts.rtt_ms + 2 * facts.hop_ms + back + facts.server_queue_ms
    away = np.where(facts.usable, sending + working + fixed, np.inf)
    server = away.argmin(axis=1)
    rows = np.arange(len(table.names))
    busy = np.maximum(np.maximum(sending, back), working * facts.crowd)
    rates = (facts.usable / np.maximum(busy, LEAST_MS)).sum(axis=1)
    with np.errstate(divide="ignore"):
        period = 1.0 / rates
    return _Away(away[rows, server], sending[rows, server], working[rows, server], period, server)


def _first(table: Table) -> npt.NDArray[np.intp]:
    return np.zeros(len(table.names), np.intp)


def _energy_j(table: Table, device: Floats, link: Floats, latency: Floats) -> Floats:
    """What the device draws during one request; 0 where its powers are not stated."""
    if table.power_w is None:
        return table.nothing
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
