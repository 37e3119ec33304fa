"""What a lab file says: hosts, links between them, faults. Data, and the checks on it.

Rates are in Mbit/s, delays in ms and one way, CPU in shares of the reference core (see
:mod:`shoal_lab.presets`), memory in MiB.
"""

from __future__ import annotations

import math
import re
from typing import ClassVar, TypeAlias

import msgspec

from shoal.errors import LabFileError
from shoal.sim.faults import Fault, check_fault, check_mbit
from shoal_lab.presets import PRESETS, Power

SWITCH = "switch"
"""The node in the middle of ``star`` and ``lan+wan``. It forwards, and nothing runs on it."""

NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")
MAX_HOSTS = 64
MIN_SHARE = 0.01
MAX_CORES = 256
MAX_DELAY_MS = 30_000.0
MAX_DISK_MB = 1 << 20


class LinkSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a link does. ``up`` is from its first end to its second.

    ``mbit`` is short for both rates; without any rate the link is as fast as the machine.
    ``delay_ms`` is one way, in each direction; ``loss`` the share of packets lost, in each
    direction. A ``trace`` (shipped name or CSV path) sets rates and delay as time goes on.
    """

    mbit: float | None = None
    up_mbit: float | None = None
    down_mbit: float | None = None
    delay_ms: float = 0.0
    loss: float = 0.0
    trace: str | None = None

    @property
    def rates_mbit(self) -> tuple[float | None, float | None]:
        """Up and down; None is no limit."""
        return (self.up_mbit or self.mbit, self.down_mbit or self.mbit)


class PairSpec(LinkSpec, frozen=True, kw_only=True):
    """A link between two named nodes."""

    between: tuple[str, str]


class HostSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A device. A preset gives what is not said.

    ``share`` is the speed of one core, ``cores`` how many there are; together they make the CPU
    quota ``share * cores``. ``run`` are shell lines that are started with the lab and again by a
    ``restart``. ``disk_mb`` bounds the host's own disk, where its cache lies.
    """

    preset: str | None = None
    share: float | None = None
    cores: int = 1
    memory_mb: int | None = None
    disk_mb: int = 512
    run: tuple[str, ...] = ()

    @property
    def core_share(self) -> float:
        """Speed of one core as a share of the reference core."""
        if self.share is not None:
            return self.share
        return PRESETS[self.preset].share if self.preset else 1.0

    @property
    def memory_limit_mb(self) -> int | None:
        """Memory in MiB; None is no limit."""
        if self.memory_mb is not None:
            return self.memory_mb
        return PRESETS[self.preset].memory_mb if self.preset else None

    @property
    def power(self) -> Power | None:
        """What the device draws, where a preset says so."""
        return PRESETS[self.preset].power if self.preset else None


