"""Where a node takes data: hosts and a port, as told on the mesh and tried by who calls."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable, Sequence

import msgspec
import psutil

MAX_PLACES = 16
"""Places of one node that are told and tried."""
MAX_HOST = 255
"""Letters of a host."""
EVERYWHERE = {"0.0.0.0": {4}, "::": {4, 6}}
"""Hosts that mean all addresses of this machine, and of which versions."""
LINK_LOCAL = "fe80:"
"""Beginning of an address that means nothing without a zone, which differs by machine: it is told
without, and tried in all zones."""
MAX_ZONES = 8
"""Zones of this machine that are tried."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """``host`` is a name or a number, an IPv6 one without brackets, perhaps with a zone."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_place(place: Place) -> bool:
    """Whether that can be one."""
    return 0 < place.port < 1 << 16 and 0 < len(place.host) <= MAX_HOST and place.host.isprintable()


def write_places(places: Sequence[Place]) -> str:
    """Places as one word without slashes; ``-`` for none. The port of the first is that of all."""
    return ",".join([str(places[0].port), *(place.host for place in places)]) if places else "-"


def read_places(word: str) -> tuple[Place, ...]:
    """The places that :func:`write_places` wrote; what cannot be one is left out."""
    port, _, hosts = word[: MAX_PLACES * (MAX_HOST + 1)].partition(",")
    if not port.isascii() or not port.isdigit() or len(port) > 5:
        return ()
    found = (Place(host, int(port)) for host in hosts.split(",")[:MAX_PLACES])
    return tuple(filter(is_place, found))


def own_hosts(bound: Iterable[str]) -> list[str]:
    """The hosts at which others may find a node that listens at these: for those that mean all of
    this machine, its addresses; others first, as they were chosen. Loopback addresses are told
    too, at the end: they lead processes of the same machine here, and others find out that nobody
    or somebody else answers there."""
    chosen: dict[str, None] = {}
    versions: set[int] = set()
    for host in bound:
        if host in EVERYWHERE:
            versions |= EVERYWHERE[host]
        else:
            chosen[host.partition("%")[0]] = None
    if versions:
        chosen |= dict.fromkeys(_addresses(versions))
    return list(chosen)[:MAX_PLACES]


def in_zones(host: str) -> list[str]:
    """A host with all that it may mean on this machine: for an address of a link without its zone,
    with each that there is."""
    if not host.lower().startswith(LINK_LOCAL) or "%" in host:
        return [host]
    zones = [
        name
        for name, entries in psutil.net_if_addrs().items()
        if any(entry.address.lower().startswith(LINK_LOCAL) for entry in entries)
    ]
    return [f"{host}%{zone}" for zone in zones[:MAX_ZONES]]


def _addresses(versions: Collection[int]) -> list[str]:
    """The addresses of this machine, IPv4 first, loopback last."""
    found = []
    for name, entries in psutil.net_if_addrs().items():
        for entry in entries:
            if entry.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            host = entry.address.partition("%")[0]
            try:
                number = ipaddress.ip_address(host)
            except ValueError:
                continue
            if number.version not in versions or (number.is_link_local and number.version == 6):
                continue
            found.append((number.is_loopback, number.version, name, host))
    return [host for _, _, _, host in sorted(found)]
