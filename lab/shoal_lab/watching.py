"""What goes on in a lab that is up, seen from outside: two looks at it, and what they say.

Nothing is asked of the lab's programs: CPU time and memory come from the cgroups, bytes from the
namespaces, faults from what the owner writes down, services from what they report.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

import msgspec
import psutil

from shoal.errors import LabError, LabRightsError, LabStateError
from shoal_lab import conditions, state
from shoal_lab.assembly import loopback_addresses, namespace_host
from shoal_lab.cgroup import Hierarchy, hierarchy
from shoal_lab.conditions import Conditions, HostCondition
from shoal_lab.energy import estimate
from shoal_lab.network import network
from shoal_lab.reporting import Report, reports
from shoal_lab.shape import Shape
from shoal_lab.state import State


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Counters at one moment (monotonic clock): by host, and bytes (up, down) by link."""

    at_s: float
    cpu_s: dict[str, float]
    memory_bytes: dict[str, int]
    processes: dict[str, int]
    wire_bytes: dict[str, tuple[int, int]]


class HostNow(msgspec.Struct, frozen=True, kw_only=True):
    """A host. ``load`` is the part of its CPU share that it used between the two looks (None where
    it has no share of its own), ``cores`` the same in cores of this machine. ``energy_j`` is an
    estimate since the lab came up, ``power_w`` between the looks; None without a preset."""

    name: str
    address: str
    preset: str | None
    cores: float
    load: float | None
    memory_bytes: int
    memory_limit_bytes: int | None
    processes: int
    power_w: float | None
    energy_j: float | None
    faults: tuple[str, ...]


class LinkNow(msgspec.Struct, frozen=True, kw_only=True):
    """A link as it is now, and bytes a second on it."""

    name: str
    way: str
    up: Shape
    down: Shape
    up_bytes_per_s: float
    down_bytes_per_s: float
    faults: tuple[str, ...]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All of a lab."""

    name: str
    loopback: bool
    up_for_s: float
    hosts: tuple[HostNow, ...]
    links: tuple[LinkNow, ...]
    services: tuple[Report, ...]


def watch(name: str, before: Look | None = None) -> tuple[Snapshot, Look]:
    """A lab now, with rates since ``before`` (None: since it came up), and the look at it.

    LabStateError if it is not up (any more).
    """
    found = state.read(name)
    if not (found.alive and found.ready):
        raise LabStateError(f"lab {name} is not up; 'shoal lab status' lists those that are")
    try:
        now = look(found)
    except (OSError, LabError):
        if not (state.lab_folder(name).exists() and found.alive):
            raise LabStateError(f"lab {name} went down") from None
        raise
    seen = conditions.read(state.lab_folder(name))
    first = before or _nothing(found)
    return snapshot(found, seen, first, now, reports(name)), now


def look(found: State) -> Look:
    """Read all counters. LabRightsError if the cgroups are gone."""
    if found.loopback:
        return _look_at_processes(found)
    where = hierarchy()
    if not isinstance(where, Hierarchy):
        raise LabRightsError(f"the lab needs {where}")
    folder = state.lab_folder(found.name)
    hosts = {
        name: namespace_host(found.spec, name, where, folder, None) for name in found.spec.hosts
    }
    at_s = time.monotonic()
    counted = {name: host.wire_bytes() for name, host in hosts.items()}
    used = {name: host.use() for name, host in hosts.items()}
    wires: dict[str, tuple[int, int]] = {}
    for wire in network(found.spec).wires:
        for end, begins in zip(wire.ends, (True, False), strict=True):
            if wire.name not in wires and end in counted:  # a switch is not asked
                received, sent = counted[end].get(wire.device, (0, 0))
                wires[wire.name] = (sent, received) if begins else (received, sent)
    return Look(
        at_s=at_s,
        cpu_s={name: cpu_s for name, (cpu_s, _) in used.items()},
        memory_bytes={name: memory for name, (_, memory) in used.items()},
        processes={name: len(host.pids()) for name, host in hosts.items()},
        wire_bytes=wires,
    )


def _look_at_processes(found: State) -> Look:
    """On loopback: by the programs that carry the lab's name in their environment."""
    names = list(found.spec.hosts)
    cpu_s, memory, count = (
        dict.fromkeys(names, 0.0),
        dict.fromkeys(names, 0),
        dict.fromkeys(names, 0),
    )
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            marks = process.environ()
            host = marks.get("SHOAL_HOST", "")
            if marks.get("SHOAL_LAB") == found.name and host in count:
                times = process.cpu_times()
                cpu_s[host] += times.user + times.system
                memory[host] += process.memory_info().rss
                count[host] += 1
    return Look(
        at_s=time.monotonic(), cpu_s=cpu_s, memory_bytes=memory, processes=count, wire_bytes={}
    )