class _Topology(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    link: LinkSpec = LinkSpec()


class Star(_Topology, frozen=True, tag="star"):
    """Each host has a link to a switch; two hosts are two links apart."""


class Ring(_Topology, frozen=True, tag="ring"):
    """Each host has a link to the next one in the file, the last one to the first."""


class Mesh(_Topology, frozen=True, tag="mesh"):
    """Each host has a link to each other host."""


class DeviceCloud(_Topology, frozen=True, tag="device-cloud", kw_only=True):
    """Each host has a link to the host ``cloud``, which forwards between them."""

    cloud: str


class LanWan(_Topology, frozen=True, tag="lan+wan", kw_only=True):
    """All hosts but ``cloud`` form a star (``link`` each); ``wan`` joins its switch to it."""

    cloud: str
    wan: LinkSpec = LinkSpec()


Topology: TypeAlias = Star | Ring | Mesh | DeviceCloud | LanWan


class LabSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole lab.

    ``links`` add to the links of ``topology``, or replace the one between the same nodes.
    ``core`` is the speed of this machine's core relative to the reference core. ``seed`` decides
    which packets a lossy link loses.
    """

    DEFAULT_NAME: ClassVar[str] = "lab"

    hosts: dict[str, HostSpec]
    name: str = DEFAULT_NAME
    topology: Topology | None = None
    links: tuple[PairSpec, ...] = ()
    faults: tuple[Fault, ...] = ()
    core: float = 1.0
    seed: int = 1

    def quota(self, host: str) -> float:
        """Seconds of this machine's CPU that ``host`` may use in a second."""
        spec = self.hosts[host]
        return spec.core_share / self.core * spec.cores


def check(spec: LabSpec) -> LabSpec:
    """``spec`` itself if it makes sense alone; otherwise LabFileError says what does not."""
    if not NAME.fullmatch(spec.name):
        raise LabFileError(
            f"lab name {spec.name!r}: use a lower-case letter, then letters, digits or '-' (20 in "
            "all)"
        )
    if not spec.hosts:
        raise LabFileError("a lab needs a host; name one under 'hosts'")
    if len(spec.hosts) > MAX_HOSTS:
        raise LabFileError(f"{len(spec.hosts)} hosts; {MAX_HOSTS} at most")
    if not (math.isfinite(spec.core) and 0.01 <= spec.core <= 100):
        raise LabFileError(f"core is {spec.core:g}; it lies between 0.01 and 100")
    for name, host in spec.hosts.items():
        _check_host(name, host, spec.core)
    _check_topology(spec)
    for pair in spec.links:
        where = f"link {':'.join(pair.between)}"
        for end in pair.between:
            if end not in spec.hosts and end != SWITCH:
                raise LabFileError(f"{where}: there is no host {end!r} under 'hosts'")
        if pair.between[0] == pair.between[1]:
            raise LabFileError(f"{where}: both ends are the same host")
        _check_link(pair, where)
    pairs = [frozenset(pair.between) for pair in spec.links]
    if len(set(pairs)) < len(pairs):
        twice = next(pair for pair in pairs if pairs.count(pair) > 1)
        raise LabFileError(f"two links between {' and '.join(sorted(twice))}; keep one")
    for fault in spec.faults:
        check_fault(fault)
    return spec


def _check_host(name: str, host: HostSpec, core: float) -> None:
    where = f"host {name!r}"
    if not NAME.fullmatch(name):
        raise LabFileError(
            f"{where}: a name is a lower-case letter, then letters, digits or '-' (20 in all)"
        )
    if name == SWITCH:
        raise LabFileError(f"{where}: this name belongs to the switch of a star; choose another")
    if host.preset is not None and host.preset not in PRESETS:
        raise LabFileError(
            f"{where}: there is no preset {host.preset!r}; there are {', '.join(PRESETS)}"
        )
    share = host.core_share / core
    if not math.isfinite(share) or share < MIN_SHARE:
        raise LabFileError(f"{where}: a share of {share:g} is too small; {MIN_SHARE:g} at least")
    if share > 1:
        raise LabFileError(
            f"{where}: a share of {100 * share:g} % of this machine's core; 100 % is all there is "
            "(a device faster than this machine cannot be emulated; more cores are 'cores')"
        )
    if not 1 <= host.cores <= MAX_CORES:
        raise LabFileError(f"{where}: {host.cores} cores; 1 to {MAX_CORES}")
    limit_mb = host.memory_limit_mb
    if limit_mb is not None and limit_mb < 16:
        raise LabFileError(f"{where}: memory of {limit_mb} MiB; 16 at least")
    if not 1 <= host.disk_mb <= MAX_DISK_MB:
        raise LabFileError(f"{where}: a disk of {host.disk_mb} MiB; 1 to {MAX_DISK_MB}")


def _check_topology(spec: LabSpec) -> None:
    if spec.topology is None:
        return
    _check_link(spec.topology.link, "topology.link")
    if isinstance(spec.topology, LanWan):
        _check_link(spec.topology.wan, "topology.wan")
    if isinstance(spec.topology, DeviceCloud | LanWan) and spec.topology.cloud not in spec.hosts:
        raise LabFileError(
            f"topology: its cloud {spec.topology.cloud!r} is not a host; name one of "
            f"{', '.join(spec.hosts)}"
        )


def _check_link(link: LinkSpec, where: str) -> None:
    if link.mbit is not None and (link.up_mbit is not None or link.down_mbit is not None):
        raise LabFileError(
            f"{where}: give 'mbit' for both directions, or 'up_mbit' and 'down_mbit'"
        )
    for name, mbit in (
        ("mbit", link.mbit),
        ("up_mbit", link.up_mbit),
        ("down_mbit", link.down_mbit),
    ):
        if mbit is not None:
            check_mbit(mbit, f"{where}: {name}")
    if not 0 <= link.delay_ms <= MAX_DELAY_MS:
        raise LabFileError(f"{where}: delay_ms is {link.delay_ms:g}; 0 to {MAX_DELAY_MS:g}")
    if not 0 <= link.loss < 1:
        raise LabFileError(f"{where}: loss is {link.loss:g}; from 0 to less than 1 (1: use 'cut')")
    rates = (link.mbit, link.up_mbit, link.down_mbit)
    if link.trace is not None and (any(rate is not None for rate in rates) or link.delay_ms):
        raise LabFileError(f"{where}: the trace sets rates and delay; take them out beside it")
