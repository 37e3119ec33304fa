"""What it costs to deal a region, and to leave a stretch to one device: forecasts from profiles."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import msgspec
import numpy as np

from shoal.model.network import Network
from shoal.model.part import image_memory, node_memory, part_memory
from shoal.model.shards import Op, Region
from shoal.plan.cluster import Cluster
from shoal.plan.network import RangeProfile, tensor_bytes
from shoal.plan.profiles import Profiles

Held: TypeAlias = Mapping[str, float]
"""The share of each width that a device holds, by the width's name."""

MORE_NODES = 8
MORE_TENSORS = 4
"""What a shard of a sum has beside the nodes and the tensors of its region, at the most, and about
what one has whose filters are coded."""


@dataclass(frozen=True)
class Packing:
    """How slices travel: with ``codec``, so that ``ratio`` bytes are sent for each, for which this
    machine takes so many ms to pack and to unpack."""

    codec: str = "raw"
    ratio: float = 1.0
    pack_ms: float = 0.0
    unpack_ms: float = 0.0


RAW = Packing()


@dataclass(frozen=True)
class Ground:
    """A network, and the devices that share it. ``shares`` are those of the dealt units, with a sum
    of 1; ``rho`` is the share of units that all hold. Coded layers have ``blocks``, whatever the
    shares are. What is exchanged is packed by ``packing``. ``beside`` has what shards of a region
    (by key) were found to need beside the closed form, in bytes."""

    network: Network
    cluster: Cluster
    profiles: Profiles
    devices: tuple[str, ...]
    shares: tuple[float, ...]
    rho: float = 0.0
    blocks: int = 1
    packing: Packing = RAW
    beside: Mapping[tuple[int, int], float] = field(default_factory=dict)

    @cached_property
    def narrow(self) -> frozenset[int]:
        """The places that one tensor crosses: what crosses others goes from devices that all have
        it to the same ones only. The two ends count."""
        cuts = (cut.at for cut in self.network.cuts if len(cut.tensors) == 1)
        return frozenset({0, len(self.network.nodes), *cuts})

    def without(self, lost: Collection[int]) -> Ground:
        """The same without these devices (by number)."""
        rest = [index for index in range(len(self.devices)) if index not in lost]
        return replace(
            self,
            devices=tuple(self.devices[index] for index in rest),
            shares=tuple(self.shares[index] for index in rest),
        )

    def held(self, index: int) -> float:
        """The share of the units that a device holds."""
        return self.rho + (1 - self.rho) * self.shares[index]

    def profile(self, device: str) -> RangeProfile:
        """The times of a device."""
        return self.profiles.device(device).network

    def compute_ms(self, region: Region) -> float:
        """How long the slowest device computes its shard of a region."""
        return max(
            self.shard_ms(region, device, self.evenly(region, k))
            for k, device in enumerate(self.devices)
        )

    def evenly(self, region: Region, index: int) -> dict[str, float]:
        """The share of each width that a device holds, the same of all."""
        if region.op is Op.CODED:
            return {
                width.name: math.ceil(width.units / self.blocks) / width.units
                for width in region.widths
            }
        return dict.fromkeys((width.name for width in region.widths), self.held(index))

    def shard_ms(self, region: Region, device: str, held: Held) -> float:
        """How long a device computes a shard with these shares of the widths."""
        profile = self.profile(device)
        node_ms = profile.node_ms
        nodes = range(region.start, region.end)
        away = {
            share.node: math.fsum(part * (1 - held[name]) for name, part in share.widths.items())
            for share in region.shares
        }
        run_ms = profile.range_ms(region.start, region.end)
        fixed_ms = max(0.0, run_ms - math.fsum(node_ms[node] for node in nodes))
        return fixed_ms + math.fsum(node_ms[node] * (1 - away.get(node, 0.0)) for node in nodes)

    def exchange_ms(self, region: Region) -> float:
        """How long the devices give each other their slices, and take those of the others; or give
        the gateway the answer."""
        itemsize = np.dtype(region.tensor.dtype).itemsize
        size = tensor_bytes([region.tensor])
        answers = self.answers(region)
        if region.op is Op.CHANNELS:
            size = math.ceil(size / itemsize * (1 - self.rho) * max(self.shares)) * itemsize
        elif region.op is Op.CODED:
            size = self.sent(region)
        elif answers:
            size *= 2  # what all have too
        if answers:
            return self._spread_ms(size, 1)
        others = len(self.devices) - 1
        return self._packed_ms(size, 1 + others) + self._spread_ms(
            size * self.packing.ratio, 2 * others
        )

    def sent(self, region: Region) -> int:
        """Bytes of a coded slice for one image, without what stays."""
        spec, axis = region.tensor, region.axis
        rest = msgspec.structs.replace(spec, shape=(*spec.shape[:axis], 1, *spec.shape[axis + 1 :]))
        return region.block(self.blocks) * tensor_bytes([rest])

    def answers(self, region: Region) -> bool:
        """Whether the network ends with a region."""
        return region.end == len(self.network.nodes)

    def alone_ms(self, start: int, end: int) -> float:
        """How long the quickest device runs a stretch and gives the others what it made; after the
        last node that is the answer."""
        run_ms = min(self.profile(device).range_ms(start, end) for device in self.devices)
        last = end == len(self.network.nodes)
        size = self.crossing(end)
        if last:
            return run_ms + self._spread_ms(size, 1)
        sent = size * self.packing.ratio
        return run_ms + self._packed_ms(size, 1) + self._spread_ms(sent, len(self.devices) - 1)

    def crossing(self, at: int) -> int:
        """Bytes for one image that leave a stretch which ends there."""
        if at == len(self.network.nodes):
            return tensor_bytes(self.network.outputs)
        return next(cut.bytes for cut in self.network.cuts if cut.at == at)

    def _packed_ms(self, size: float, taken: int) -> float:
        """How long the slowest device packs ``size`` bytes, and unpacks ``taken`` times as many."""
        here_ms = size * (self.packing.pack_ms + taken * self.packing.unpack_ms)
        return max(here_ms / self.cluster.node(name).speed for name in self.devices)

    def _spread_ms(self, size: float, messages: int) -> float:
        """The longest way of ``size`` bytes between two devices, and the handling of messages of
        such a size on the slowest."""
        pairs = [(a, b) for a in self.devices for b in self.devices if a != b]
        way = max((self.profiles.transfer_ms(a, b, size) for a, b in pairs), default=0.0)
        handling = max(self.profiles.device(name).handling_ms(size) for name in self.devices)
        return way + messages * handling

    def memory(self, region: Region, held: Held) -> float:
        """Bytes of a loaded shard with these shares of the widths, about; not less than it is."""
        away = (width.bytes * width.units * (1 - held[width.name]) for width in region.widths)
        spared = node_memory(math.ceil(math.fsum(away))) - node_memory(0)
        beside = self.beside.get(region.key)
        if beside is None:
            beside = 0
            if region.op is not Op.CHANNELS:  # it has nodes of its own, and its tensors again
                size = MORE_TENSORS * tensor_bytes([region.tensor])
                beside = MORE_NODES * node_memory(0) + image_memory(size)
        return self.memory_alone(region.start, region.end) - spared + beside

    def memory_alone(self, start: int, end: int) -> float:
        """Bytes of a loaded stretch."""
        nodes = sum(self.network.node_memory_bytes[start:end])
        return part_memory(nodes, max(self.network.node_peak_bytes[start:end]))


def shares_of(speeds: Sequence[float], rooms: Sequence[float], dealt_bytes: float) -> list[float]:
    """The shares of devices by their speeds, none larger than the bytes for which it has room; what
    one has no room for goes to the others. Where nobody has room they are as far over it as each
    other."""
    shares = [0.0] * len(speeds)
    free = set(range(len(speeds)))
    left = 1.0
    while free and left > 1e-12:
        total = math.fsum(speeds[k] for k in free)
        wanted = {k: left * speeds[k] / total for k in free}
        caps = {k: max(0.0, rooms[k] / dealt_bytes) if dealt_bytes > 0 else 1.0 for k in free}
        over = [k for k in free if wanted[k] > caps[k]]
        if not over:
            for k, share in wanted.items():
                shares[k] = share
            break
        for k in over:
            shares[k] = caps[k]
            left -= caps[k]
            free.discard(k)
    total = math.fsum(shares)
    return [share / total for share in shares] if total > 0 else [1 / len(shares)] * len(shares)