def _nothing(found: State) -> Look:
    """What there was when the lab came up."""
    return Look(at_s=found.up_at_s, cpu_s={}, memory_bytes={}, processes={}, wire_bytes={})


def snapshot(
    found: State, seen: Conditions, before: Look, now: Look, services: list[Report]
) -> Snapshot:
    """What two looks say. Pure."""
    return Snapshot(
        name=found.name,
        loopback=found.loopback,
        up_for_s=now.at_s - found.up_at_s,
        hosts=tuple(_host(found, name, seen, before, now) for name in found.spec.hosts),
        links=() if found.loopback else tuple(_links(found, seen, before, now)),
        services=tuple(services),
    )


def _host(found: State, name: str, seen: Conditions, before: Look, now: Look) -> HostNow:
    spec, quota = found.spec.hosts[name], found.spec.quota(name)
    addresses = loopback_addresses(found.spec) if found.loopback else network(found.spec).addresses
    span_s = max(now.at_s - before.at_s, 1e-3)
    cores = max(now.cpu_s[name] - before.cpu_s.get(name, 0.0), 0.0) / span_s
    begin = Look(at_s=found.up_at_s, cpu_s={}, memory_bytes={}, processes={}, wire_bytes={})
    since_up, since_look = (_energy_j(found, name, then, now) for then in (begin, before))
    limit_mb = None if found.loopback else spec.memory_limit_mb
    return HostNow(
        name=name,
        address=addresses[name],
        preset=spec.preset,
        cores=cores,
        load=None if found.loopback else cores / quota,
        memory_bytes=now.memory_bytes[name],
        memory_limit_bytes=None if limit_mb is None else limit_mb << 20,
        processes=now.processes[name],
        power_w=None if since_look is None else since_look / span_s,
        energy_j=since_up,
        faults=seen.hosts.get(name, HostCondition()).faults,
    )


def _energy_j(found: State, name: str, then: Look, now: Look) -> float | None:
    """What the device would have used between two looks; None where nothing is known of it."""
    spec, net = found.spec.hosts[name], network(found.spec)
    if spec.power is None or found.loopback:
        return None
    sent = sum(
        _moved(wire.name, wire.ends[0] != name, then.wire_bytes, now.wire_bytes)
        for wire in net.wires
        if name in wire.ends
    )
    cpu_s = now.cpu_s[name] - then.cpu_s.get(name, 0.0)
    return estimate(
        spec.power,
        wall_s=now.at_s - then.at_s,
        busy_s=max(cpu_s, 0.0) * spec.cores / found.spec.quota(name),
        sent_bytes=sent,
        mbit=net.sending_mbit(name),
    ).total_j


def _moved(
    wire: str, direction: int, then: Mapping[str, tuple[int, int]],
    now: Mapping[str, tuple[int, int]],
) -> int:  # fmt: skip
    """Bytes on a wire between two looks, up (0) or down (1)."""
    return max(now.get(wire, (0, 0))[direction] - then.get(wire, (0, 0))[direction], 0)


def _links(found: State, seen: Conditions, before: Look, now: Look) -> list[LinkNow]:
    span_s = max(now.at_s - before.at_s, 1e-3)
    return [
        LinkNow(
            name=name,
            way=found.ways.get(name, ""),
            up=link.up,
            down=link.down,
            up_bytes_per_s=_moved(name, 0, before.wire_bytes, now.wire_bytes) / span_s,
            down_bytes_per_s=_moved(name, 1, before.wire_bytes, now.wire_bytes) / span_s,
            faults=link.faults,
        )
        for name, link in seen.links.items()
    ]
