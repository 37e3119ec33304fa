"""A playbook in place on the nodes of a world."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shoal.core.log import Step
from shoal.errors import ClusterError, PlanError
from shoal.plan.cluster import Cluster
from shoal.plan.plan import Playbook
from shoal.sim.forecasted import Forecasted, digests
from shoal.sim.handling import Handling
from shoal.sim.node import Node
from shoal.sim.wires import Wire
from shoal.sim.world import World

SETTLE_S = 1.0
READY_S = 60.0
"""Within so many seconds all devices must have loaded their parts."""
STEPS = 64
"""That nodes remember: nobody asks them."""

WireOf = Callable[[str, str], Wire]
Tap = Callable[[Node], Callable[[Step], None] | None]


def stated_wires(cluster: Cluster) -> WireOf:
    """The links as the cluster file states them."""

    def wire(giver: str, taker: str) -> Wire:
        rate = cluster.rate(giver, taker)
        return Wire(delay_s=rate.rtt_ms / 2e3, bytes_per_s=rate.mbit_s * 1e6 / 8)

    return wire


def serve(
    playbook: Playbook,
    engine: Forecasted,
    gateway: str,
    wires: WireOf,
    handling: Callable[[str], Handling],
    *,
    others: Iterable[str] = (),
    memory: Mapping[str, int] | None = None,
    lease_s: float = 0.4,
    tap: Tap | None = None,
) -> World:
    """A world in which a gateway serves a playbook, all parts of which are loaded. ``handling`` is
    what messages cost each node, ``memory`` the bytes that a device has for parts (absent: any).
    ``others`` are there as well, and do nothing.

    PlanError when some device cannot load its parts.
    """
    world = World(engine, wires, digest=digests, lease_s=lease_s, steps=STEPS)
    world.tap = tap
    for name in (gateway, *sorted({*playbook.devices, *others} - {gateway})):
        own: dict[str, Any] | None = {} if name == gateway else None
        info = {"memory": (memory or {}).get(name, 0)}
        world.add(name, info=info, gateway=own, handling=handling(name))
    world.run(SETTLE_S)
    world.adopt(gateway, playbook)
    core = world.gateway(gateway)
    world.run_until(lambda: not core.unready(playbook), READY_S)
    book = core.playbooks.get(playbook.id)
    missing = {} if book is None else core.usable.unusable(book)
    if missing:
        reasons = "; ".join(f"{name} {why}" for name, why in missing.items())
        raise PlanError(f"the playbook cannot be put in place: {reasons}; plan again")
    world.run(SETTLE_S)
    return world


def check_devices(playbook: Playbook, cluster: Cluster) -> None:
    """ClusterError for a playbook of another cluster."""
    unknown = sorted(playbook.devices - {*cluster.names, cluster.gateway.name})
    if unknown:
        raise ClusterError(
            f"the playbook was made for {', '.join(unknown)}, which the cluster {cluster.name!r} "
            "does not have; plan again for this cluster"
        )


class Cores:
    """The cores of hosts that several devices share: what begins while others run takes as much
    longer as the cores have to be shared by more threads."""

    def __init__(self, world: World, cluster: Cluster) -> None:
        self._world, self._cluster = world, cluster
        self._running: dict[str, list[tuple[float, int]]] = {}

    def shared(self, device: str, seconds: float) -> float:
        """By how much a run takes longer that begins now."""
        host, threads = self._cluster.host_of(device), self._cluster.node(device).threads
        now = self._world.now
        running = [each for each in self._running.get(host, []) if each[0] > now]
        wanted = threads + sum(count for _, count in running)
        factor = max(1.0, wanted / self._cluster.cores_of(host))
        self._running[host] = [*running, (now + seconds * factor, threads)]
        return factor
