"""Clusters of more or fewer devices: what would be, had somebody bought them."""

from __future__ import annotations

import msgspec

from shoal.plan.cluster import Cluster, Device, Links, Pair

replace = msgspec.structs.replace


def fleet(cluster: Cluster, count: int) -> tuple[Cluster, dict[str, str]]:
    """The first ``count`` devices of a cluster; where there are fewer, copies of the last one with
    it, each on a host of its own and with links as the last one has. Beside it whose copy each of
    the nodes is (the others are their own)."""
    devices = list(cluster.devices[:count])
    gateway, last = cluster.gateway, cluster.devices[-1]
    same = {node.name: node.name for node in (*devices, gateway)}
    while len(devices) < count:
        name = _free(last.name, {*cluster.names, *same})
        devices.append(replace(last, name=name, address=None, data_port=None, host=None))
        same[name] = last.name
    copies = [name for name, of in same.items() if name != of]
    pairs = [p for p in cluster.links.pairs if {p.first, p.second} <= same.keys()]
    pairs += [_copied(p, last, name) for p in pairs if _has(p, last) for name in copies]
    hosts = {node.host for node in (*devices, gateway)}
    fields = {name: getattr(cluster, name) for name in Cluster.__struct_fields__}
    fields |= {
        "devices": tuple(devices),
        "links": Links(cluster.links.default, tuple(pairs)),
        "hosts": {name: host for name, host in cluster.hosts.items() if name in hosts},
    }
    return Cluster(**fields), same


def _free(name: str, taken: set[str]) -> str:
    numbers = range(2, len(taken) + 3)
    return next(free for n in numbers if (free := f"{name[:56]}-{n}") not in taken)


def _has(pair: Pair, device: Device) -> bool:
    return device.name in (pair.first, pair.second)


def _copied(pair: Pair, last: Device, name: str) -> Pair:
    if pair.first == last.name:
        return replace(pair, first=name)
    return replace(pair, second=name)
