"""From a playbook and a cluster to a service: open the mesh, install the parts, begin to serve."""

from __future__ import annotations

import logging
from pathlib import Path

from shoal.core.gateway.gateway import GatewayCore
from shoal.core.settings import GatewaySettings
from shoal.errors import ClusterError, StoreError
from shoal.mesh.link import Link
from shoal.model.engine import Engine
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.plan.plan import Playbook
from shoal.runtime.body import digests
from shoal.runtime.node import Node
from shoal.runtime.observer import added_observers
from shoal.runtime.service import DEADLINE_MS, Service

log = logging.getLogger("shoal")


def deploy(
    playbook: Playbook,
    cluster: Cluster,
    *,
    store: PartStore | None = None,
    link: Link | None = None,
    name: str | None = None,
    wait_s: float | None = None,
    deadline_ms: float = DEADLINE_MS,
    hedge_ms: float | None = None,
    record: str | Path | None = None,
) -> Service:
    """Bring a playbook to the devices of a cluster and serve it; use it in a ``with`` block.

    ``store`` holds the parts (default: the store that :func:`shoal.plan` writes to). Waits at
    most ``wait_s`` (default: the cluster's) until the devices have their parts, then serves with
    those that do; what is missing is logged and used when it comes. ``hedge_ms`` asks a second
    device when the first has not answered by then (off by default). ``link`` replaces the link
    that the cluster describes (tests: the in-process one). ``name`` is this gateway's on the mesh,
    in place of the cluster file's: several processes that serve one cluster need one each.
    ``record`` is a file for all that the gateway does, so that it can be played again
    (``shoal replay``).

    Raises ClusterError when the playbook names devices that the cluster does not have (or a gateway
    that is to have another name),
    StoreError when the store lacks parts, or ``record`` cannot be written, UnreachableError when no
    plan can be served, MeshError when the mesh cannot be joined.
    """
    known = {*cluster.names, cluster.gateway.name}
    unknown = sorted(playbook.devices - known)
    if unknown:
        raise ClusterError(
            f"the playbook was made for {', '.join(unknown)}, which the cluster {cluster.name!r} "
            f"does not have; plan again for this cluster"
        )
    if name is not None and name != cluster.gateway.name:
        _check_name(name, playbook, cluster)
    store = store or PartStore()
    if any(store.missing(part) for part in playbook.parts):  # devices fetch them from here
        raise StoreError(
            f"the parts of this playbook are not in {store.root} (SHOAL_CACHE); run shoal plan "
            "again on this machine"
        )
    link = link or open_link(cluster, name)
    device = cluster.gateway
    hedge_s = None if hedge_ms is None else hedge_ms / 1e3
    gateway = GatewayCore(link.name, GatewaySettings(hedge_s=hedge_s), digest=digests)
    node = Node(
        link,
        store,
        Engine(device.threads, device.provider),
        memory_limit=int(device.memory),
        gateway=gateway,
        record=record,
    )
    addresses = {device.name: device.address for device in cluster.devices if device.address}
    service = Service(playbook, node, deadline_ms, addresses)
    node.start()
    try:
        service.adopt(playbook)
        missing = service.wait_ready(cluster.wait_s if wait_s is None else wait_s)
    except BaseException:
        service.close()
        raise
    for name, why in missing.items():
        log.warning("serving without %s, at least for now: it %s", name, why)
    for observer in added_observers(service):
        service.add_observer(observer)
    return service


def _check_name(name: str, playbook: Playbook, cluster: Cluster) -> None:
    gateway = cluster.gateway.name
    if gateway in playbook.devices:
        raise ClusterError(
            f"the playbook runs parts on {gateway}, so its gateway cannot be called {name!r}; plan "
            "for the workers alone, or write that name into the cluster file and plan again"
        )
    if name in cluster.names:
        raise ClusterError(f"{name!r} is a device of the cluster; give the gateway another name")


def open_link(cluster: Cluster, name: str | None = None) -> Link:
    """The gateway's link as the cluster describes it."""
    from shoal.mesh.place import Place
    from shoal.mesh.zenoh import ZenohLink

    gateway = cluster.gateway
    return ZenohLink(
        name or gateway.name,
        listen=[gateway.address] if gateway.address else [],
        connect=[device.address for device in cluster.devices if device.address],
        lease_ms=cluster.lease_ms,
        data_port=cluster.data_port(gateway.name),
        known={name: Place(*at) for name, at in cluster.known().items()},
    )
