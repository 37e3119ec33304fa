"""Finds out how fast the devices and links of a cluster are, for one network."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable

from shoal.core.messages import DeviceInfo
from shoal.errors import MeshError, ShoalError
from shoal.mesh.link import Link
from shoal.model.engine import Engine
from shoal.model.network import Network
from shoal.model.profiles import NetworkProfile, profile
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.plan.profiles import DeviceProfile, LinkProfile, Profiles, Scaled
from shoal.runtime.deploy import open_link
from shoal.runtime.node import Node, make_node

log = logging.getLogger("shoal")

APPEAR_S = 2.0


def survey(
    network: Network,
    cluster: Cluster,
    *,
    store: PartStore | None = None,
    link: Link | None = None,
    appear_s: float = APPEAR_S,
    progress: Callable[[str], None] = lambda text: None,
) -> Profiles:
    """Profiles of every device and link of ``cluster`` for ``network``.

    This machine's profile tells how the time is spread over the network; every device that can be
    reached within ``appear_s`` runs the whole network a few times, which scales it, and its link
    is measured. For devices that cannot be reached, what the cluster file states is used.
    """
    progress("profiling the network on this machine")
    measured = profile(network, threads=cluster.gateway.threads, provider=cluster.gateway.provider)
    if not any(device.address for device in cluster.devices):
        return Profiles.scaled(cluster, measured)
    store = store or PartStore()
    (whole,) = network.split(())
    store.add_part(whole)
    engine = Engine(cluster.gateway.threads, cluster.gateway.provider)
    node = make_node(link or open_link(cluster, f"{cluster.gateway.name}-survey"), store, engine)
    node.start()
    try:
        present = _appear(node, cluster, appear_s)
        known: dict[str, DeviceProfile] = {}
        links: dict[tuple[str, str], LinkProfile] = {}
        for name in cluster.names:
            if name not in present:
                log.warning("%s is not there: its stated speed and link are used", name)
                continue
            progress(f"measuring {name}")
            try:
                known[name] = _device(node, name, network, measured)
                times = node.prober.link(name)
            except ShoalError as error:
                log.warning("%s; its stated speed and link are used", error)
                continue
            way = LinkProfile(times.rtt_ms, times.bytes_per_s)
            links[cluster.gateway.name, name] = links[name, cluster.gateway.name] = way
    finally:
        node.close()
    return Profiles.scaled(cluster, measured, links, known)


def _appear(node: Node, cluster: Cluster, appear_s: float) -> set[str]:
    """The devices that show up in time."""
    end = time.monotonic() + appear_s
    wanted = set(cluster.names)
    while wanted - set(node.link.peers()) and time.monotonic() < end:
        time.sleep(0.02)
    for name, why in node.strangers.items():
        raise MeshError(f"{name} {why}")
    return wanted & set(node.link.peers())


def _device(node: Node, name: str, network: Network, measured: NetworkProfile) -> DeviceProfile:
    """A device's profile: this machine's, scaled to the time of the whole network there."""
    (whole,) = network.split(())
    shapes = {
        spec.name: (spec.dtype, tuple(1 if side is None else side for side in spec.shape))
        for spec in network.inputs
    }
    times = node.prober.device(name, whole.hash, whole.info, shapes)
    return DeviceProfile(Scaled(measured, measured.whole_ms / statistics.median(times)))


def device_info(node: Node, name: str) -> DeviceInfo | None:
    """What a peer said of itself."""
    peer = node.ask(lambda: node.worker.members.get(name))
    return peer.info if peer is not None else None
