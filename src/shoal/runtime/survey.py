"""Finds out how fast the devices and links of a cluster are, for one network."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from shoal.core.messages import DeviceInfo
from shoal.errors import ShoalError, VersionError
from shoal.mesh.link import Link
from shoal.model.engine import Engine
from shoal.model.network import Network
from shoal.model.profiles import NetworkProfile, profile
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.plan.profiles import DeviceProfile, LinkProfile, Profiles, Scaled
from shoal.plan.size import Size
from shoal.runtime.deploy import open_link
from shoal.runtime.machine import make_node
from shoal.runtime.node import Node
from shoal.runtime.probe import LinkTimes

log = logging.getLogger("shoal")

APPEAR_S = 2.0
BATCH_S = 0.3
"""How long a device runs the network for each size of a batch."""
STOPPED = 1.5
"""The mean of times over their median from which on a device is taken to be stopped again and
again."""
MAX_MESH = 8
"""Devices whose links with each other are all measured."""


@dataclass(frozen=True)
class Survey:
    """What was found: the facts for planning, and the cluster with the memory limits that its
    devices state where the file states none."""

    profiles: Profiles
    cluster: Cluster


def survey(
    network: Network,
    cluster: Cluster,
    *,
    store: PartStore | None = None,
    link: Link | None = None,
    appear_s: float = APPEAR_S,
    progress: Callable[[str], None] = lambda text: None,
) -> Survey:
    """Profiles of every device and link of ``cluster`` for ``network``.

    This machine's profile tells how the time is spread over the network; every device that can be
    reached within ``appear_s`` runs the whole network for a second, which scales it, and for
    several images at once, where they stack, to see whether that pays. Its
    links are measured (those between devices while there are at most ``MAX_MESH`` of them). For
    what cannot be measured, what the cluster file states is used.
    """
    progress("profiling the network on this machine")
    measured = profile(network, threads=cluster.gateway.threads, provider=cluster.gateway.provider)
    if not any(device.address for device in cluster.devices):
        facts = Profiles.scaled(cluster, measured, batch_ratio=measured.batch_ratio)
        return Survey(facts, cluster)
    store = store or PartStore()
    (whole,) = network.split(())
    store.add_part(whole)
    engine = Engine(cluster.gateway.threads, cluster.gateway.provider)
    node = make_node(link or open_link(cluster, f"{cluster.gateway.name}-survey"), store, engine)
    node.start()
    try:
        present = _appear(node, cluster, appear_s)
        known: dict[str, DeviceProfile] = {}
        for name in present:
            progress(f"measuring {name}")
            with _or_stated():
                known[name] = _device(node, name, network, measured)
        progress("measuring links")
        links = _links(node, cluster.gateway.name, present)
        found = _with_memory(node, cluster)
    finally:
        node.close()
    facts = Profiles.scaled(found, measured, links, known, measured.batch_ratio)
    return Survey(facts, found)


def _links(node: Node, gateway: str, present: Sequence[str]) -> dict[tuple[str, str], LinkProfile]:
    """The links from and to the gateway, and those between the devices if they are not many."""
    links: dict[tuple[str, str], LinkProfile] = {}
    takers = (gateway, *present) if len(present) <= MAX_MESH else (gateway,)
    for name in present:
        with _or_stated():
            links[gateway, name] = _profile(node.prober.link(name))
        for taker in takers:
            if taker != name:
                with _or_stated():
                    real = node.name if taker == gateway else taker
                    links[name, taker] = _profile(node.prober.way(name, real))
    return links


def _profile(times: LinkTimes) -> LinkProfile:
    return LinkProfile(times.rtt_ms, times.bytes_per_s)


@contextmanager
def _or_stated() -> Iterator[None]:
    """Go on with what the cluster file states when something cannot be measured."""
    try:
        yield
    except ShoalError as error:
        log.warning("%s; what the cluster file states is used", error)


def _with_memory(node: Node, cluster: Cluster) -> Cluster:
    """The cluster with the devices' own memory limits where it states none, or more than they
    have."""
    devices = []
    for device in cluster.devices:
        info = device_info(node, device.name)
        if info is not None and 0 < info.memory < (device.memory or math.inf):
            device = msgspec.structs.replace(device, memory=Size(info.memory))
        devices.append(device)
    fields = {name: getattr(cluster, name) for name in Cluster.__struct_fields__}
    return Cluster(**{**fields, "devices": tuple(devices)})


def _appear(node: Node, cluster: Cluster, appear_s: float) -> tuple[str, ...]:
    """The devices that show up in time, and say who they are.

    Raises VersionError when one of them speaks another version.
    """
    end = time.monotonic() + appear_s
    wanted = set(cluster.names)
    while time.monotonic() < end and any(device_info(node, name) is None for name in wanted):
        for name in sorted(wanted & node.strangers.keys()):
            raise VersionError(f"{name} {node.strangers[name]}")
        time.sleep(0.02)
    present = set(node.link.peers())
    for name in sorted(wanted - present):
        log.warning("%s is not there: its stated speed and link are used", name)
    return tuple(name for name in cluster.names if name in present)


def _device(node: Node, name: str, network: Network, measured: NetworkProfile) -> DeviceProfile:
    """A device's profile: this machine's, scaled to the time of the whole network there."""
    (whole,) = network.split(())

    def run_ms(count: int, seconds: float) -> float:
        shapes = {
            spec.name: (spec.dtype, tuple(count if side is None else side for side in spec.shape))
            for spec in network.inputs
        }
        times = node.prober.device(name, whole.hash, whole.info, shapes, seconds=seconds)
        return sustained_ms(times)

    one_ms = run_ms(1, 1.0)
    info = device_info(node, name)
    room = info.memory if info is not None and info.memory else math.inf
    # There are ratios only where images stack, so the batch is what is free.
    batches = [n for n in measured.batch_ratio if n * whole.info.memory <= room]
    ratio = {n: run_ms(n, BATCH_S) / n / one_ms for n in batches}
    return DeviceProfile(Scaled(measured, measured.whole_ms / one_ms), batch_ratio=ratio)


def sustained_ms(times: Sequence[float]) -> float:
    """The time of a run when one follows the other: the median, which a single disturbance leaves
    alone; the mean on a device that is stopped again and again, as where a quota gives it only a
    share of a core: most of its runs fall between two stops."""
    median, mean = statistics.median(times), statistics.fmean(times)
    return mean if mean > STOPPED * median else median


def device_info(node: Node, name: str) -> DeviceInfo | None:
    """What a peer said of itself."""
    peer = node.ask(lambda: node.worker.members.get(name))
    return peer.info if peer is not None else None
