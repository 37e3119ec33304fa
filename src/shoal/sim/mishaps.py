"""Makes the faults of a schedule happen to a world."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

import msgspec

from shoal.errors import LabFileError
from shoal.plan.cluster import Cluster
from shoal.sim.faults import (
    Cut,
    Fault,
    Freeze,
    Kill,
    Lossy,
    Narrow,
    OnLink,
    Restart,
    Slow,
)
from shoal.sim.world import World


def check_faults(faults: Iterable[Fault], cluster: Cluster) -> None:
    """LabFileError for a fault that names strangers or a link from somebody to itself, or takes
    away the gateway, which owns the requests."""
    names = _names(cluster)
    for fault in faults:
        where = f"fault {type(fault).__struct_config__.tag} at {fault.at_s:g} s"
        for name in fault.link if isinstance(fault, OnLink) else (fault.host,):
            if name not in names:
                raise LabFileError(
                    f"{where}: there is no {name!r} in the cluster (there are: "
                    f"{', '.join(names)}); name one of these"
                )
        if isinstance(fault, OnLink) and names[fault.link[0]] == names[fault.link[1]]:
            raise LabFileError(f"{where}: both ends of the link are the same; name two")
        gone = isinstance(fault, Kill | Restart) and cluster.gateway.name in names[fault.host]
        if gone:
            raise LabFileError(
                f"{where}: it takes away the gateway, and all requests with it; name a device"
            )


def left_out(faults: Iterable[Fault]) -> list[str]:
    """The kinds of faults that change nothing in virtual time, where there are neither disks nor
    wall clocks."""
    acted = (Kill, Restart, Freeze, Slow, Cut, Narrow, Lossy)
    kinds = (str(type(f).__struct_config__.tag) for f in faults if not isinstance(f, acted))
    return sorted(set(kinds))


class Mishaps:
    """Lets ``faults`` happen to a world, from now on."""

    def __init__(self, world: World, cluster: Cluster, faults: Sequence[Fault]) -> None:
        self._world = world
        self._names = _names(cluster)
        self._began_s = world.now
        self._usual = world.wires.between
        self._loads: dict[tuple[str, str], dict[str, float]] = {}
        for fault in faults:
            self._plan(fault)

    def _plan(self, fault: Fault) -> None:
        world = self._world
        match fault:
            case Kill(host=host):
                self._at(fault.at_s, world.kill, host)
            case Restart(host=host, for_s=for_s):
                self._at(fault.at_s, world.kill, host)
                self._at(fault.at_s + for_s, world.restart, host)
            case Freeze(host=host, for_s=for_s):
                self._at(fault.at_s, world.freeze, host)
                self._at(fault.at_s + for_s, world.thaw, host)
            case Slow(host=host, factor=factor):
                self._during(fault.at_s, fault.for_s, self._slow, (host, 1 / factor), (host, 1.0))
            case Cut(link=link):
                self._during(fault.at_s, fault.for_s, self._cut, (link, True), (link, False))
            case Narrow(link=link, mbit=mbit):
                self._load(fault, link, "bytes_per_s", mbit * 1e6 / 8)
            case Lossy(link=link, loss=loss):
                self._load(fault, link, "loss", loss)
            case _:
                pass

    def _load(self, fault: OnLink, link: tuple[str, str], field: str, value: float) -> None:
        begin, end = (link, field, value), (link, field, None)
        self._during(fault.at_s, fault.for_s, self._change, begin, end)

    def _at(self, at_s: float, do: Callable[[str], None], host: str) -> None:
        for name in self._names[host]:
            self._world.clock.at(self._began_s + at_s, do, name)

    def _during(
        self,
        at_s: float,
        for_s: float | None,
        do: Callable[..., None],
        begin: tuple[object, ...],
        end: tuple[object, ...],
    ) -> None:
        self._world.clock.at(self._began_s + at_s, do, *begin)
        if for_s is not None:
            self._world.clock.at(self._began_s + at_s + for_s, do, *end)

    def _slow(self, host: str, factor: float) -> None:
        for name in self._names[host]:
            self._world.slow(name, factor)

    def _cut(self, link: tuple[str, str], cut: bool) -> None:
        for giver, taker in self._pairs(link):
            (self._world.cut if cut else self._world.heal)(giver, taker)

    def _change(self, link: tuple[str, str], field: str, value: float | None) -> None:
        for pair in (both for each in self._pairs(link) for both in (each, each[::-1])):
            load = self._loads.setdefault(pair, {})
            if value is None:
                load.pop(field, None)
            else:
                load[field] = value
            usual = self._usual(*pair)
            rate = min(usual.bytes_per_s, load.get("bytes_per_s", usual.bytes_per_s))
            changed = msgspec.structs.replace(usual, **{**load, "bytes_per_s": rate})
            self._world.wires.change(*pair, changed, self._world.now)

    def _pairs(self, link: tuple[str, str]) -> Iterable[tuple[str, str]]:
        firsts, seconds = (self._names[name] for name in link)
        return ((a, b) for a, b in product(firsts, seconds) if a != b)


def _names(cluster: Cluster) -> Mapping[str, tuple[str, ...]]:
    """The nodes that a name in a fault means: a node, or all on a host."""
    nodes = (*cluster.names, cluster.gateway.name)
    found: dict[str, tuple[str, ...]] = {name: (name,) for name in nodes}
    for host in cluster.hosts:
        found.setdefault(host, tuple(name for name in nodes if cluster.host_of(name) == host))
    return found
