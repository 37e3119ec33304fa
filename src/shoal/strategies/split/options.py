"""The plans that may be made: each place and way to pack, before there are parts and a playbook."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shoal.plan.cluster import Cluster
from shoal.plan.network import Network, tensor_bytes
from shoal.plan.profiles import HOP_MS, DeviceProfile, Profiles
from shoal.strategies.split.calibration import Calibration, Entry
from shoal.strategies.split.choice import Wish, allowed, best
from shoal.strategies.split.codings import HALF, LOSSLESS
from shoal.strategies.split.cuts import Place
from shoal.strategies.split.table import Facts, LinkSetting, Table, costs, stated, with_goodput

FRAME_BYTES = 150
"""Bytes of a frame beside its tensors, about, where nothing was measured."""


STAGE_MS = 2.2
"""What a stage costs the device beside the run itself,"""
CROSSING_MS = 1.1
"""what it costs to send something on beside the two messages,"""
PACKING_MS = 0.5
"""what it costs to pack it beside the time that this takes with warm caches, and"""
SENT_BYTES_PER_S = 2e8
"""how many bytes are sent in a second of CPU time. All for a device of speed 1 that is the gateway
and a worker at once and, with a few images a second, finds its caches cold each time: fitted to the
CPU time for an image of a host with 5 to 20 % of a core (``shoal bench split.grid``, rows
``device``)."""


@dataclass(frozen=True)
class Option:
    """A plan that may be made: cut at ``at`` (None: the device alone), what crosses packed with
    ``codec``. ``pack_ms`` and ``unpack_ms`` are those of the machine that calibrated, on which
    the whole network takes ``whole_ms`` (0: not measured)."""

    name: str
    at: int | None
    codec: str = "raw"
    exact: bool = True
    accuracy: float = 1.0
    bytes: float = 0.0
    pack_ms: float = 0.0
    unpack_ms: float = 0.0
    entry: Entry | None = None


@dataclass(frozen=True)
class Ground:
    """The network between a device (the gateway's own) and its servers."""

    network: Network
    cluster: Cluster
    profiles: Profiles
    servers: tuple[str, ...]
    whole_ms: float = 0.0

    @property
    def device(self) -> str:
        """The device's name."""
        return self.cluster.gateway.name

    @property
    def nodes(self) -> int:
        """Number of the network's nodes."""
        return len(self.profiles.device(self.device).network.node_ms)

    def run_ms(self, device: str, first: int, last: int) -> float:
        """How long a device computes a stretch."""
        return self.profiles.device(device).network.range_ms(first, last) if first < last else 0.0

    def there(self, device: str, ms: float) -> float:
        """How long ``ms`` of the machine that calibrated take on a device."""
        if self.whole_ms <= 0:
            return ms
        return ms * self.run_ms(device, 0, self.nodes) / self.whole_ms

    def sending_ms(self, option: Option) -> float:
        """The device's time for packing what crosses the link and for its bytes."""
        beside = PACKING_MS if option.codec != "raw" else 0.0
        beside += option.bytes / SENT_BYTES_PER_S * 1e3
        speed: float = self.cluster.gateway.speed
        return self.there(self.device, option.pack_ms) + beside / speed

    def message_ms(self, device: str) -> float:
        """What the two messages of a request (there and back) cost a device, bytes apart."""
        profile: DeviceProfile = self.profiles.device(device)
        return 2 * profile.message_ms

    def links(self) -> dict[str, LinkSetting]:
        """The way to each server and back."""
        found = {}
        for name in self.servers:
            up, down = self.profiles.link(self.device, name), self.profiles.link(name, self.device)
            found[name] = LinkSetting(up.bytes_per_s, down.bytes_per_s, up.rtt_ms, HOP_MS)
        return found

    def facts(self) -> Facts:
        """The facts when nothing was measured at run time."""
        return stated(self.servers, self.links())

    def power_w(self) -> tuple[float, float, float] | None:
        """What the device draws."""
        power = self.cluster.gateway.power
        return None if power is None else (power.idle_w, power.busy_w, power.transmit_w)

    def table(self, options: Sequence[Option]) -> Table:
        """The options as columns."""
        end = self.nodes
        ats = [end if option.at is None else option.at for option in options]
        speed = self.cluster.gateway.speed
        return Table(
            names=tuple(option.name for option in options),
            device_ms=np.array([self.run_ms(self.device, 0, at) for at in ats]),
            pack_ms=np.array([self.sending_ms(option) for option in options]),
            bytes=np.array([option.bytes for option in options]),
            server_ms=np.array(
                [[self.run_ms(name, at, end) for name in self.servers] for at in ats]
            ),
            unpack_ms=np.array(
                [[self.there(n, option.unpack_ms) for n in self.servers] for option in options]
            ),
            accuracy=np.array([option.accuracy for option in options]),
            here=np.array([at > 0 for at in ats]),
            answer_bytes=tensor_bytes(self.network.outputs) + FRAME_BYTES,
            device_message_ms=self.message_ms(self.device) + CROSSING_MS / speed,
            device_stage_ms=STAGE_MS / speed,
            server_message_ms=max(map(self.message_ms, self.servers), default=0.0),
            power_w=self.power_w(),
        )


def options(
    device: str, places: Sequence[Place], found: Calibration | None, confidence: float, least: float
) -> list[Option]:
    """The device alone, the image as it is to a server, and all that keeps ``least`` of the
    accuracy; without a calibration nothing is rounded or compressed."""
    made = [Option(f"only {device}", None), _raw(places[0])]
    if found is None:
        return [*made, *(_raw(place) for place in places[1:])]
    for entry in found.entries:
        accuracy = entry.accuracy(confidence)
        if accuracy < least or (entry.at == 0 and entry.codec == "raw"):
            continue
        made.append(
            Option(
                name=_named(entry, {option.name for option in made}),
                at=entry.at,
                codec=entry.codec,
                exact=entry.exact,
                accuracy=accuracy,
                bytes=entry.bytes_mean,
                pack_ms=entry.pack_ms,
                unpack_ms=entry.unpack_ms,
                entry=entry,
            )
        )
    return made


def _raw(place: Place) -> Option:
    name = f"cut {place.at}, raw" if place.at else "image, raw"
    return Option(name, place.at, bytes=place.raw_bytes + FRAME_BYTES)


def _named(entry: Entry, taken: set[str]) -> str:
    """A name that tells cut and bits; a second way to compress the same is a quick one."""
    place = f"cut {entry.at}" if entry.at else "image"
    how = f"{entry.bits} bits"
    if entry.bits == LOSSLESS:
        how = "raw" if entry.codec == "raw" else "lossless"
    elif entry.bits == HALF:
        how = "16 bits"
    elif entry.codec.startswith("jpeg"):
        how = entry.how
    name = f"{place}, {how}"
    words = itertools.chain(("", " quick"), (f" {k}" for k in itertools.count(3)))
    return next(name + word for word in words if name + word not in taken)


SPEEDS = (1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
IMAGES = (1, 8)
BANDWIDTHS = tuple(float(mbit) * 1e6 / 8 for mbit in np.geomspace(0.1, 1000, 33))


def useful(ground: Ground, made: Sequence[Option], wish: Wish) -> dict[int, int]:
    """The options that are the best for some goodput (0.1 to 1000 Mbit/s), for device and server a
    quarter to eight times as slow as forecast, and for one image or eight in a request: how often,
    by index."""
    table, usual = ground.table(made), ground.facts()
    counts: dict[int, int] = {}
    circumstances = itertools.product(SPEEDS, SPEEDS, BANDWIDTHS, IMAGES)
    for slow, server_slow, goodput, images in circumstances:
        linked = with_goodput(usual, goodput).servers
        servers = tuple(server._replace(slow=server_slow) for server in linked)
        found = costs(table, Facts(slow, 0.0, servers, images=images))
        row = best(found, wish, allowed(found, wish).plans)
        counts[row] = counts.get(row, 0) + 1
    return counts
