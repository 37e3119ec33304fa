"""From a lab file to nodes, wires, addresses and routes. Pure: nothing is made here.

Every node has one address, whichever of its wires is used. Routes are fixed: fewest wires, then
least delay. They do not change when a wire is cut (a ring does not turn round).
"""

from __future__ import annotations

import heapq
from itertools import combinations

import msgspec

from shoal.errors import LabFileError
from shoal_lab.faults import Fault
from shoal_lab.spec import (
    SWITCH,
    DeviceCloud,
    LabSpec,
    LanWan,
    LinkSpec,
    Mesh,
    Ring,
    Star,
)


class Wire(msgspec.Struct, frozen=True):
    """A link between two nodes. Its device is called ``device`` on both ends."""

    index: int
    ends: tuple[str, str]
    link: LinkSpec

    @property
    def name(self) -> str:
        """As in messages and on the command line."""
        return ":".join(self.ends)

    @property
    def device(self) -> str:
        """The network device, in both namespaces."""
        return f"wire{self.index}"

    def other(self, node: str) -> str:
        """The end that is not ``node``."""
        return self.ends[1] if node == self.ends[0] else self.ends[0]


class Network(msgspec.Struct, frozen=True):
    """All nodes (hosts and perhaps a switch), their addresses, the wires, and the routes.

    ``routes[node][other]`` is the wire by which ``node`` sends to ``other``; a node that cannot be
    reached is not in it.
    """

    addresses: dict[str, str]
    wires: tuple[Wire, ...]
    routes: dict[str, dict[str, Wire]]

    def sending_mbit(self, node: str) -> float | None:
        """The slowest rate at which a node sends, for estimates; None where none is limited."""
        rates = [
            wire.link.rates_mbit[node != wire.ends[0]] for wire in self.wires if node in wire.ends
        ]
        return min((rate for rate in rates if rate is not None), default=None)

    def wire(self, a: str, b: str) -> Wire:
        """The wire between two nodes, in any order; LabFileError if there is none."""
        for wire in self.wires:
            if {a, b} == set(wire.ends):
                return wire
        known = ", ".join(wire.name for wire in self.wires) or "none"
        raise LabFileError(f"there is no link {a}:{b}; there are {known}")


def network(spec: LabSpec) -> Network:
    """The network of a checked ``spec``; LabFileError for a host without any link and for a fault
    in a place that does not exist."""
    links = _topology_links(spec)
    for pair in spec.links:
        key = next((key for key in links if set(key) == set(pair.between)), None)
        if key is not None:
            del links[key]
        links[pair.between] = pair
    nodes = list(spec.hosts)
    if any(SWITCH in ends for ends in links):
        nodes.append(SWITCH)
    wires = tuple(Wire(i, ends, link) for i, (ends, link) in enumerate(links.items()))
    if len(spec.hosts) > 1:
        linked = {end for wire in wires for end in wire.ends}
        lonely = [name for name in spec.hosts if name not in linked]
        if lonely:
            raise LabFileError(
                f"host {lonely[0]!r} has no link; add one under 'links', or a 'topology'"
            )
    at: dict[str, list[Wire]] = {node: [] for node in nodes}
    for wire in wires:
        for end in wire.ends:
            at[end].append(wire)
    made = Network(
        addresses=_addresses(nodes), wires=wires, routes={node: _routes(node, at) for node in nodes}
    )
    for fault in spec.faults:
        check_place(fault, spec, made)
    return made


def host_addresses(spec: LabSpec) -> dict[str, str]:
    """The address of each host."""
    return _addresses(list(spec.hosts))


def _addresses(nodes: list[str]) -> dict[str, str]:
    return {node: f"10.77.0.{i}" for i, node in enumerate(nodes, 1)}


def check_place(fault: Fault, spec: LabSpec, net: Network) -> None:
    """LabFileError if the host or link of ``fault`` does not exist."""
    where = f"fault {type(fault).__struct_config__.tag} at {fault.at_s:g} s"
    host = getattr(fault, "host", None)
    if host is not None and host not in spec.hosts:
        raise LabFileError(f"{where}: there is no host {host!r}")
    link = getattr(fault, "link", None)
    if link is not None:
        try:
            net.wire(*link)
        except LabFileError as error:
            raise LabFileError(f"{where}: {error}") from None


def _topology_links(spec: LabSpec) -> dict[tuple[str, str], LinkSpec]:
    hosts = list(spec.hosts)
    match spec.topology:
        case None:
            return {}
        case Star(link):
            return {(host, SWITCH): link for host in hosts}
        case Ring(link):
            around = zip(hosts, hosts[1:] + hosts[:1], strict=True)
            # Two hosts have one link, not one in each direction; one host has none.
            return {pair: link for i, pair in enumerate(around) if len(hosts) > 2 - (i == 0)}
        case Mesh(link):
            return dict.fromkeys(combinations(hosts, 2), link)
        case DeviceCloud(link, cloud=cloud):
            return {(host, cloud): link for host in hosts if host != cloud}
        case LanWan(link, cloud=cloud, wan=wan):
            lan = {(host, SWITCH): link for host in hosts if host != cloud}
            return {**lan, (SWITCH, cloud): wan}


def _routes(source: str, at: dict[str, list[Wire]]) -> dict[str, Wire]:
    """By which wire ``source`` reaches each node: Dijkstra by (wires, delay, set of wires).

    The last term names the set of wires as a sum of powers of two, so no two paths are equal and
    the way back is the way there.
    """
    best: dict[str, tuple[tuple[int, float, int], Wire | None]] = {}
    waiting: list[tuple[tuple[int, float, int], int, str, Wire | None]] = [
        ((0, 0.0, 0), 0, source, None)
    ]
    pushed = 0
    while waiting:
        cost, _, node, first = heapq.heappop(waiting)
        if node in best:
            continue
        best[node] = (cost, first)
        for wire in at[node]:
            if wire.other(node) not in best:
                pushed += 1
                further = (cost[0] + 1, cost[1] + wire.link.delay_ms, cost[2] + (1 << wire.index))
                heapq.heappush(waiting, (further, pushed, wire.other(node), first or wire))
    return {node: first for node, (_, first) in best.items() if first is not None}
