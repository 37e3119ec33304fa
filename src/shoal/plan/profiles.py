"""How fast the devices and links of a cluster are, for one network: the facts of planning.

Who measures them is not our business; :meth:`Profiles.scaled` makes them from one measured
profile and what the cluster file states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from shoal.errors import PlanError
from shoal.plan.cluster import Cluster
from shoal.plan.network import RangeProfile

MESSAGE_MS = 0.3
"""CPU time that a message costs a worker, beside its copy. In a process that does nothing else it
is half of that (small network, loopback); beside a part that computes, which finds its caches and
its core taken, so much (what two workers on two cores lose, ``shoal bench foundation.pipelines``).
"""
GATEWAY_MESSAGE_MS = 0.45
"""The same at the gateway, which also keeps the request and hands over the answer."""
COPY_BYTES_PER_S = 1e9
"""Rate at which one end deals with the bytes of a message (two copies in Python)."""
HOP_MS = 0.4
"""Time from the end of a part to the start of the next on another device, bytes apart: half of it
at each of the two. All of these are of a machine of speed 1."""


class LinkProfile(msgspec.Struct, frozen=True):
    """One direction of a link: round trip and goodput."""

    rtt_ms: float
    bytes_per_s: float

    def occupied_ms(self, size: float) -> float:
        """How long ``size`` bytes keep the link busy."""
        return size / self.bytes_per_s * 1e3


@dataclass(frozen=True)
class DeviceProfile:
    """A device: its times for the network, what a message costs it, and its share of the fixed
    time of a hop. ``batch_ratio`` is the time of an image when so many are run at once, relative to
    one alone (empty: not known)."""

    network: RangeProfile
    message_ms: float = MESSAGE_MS
    copy_bytes_per_s: float = COPY_BYTES_PER_S
    batch_ratio: Mapping[int, float] = field(default_factory=dict)
    hop_ms: float = HOP_MS / 2

    @classmethod
    def scaled(
        cls,
        measured: RangeProfile,
        speed: float,
        batch_ratio: Mapping[int, float] | None = None,
        message_ms: float = MESSAGE_MS,
    ) -> DeviceProfile:
        """A device that is ``speed`` times as fast as the measured one, of speed 1. What is slow
        for networks is so for messages too; what is quick may be so by a GPU, which does nothing
        for these."""
        pace = min(1.0, speed)
        return cls(
            Scaled(measured, speed),
            message_ms / pace,
            COPY_BYTES_PER_S * pace,
            batch_ratio or {},
            HOP_MS / 2 / pace,
        )

    def handling_ms(self, size: float) -> float:
        """CPU time to send or to receive one message of ``size`` bytes."""
        return self.message_ms + size / self.copy_bytes_per_s * 1e3


@dataclass(frozen=True)
class Scaled:
    """A profile of a device that is ``speed`` times as fast as the measured one."""

    measured: RangeProfile
    speed: float

    @property
    def node_ms(self) -> tuple[float, ...]:
        return tuple(ms / self.speed for ms in self.measured.node_ms)

    def range_ms(self, start: int, end: int) -> float:
        return self.measured.range_ms(start, end) / self.speed

    def range_memory(self, start: int, end: int) -> int:
        return self.measured.range_memory(start, end)


@dataclass(frozen=True)
class Profiles:
    """The facts of one network on one cluster: ``devices`` by name (the gateway too), ``links``
    by (giver, taker)."""

    devices: Mapping[str, DeviceProfile]
    links: Mapping[tuple[str, str], LinkProfile] = field(default_factory=dict)

    @classmethod
    def scaled(
        cls,
        cluster: Cluster,
        measured: RangeProfile,
        links: Mapping[tuple[str, str], LinkProfile] | None = None,
        known: Mapping[str, DeviceProfile] | None = None,
        batch_ratio: Mapping[int, float] | None = None,
    ) -> Profiles:
        """Profiles for every node of ``cluster``: those in ``known`` and ``links`` as measured,
        the others from one profile (of speed 1.0, with its ``batch_ratio``) and the cluster's
        stated speeds and rates."""
        devices = {
            node.name: DeviceProfile.scaled(measured, node.speed, batch_ratio)
            for node in cluster.devices
        }
        gateway = cluster.gateway
        devices[gateway.name] = DeviceProfile.scaled(
            measured, gateway.speed, batch_ratio, GATEWAY_MESSAGE_MS
        )
        return cls({**devices, **(known or {})}, _Stated(cluster, links or {}))

    def over(self, cluster: Cluster, same: Mapping[str, str]) -> Profiles:
        """What is known of devices, for a cluster whose nodes are the ``same`` as nodes here; of
        its links what it states."""
        devices = {name: self.device(of) for name, of in same.items()}
        return Profiles(devices, _Stated(cluster, {}))

    def device(self, name: str) -> DeviceProfile:
        """The profile of a device; PlanError when there is none."""
        try:
            return self.devices[name]
        except KeyError:
            raise PlanError(
                f"nothing is known of the speed of {name!r}; measure it with 'shoal profile' or "
                "state its 'speed' in the cluster file"
            ) from None

    def transfer_ms(self, giver: str, taker: str, size: float) -> float:
        """From the end of a part to the start of the next on another device; PlanError where
        nothing is known of one of them, or of the link."""
        link = self.link(giver, taker)
        ends = self.device(giver).hop_ms + self.device(taker).hop_ms
        return ends + link.rtt_ms / 2 + link.occupied_ms(size)

    def link(self, giver: str, taker: str) -> LinkProfile:
        """The profile of a link; PlanError when there is none."""
        try:
            return self.links[giver, taker]
        except KeyError:
            raise PlanError(
                f"nothing is known of the link from {giver!r} to {taker!r}; state it under "
                "'links' in the cluster file"
            ) from None


class _Stated(dict[tuple[str, str], LinkProfile]):
    """Measured links; any other is made from the cluster file when first asked for (a thousand
    devices have a million pairs)."""

    def __init__(self, cluster: Cluster, measured: Mapping[tuple[str, str], LinkProfile]) -> None:
        super().__init__(measured)
        self._cluster = cluster

    def __missing__(self, pair: tuple[str, str]) -> LinkProfile:
        rate = self._cluster.rate(*pair)
        link = LinkProfile(rtt_ms=rate.rtt_ms, bytes_per_s=rate.mbit_s * 1e6 / 8)
        self[pair] = link
        return link
