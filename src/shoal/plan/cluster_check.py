"""What is wrong with a cluster beyond the types of its fields: names, addresses, numbers, links."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from shoal.errors import ClusterError
from shoal.plan import size

if TYPE_CHECKING:
    from shoal.plan.cluster import Cluster, Device

MAX_DEVICES = 4096
MAX_NAME = 64

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}")
_ADDRESS = re.compile(
    r"(?:(?P<scheme>[a-z]+)/)?(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[A-Za-z0-9_.-]+):(?P<port>\d{1,5})"
)
SCHEMES = ("tcp",)
"""Encrypted ones come with certificates, which nothing here can be given yet."""


def normal_address(address: str) -> str | None:
    """``host:port`` or ``tcp/host:port`` as the latter; None when it is neither."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        return None
    scheme = match["scheme"] or "tcp"
    if scheme not in SCHEMES:
        return None
    return f"{scheme}/{match['host']}:{int(match['port'])}"


def split_address(address: str | None) -> tuple[str, int] | None:
    """Host (without brackets) and port of an address; None where there is none."""
    host, _, port = (address or "").rpartition("/")[2].rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else None


def check(cluster: Cluster) -> None:
    """Everything that types cannot say; ClusterError with the place."""
    if not cluster.devices:
        raise ClusterError("devices: is empty; list at least one device")
    if len(cluster.devices) > MAX_DEVICES:
        raise ClusterError(
            f"devices: holds {len(cluster.devices)}, at most {MAX_DEVICES} are allowed; "
            "make several clusters"
        )
    _positive("lease_ms", cluster.lease_ms)
    _positive("wait_s", cluster.wait_s)
    places = [(f"devices[{k}]", device) for k, device in enumerate(cluster.devices)]
    names: dict[str, str] = {}
    addresses: dict[str, str] = {}
    for place, node in [*places, ("gateway", cluster.gateway)]:
        _check_node(place, node, cluster)
        if node.name in names:
            raise ClusterError(
                f"{place}.name: {node.name!r} is also the name of {names[node.name]}; "
                "give every device and the gateway a name of its own"
            )
        names[node.name] = place
        address = node.address
        if address is None:
            continue
        if normal_address(address) is None:
            raise ClusterError(
                f"{place}.address: {address!r} is not an address; write it like "
                f"tcp/192.168.1.11:7447 or pi-1:7447 (kinds: {', '.join(SCHEMES)})"
            )
        if address in addresses:
            raise ClusterError(
                f"{place}.address: {address} is also the address of {addresses[address]}; "
                "give each device a port of its own"
            )
        addresses[address] = place
    _check_data_ports([*places, ("gateway", cluster.gateway)])
    for host, facts in cluster.hosts.items():
        _positive(f"hosts.{host}.cores", facts.cores)
        if host not in {node.host for node in (*cluster.devices, cluster.gateway)}:
            raise ClusterError(
                f"hosts.{host}: no device is on this host; set 'host: {host}' on its devices or "
                "remove it"
            )
    _check_links(cluster, names)


def _check_data_ports(places: list[tuple[str, Device]]) -> None:
    """No two nodes of a machine want the same port."""
    taken: dict[tuple[str, int], str] = {}
    for place, node in places:
        at = split_address(node.address)
        if at is not None:
            taken[at] = f"{place}.address"
    for place, node in places:
        port, at = node.data_port, split_address(node.address)
        if port is None:
            continue
        if not 0 <= port < 1 << 16:
            raise ClusterError(f"{place}.data_port: {port} is no port; write 1 to 65535, or 0")
        if at is None or not port:
            continue
        holder = taken.setdefault((at[0], port), f"{place}.data_port")
        if holder != f"{place}.data_port":
            raise ClusterError(
                f"{place}.data_port: {port} is also the port of {holder}; give each a port of its "
                "own (0: any free one)"
            )


def _check_node(place: str, node: Device, cluster: Cluster) -> None:
    if not _NAME.fullmatch(node.name):
        raise ClusterError(
            f"{place}.name: {node.name!r} is not a name; use 1 to {MAX_NAME} letters, digits, "
            "'-', '_' or '.', beginning with a letter or digit"
        )
    if not 1 <= node.threads <= 1024:
        raise ClusterError(
            f"{place}.threads: {node.threads} is not a number of threads; write 1 to 1024"
        )
    if not 0 <= node.memory < size.MAX:
        raise ClusterError(
            f"{place}.memory: {int(node.memory)} is not a size; write it like 900 MiB (0: no limit)"
        )
    if not node.provider or len(node.provider) > 100:
        raise ClusterError(
            f"{place}.provider: is not the name of an ONNX Runtime provider; "
            "write for example CPUExecutionProvider"
        )
    _positive(f"{place}.speed", node.speed)
    if not 0 < node.reliability <= 1:
        raise ClusterError(
            f"{place}.reliability: {node.reliability:g} is not a share of the time; write a number "
            "above 0, up to 1 (always there)"
        )
    if node.host is not None:
        if not _NAME.fullmatch(node.host):
            raise ClusterError(f"{place}.host: {node.host!r} is not a name; use letters and digits")
        if node.host not in cluster.hosts:
            raise ClusterError(
                f"{place}.host: {node.host!r} is not in 'hosts'; add 'hosts: {{{node.host}: "
                "{cores: 4}}' so that its cores can be shared out"
            )
    if node.power is not None:
        for name in ("idle_w", "busy_w", "transmit_w"):
            _not_negative(f"{place}.power.{name}", getattr(node.power, name))


def _check_links(cluster: Cluster, names: dict[str, str]) -> None:
    _check_rate("links.default", cluster.links.default.mbit_s, cluster.links.default.rtt_ms)
    seen: dict[frozenset[str], str] = {}
    for k, pair in enumerate(cluster.links.pairs):
        place = f"links.pairs[{k}]"
        for key, end in (("from", pair.first), ("to", pair.second)):
            if end not in names:
                raise ClusterError(
                    f"{place}.{key}: no device is called {end!r} (there are: {', '.join(names)})"
                )
        if pair.first == pair.second:
            raise ClusterError(f"{place}: links {pair.first!r} to itself; name two devices")
        ends = frozenset((pair.first, pair.second))
        if ends in seen:
            raise ClusterError(
                f"{place}: {pair.first} and {pair.second} are linked in {seen[ends]} already; "
                "write one entry (back_mbit_s is the rate of the other direction)"
            )
        seen[ends] = place
        _check_rate(place, pair.mbit_s, pair.rtt_ms)
        if pair.back_mbit_s is not None:
            _positive(f"{place}.back_mbit_s", pair.back_mbit_s)


def _check_rate(place: str, mbit_s: float | None, rtt_ms: float | None) -> None:
    if mbit_s is not None:
        _positive(f"{place}.mbit_s", mbit_s)
    if rtt_ms is not None:
        _not_negative(f"{place}.rtt_ms", rtt_ms)


def _positive(place: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ClusterError(f"{place}: {value:g} makes no sense; write a number above 0")


def _not_negative(place: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ClusterError(f"{place}: {value:g} makes no sense; write a number of 0 or more")
