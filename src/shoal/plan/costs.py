"""What every stretch of a network costs on every device, as arrays: the ground of the search.

Positions are the places where a stretch may begin or end: 0 is before the network, the last one
behind it, the others are its cuts. All arrays are indexed by position.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from shoal.plan.cluster import Cluster
from shoal.plan.network import Network, RangeProfile, tensor_bytes
from shoal.plan.profiles import DeviceProfile, LinkProfile, Profiles, Scaled

Floats: TypeAlias = npt.NDArray[np.float64]
Range: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Costs:
    """For each device ``d`` and stretch from position ``i`` to ``j``, infinite where it cannot be
    (``j <= i``, or not enough memory):

    ``run_ms[d][i, j]`` the time to compute it, ``busy_ms[d][i, j]`` this and the handling of its
    messages, ``memory[d][i, j]`` the bytes to add on the device. ``link_ms[g, d][i]`` is how long
    the link from ``g`` is busy with what crosses position ``i``, ``hop_ms[g, d][i]`` how long that
    takes to arrive; index -1 is the gateway.
    """

    devices: tuple[str, ...]
    hosts: tuple[str, ...]
    positions: tuple[int, ...]
    run_ms: tuple[Floats, ...]
    busy_ms: tuple[Floats, ...]
    memory: tuple[Floats, ...]
    link_ms: Mapping[tuple[int, int], Floats]
    hop_ms: Mapping[tuple[int, int], Floats]

    @property
    def end(self) -> int:
        """The position behind the network."""
        return len(self.positions) - 1


def measure(
    network: Network,
    cluster: Cluster,
    profiles: Profiles,
    devices: Sequence[str],
    room: Mapping[str, float],
    held: Mapping[str, Collection[Range]] | None = None,
) -> Costs:
    """The costs of ``network`` on ``devices``. ``room`` is the memory that each still has for
    parts, in bytes (absent: any); a range (of nodes) that it holds already needs none."""
    held = held or {}
    ends = [0, *(cut.at for cut in network.cuts), len(profiles.device(devices[0]).network.node_ms)]
    sizes = np.array(
        [
            tensor_bytes(network.inputs),
            *(cut.bytes for cut in network.cuts),
            tensor_bytes(network.outputs),
        ],
        np.float64,
    )
    gateway = cluster.gateway.name
    tables: dict[tuple[int, str], Floats] = {}
    run, busy, memory = [], [], []
    for name in devices:
        profile = profiles.device(name)
        run_ms = _table(profile.network, "range_ms", ends, tables)
        need = _table(profile.network, "range_memory", ends, tables)
        for first, last in held.get(name, ()):
            if first in ends and last in ends:
                need = need.copy()
                need[ends.index(first), ends.index(last)] = 0.0
        fits = need <= room.get(name, np.inf)
        run.append(np.where(fits, run_ms, np.inf))
        busy.append(run[-1] + _handling_ms(profile, sizes, name == gateway))
        memory.append(np.where(fits, need, np.inf))
    links, hops = _links([*devices, gateway], sizes, profiles)
    return Costs(
        devices=tuple(devices),
        hosts=tuple(cluster.host_of(name) for name in devices),
        positions=tuple(ends),
        run_ms=tuple(run),
        busy_ms=tuple(busy),
        memory=tuple(memory),
        link_ms=links,
        hop_ms=hops,
    )


def _table(
    profile: RangeProfile, what: str, ends: Sequence[int], tables: dict[tuple[int, str], Floats]
) -> Floats:
    """What a profile says (``range_ms`` or ``range_memory``) of all stretches; devices that are
    scaled from one profile share its table."""
    if isinstance(profile, Scaled):
        table = _table(profile.measured, what, ends, tables)
        return table / profile.speed if what == "range_ms" else table
    key = (id(profile), what)
    if key not in tables:
        table = np.full((len(ends), len(ends)), np.inf)
        look_up = getattr(profile, what)
        for i, first in enumerate(ends):
            for j in range(i + 1, len(ends)):
                table[i, j] = look_up(first, ends[j])
        tables[key] = table
    return tables[key]


def _handling_ms(profile: DeviceProfile, sizes: Floats, is_gateway: bool) -> Floats:
    """CPU time for the messages of a stretch from i to j. The gateway keeps what begins or ends
    with it, and has to send the input and take the answer where they do not."""
    message = profile.message_ms + sizes / profile.copy_bytes_per_s * 1e3
    taking, giving = message.copy(), message.copy()
    if is_gateway:
        taking += message[0]
        giving += message[-1]
        taking[0] = giving[-1] = 0.0
    handling: Floats = taking[:, None] + giving[None, :]
    return handling


def _links(
    nodes: Sequence[str], sizes: Floats, profiles: Profiles
) -> tuple[dict[tuple[int, int], Floats], dict[tuple[int, int], Floats]]:
    links, hops = {}, {}
    gateway = len(nodes) - 1
    for g, giver in enumerate(nodes):
        for t, taker in enumerate(nodes):
            key = (g if g < gateway else -1, t if t < gateway else -1)
            if giver == taker:
                links[key] = hops[key] = np.zeros_like(sizes)
            else:
                link: LinkProfile = profiles.link(giver, taker)
                links[key] = sizes / link.bytes_per_s * 1e3
                hops[key] = links[key] + profiles.transfer_ms(giver, taker, 0)
    return links, hops
