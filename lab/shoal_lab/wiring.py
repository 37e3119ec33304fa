"""Namespaces, devices and routes: from a :class:`Network` to ``ip`` and ``tc``.

Both ends of a wire have one hardware address and ask nobody for the other's (no ARP): a wire is
point to point, whether it is a veth pair or, where a relay delays it, two TUN devices. So routes
look the same on both, and a wire that was cut needs no time to find its neighbour again.
"""

from __future__ import annotations

from collections.abc import Collection

from shoal_lab import command
from shoal_lab.network import Network, Wire

FOLDER = "/run/netns"
TUN_QUEUE_PACKETS = 2000
"""What may wait for the relay; it reads at once, so this only bridges a moment of its absence."""

SETTINGS = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    # A lab must not remember the links of the one before.
    "ipv4/tcp_no_metrics_save": "1",
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
}


def space(lab: str, node: str) -> str:
    """The name of a node's network namespace."""
    return f"shoal-{lab}-{node}"


def inside(lab: str, node: str) -> list[str]:
    """Put before a command to run it in a node's network namespace."""
    # Not 'ip netns exec': that hides /sys, where the cgroups are.
    return ["nsenter", f"--net={FOLDER}/{space(lab, node)}", "--"]


def make(lab: str, net: Network, tc: dict[str, list[str]], relayed: Collection[int]) -> None:
    """Make all namespaces and wires. ``tc`` holds the lines of each node, ``relayed`` the indices
    of wires that are TUN devices. LabError if a command fails."""
    lines = [f"netns add {space(lab, node)}" for node in net.addresses]
    lines += [_veth(lab, wire) for wire in net.wires if wire.index not in relayed]
    command.run(["ip", "-batch", "-"], "\n".join(lines) + "\n")
    command.run_all(
        [
            ([*inside(lab, node), "sh", "-e"], _script(net, node, tc.get(node, []), relayed))
            for node in net.addresses
        ]
    )


def remove(spaces: Collection[str]) -> None:
    """Remove namespaces, and with them their devices. Those that do not exist are passed over."""
    if spaces:
        lines = [f"netns del {name}" for name in spaces]
        command.run(["ip", "-force", "-batch", "-"], "\n".join(lines) + "\n", check=False)


def _veth(lab: str, wire: Wire) -> str:
    address = f"02:00:00:00:{wire.index >> 8:02x}:{wire.index & 255:02x}"
    a, b = (space(lab, node) for node in wire.ends)
    return (
        f"link add {wire.device} netns {a} address {address} "
        f"type veth peer name {wire.device} netns {b} address {address}"
    )


def _script(net: Network, node: str, tc: list[str], relayed: Collection[int]) -> str:
    """The shell script that sets up a node from within its namespace."""
    address = net.addresses[node]
    ip = ["link set lo up", f"addr add {address}/32 dev lo"]
    for wire in net.wires:
        if node not in wire.ends:
            continue
        if wire.index in relayed:
            ip.append(f"tuntap add dev {wire.device} mode tun")
            ip.append(f"link set {wire.device} txqueuelen {TUN_QUEUE_PACKETS}")
        else:
            ip.append(f"link set {wire.device} arp off")
        # The kernel would hand over 64 KiB as one packet, which a slow wire's queue cannot hold.
        ip.append(f"link set {wire.device} gso_max_segs 1 up")
    ip += [
        f"route add {net.addresses[other]}/32 dev {wire.device} src {address}"
        for other, wire in net.routes[node].items()
    ]
    settings = [
        f"[ ! -e /proc/sys/net/{name} ] || echo {value} > /proc/sys/net/{name}"
        for name, value in SETTINGS.items()
    ]
    return "\n".join(
        [*settings, "ip -batch - <<END", *ip, "END", "tc -batch - <<END", *tc, "END", ""]
    )
