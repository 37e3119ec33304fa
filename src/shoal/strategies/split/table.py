"""The plans of a playbook as columns, what they cost on given facts, and nothing else.

For the plan that cuts at ``c`` and packs to ``b`` bits (docs/split.md)::

    T_dev = k_d * (time before the cut + packing) + messages and running a stage
    T_net = rtt + bytes / goodput          (and the answer's way back)
    T_srv = k_s * (unpacking + time after the cut)

latency is their sum and the queues on the way, throughput 1 / the largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


Amount: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e300)]
"""What is no negative number, and finite, when it is read."""

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

    # What does not change from request to request is laid out once.

    @cached_property
    def crosses(self) -> Flags:
        """Which plans need a server."""
        return np.asarray(self.bytes > 0)

    @cached_property
    def features(self) -> Floats:
        """For each server (a made-up one where there is none) what its facts are multiplied with,
        one row each (see :func:`_weights`)."""
        crosses = self.crosses.astype(np.float64)
        here = self.here.astype(np.float64)
        beside = crosses * self.device_message_ms + here * self.device_stage_ms
        own = self.device_ms + self.pack_ms
        away = np.where(self.crosses[:, None], self.unpack_ms + self.server_ms, 0.0)
        away = np.where(np.isfinite(away), away, 0.0)
        columns = away.T if away.size else np.zeros((1, len(own)))
        return np.stack([(own, beside, self.bytes, each, crosses, here) for each in columns])

    @cached_property
    def local(self) -> Flags:
        """Which plans need no server."""
        return ~self.crosses

    @cached_property
    def able(self) -> Flags:
        """Which plans can be followed with each server (one row each)."""
        if not self.server_ms.size:
            return self.local[None]
        return np.asarray(self.local | np.isfinite(self.server_ms.T))

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

    @cached_property
    def first(self) -> npt.NDArray[np.intp]:
        """The only server, for all plans."""
        return np.zeros(len(self.names), np.intp)


class LinkSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A link to a server as it was stated or measured when the playbook was built: goodput there
    and back in bytes/s, round trip, and the fixed time of a hop."""

    up: Annotated[float, msgspec.Meta(gt=0, le=1e300)]
    down: Annotated[float, msgspec.Meta(gt=0, le=1e300)]
    rtt_ms: Amount
    hop_ms: Amount


class ServerFacts(NamedTuple):
    """A server now: its slowdown and queue, how many times its computing time one image takes
    since others use it too (``crowd``), goodput to and from it in bytes/s, round trip, the fixed
    time of a hop, and whether it is to be had."""

    slow: float
    queue_ms: float
    crowd: float
    up: float
    down: float
    rtt_ms: float
    hop_ms: float
    usable: bool = True


NO_SERVER = ServerFacts(1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, False)


@dataclass(frozen=True)
class Facts:
    """What is the case now. ``slow`` and ``queue_ms`` are the device's slowdown and the work
    waiting there, ``images`` those in the request."""

    slow: float
    queue_ms: float
    servers: tuple[ServerFacts, ...]
    device_usable: bool = True
    images: int = 1


@dataclass(frozen=True)
class Costs:
    """What each plan costs: the latency of a request in ms; for each image of it ms between images,
    ms of the server, bytes, joules; and the ms of device and link. ``server`` is the index of the
    best server for each, ``usable`` which plans can be followed."""

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
    servers = facts.servers or (NO_SERVER,)
    weights = np.array([_weights(table, facts, server) for server in servers])
    if len(servers) == 1:
        rows = weights[0] @ table.features[0]
        period, server = rows[:4].max(axis=0), table.first
        usable = table.able[0] if servers[0].usable else table.local
    else:
        rows, period, server, usable = _several(table, servers, weights @ table.features)
    if not facts.device_usable:
        usable = usable & ~table.here
    device, link, _, _, working, latency = rows
    energy_j = _energy_j(table, device, link, latency)
    if facts.images > 1:
        period, working, energy_j, device, link = (
            column / facts.images for column in (period, working, energy_j, device, link)
        )
    return Costs(
        latency_ms=latency,
        period_ms=period,
        server_ms=working,
        bytes=table.all_bytes,
        energy_j=energy_j,
        lost=table.lost,
        device_ms=device,
        link_ms=link,
        server=server,
        usable=usable,
    )


_Weights: TypeAlias = tuple[tuple[float, ...], ...]


def _weights(table: Table, facts: Facts, server: ServerFacts) -> _Weights:
    """With the features of a table: the device's time, the link's, the server's as it counts for
    the time between images, the way back; the server's time, and the latency."""
    images, hello = facts.images, table.server_message_ms
    here, slow = images * facts.slow, images * server.slow
    sending, back = images * 1e3 / server.up, images * table.answer_bytes / server.down * 1e3
    fixed = hello + back + server.rtt_ms + 2 * server.hop_ms + server.queue_ms
    return (
        (here, 1.0, 0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, sending, 0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0, slow * server.crowd, hello * server.crowd, 0.0),
        (0.0, 0.0, 0.0, 0.0, max(back, LEAST_MS), 0.0),
        (0.0, 0.0, 0.0, slow, hello, 0.0),
        (here, 1.0, sending, slow, fixed, facts.queue_ms),
    )


def _several(
    table: Table, servers: Sequence[ServerFacts], each: Floats
) -> tuple[Floats, Floats, npt.NDArray[np.intp], Flags]:
    """Each plan goes to the server where it ends first; together they take one image after the
    other. The rows of ``each`` for that server, the time between images, the server, and which
    plans can be followed."""
    there = np.array([server.usable for server in servers])[:, None]
    usable = (table.able & there) | table.local
    server = np.where(usable, each[:, 5], np.inf).argmin(axis=0)
    rows: Floats = np.take_along_axis(each, server[None, None], axis=0)[0]
    rates = (usable / np.maximum(each[:, 1:4].max(axis=1), LEAST_MS)).sum(axis=0)
    with np.errstate(divide="ignore"):
        together = np.where(table.crosses, 1.0 / rates, 0.0)
    period: Floats = np.maximum(rows[0], together)
    return rows, period, server, np.asarray(usable.any(axis=0))


def _energy_j(table: Table, device: Floats, link: Floats, latency: Floats) -> Floats:
    """What the device draws during one request; 0 where its powers are not stated."""
    if table.power_w is None:
        return table.nothing
    idle_w, busy_w, transmit_w = table.power_w
    with np.errstate(invalid="ignore"):
        waiting = np.maximum(0.0, latency - device - link)
    joules: Floats = (busy_w * device + transmit_w * link + idle_w * waiting) / 1e3
    return joules


def stated(servers: Sequence[str], links: Mapping[str, LinkSetting]) -> Facts:
    """Facts when nothing was measured yet."""
    settings = (msgspec.structs.astuple(links[name]) for name in servers)
    return Facts(1.0, 0.0, tuple(ServerFacts(1.0, 0.0, 1.0, *setting) for setting in settings))


def with_goodput(facts: Facts, bytes_per_s: float) -> Facts:
    """The same with links that carry so much to their servers, and as much more or less back."""
    servers = (
        server._replace(up=bytes_per_s, down=server.down * bytes_per_s / server.up)
        for server in facts.servers
    )
    return replace(facts, servers=tuple(servers))
