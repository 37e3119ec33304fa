"""One host of a lab, put together from its spec. Nothing is made on the machine here."""

from __future__ import annotations

import sys
from pathlib import Path

from shoal_lab import wiring
from shoal_lab.cgroup import Cgroup, Hierarchy
from shoal_lab.clock import LIBRARY, Clock
from shoal_lab.faults import ClockJump
from shoal_lab.loopback_host import LoopbackHost
from shoal_lab.namespace_host import NamespaceHost
from shoal_lab.network import host_addresses
from shoal_lab.spec import LabSpec


def namespace_host(
    spec: LabSpec, name: str, where: Hierarchy, folder: Path, logs: Path | None
) -> NamespaceHost:
    """The host ``name`` as a namespace. ``folder`` is the lab's, ``logs`` where it prints (None:
    into its own folder). Its clock can jump if a fault of the lab says so and the library for it
    is in the lab's folder."""
    addresses = host_addresses(spec)
    library = folder / LIBRARY
    jumps = name in jumping(spec) and library.exists()
    return NamespaceHost(
        name,
        spec.hosts[name],
        addresses[name],
        folder / name / "disk",
        (logs or folder / name) / f"{name}.log",
        shared_environment(spec, addresses),
        quota=spec.quota(name),
        cgroup=Cgroup(where, spec.name, name),
        prefix=wiring.inside(spec.name, name),
        wall=Clock(library, folder / name / "clock") if jumps else None,
    )


def jumping(spec: LabSpec) -> set[str]:
    """The hosts whose clocks jump."""
    return {fault.host for fault in spec.faults if isinstance(fault, ClockJump)}


def loopback_host(spec: LabSpec, name: str, folder: Path, logs: Path | None) -> LoopbackHost:
    """The host ``name`` as plain processes."""
    addresses = loopback_addresses(spec)
    return LoopbackHost(
        name,
        spec.hosts[name],
        addresses[name],
        folder / name / "disk",
        (logs or folder / name) / f"{name}.log",
        shared_environment(spec, addresses),
    )


def shared_environment(spec: LabSpec, addresses: dict[str, str]) -> dict[str, str]:
    """What processes of every host find in their environment."""
    made = {"SHOAL_LAB": spec.name}
    for name in spec.hosts:
        made[f"SHOAL_ADDR_{name.upper().replace('-', '_')}"] = addresses[name]
    return made


def loopback_addresses(spec: LabSpec) -> dict[str, str]:
    """Addresses for hosts that are only processes. All of 127/8 is this machine on Linux."""
    if sys.platform != "linux":
        return dict.fromkeys(spec.hosts, "127.0.0.1")
    return {name: f"127.77.0.{i}" for i, name in enumerate(spec.hosts, 1)}
