"""What can go wrong, by name and time: data, and the file that holds it.

The lab makes it happen on real processes, :mod:`shoal.sim.mishaps` in virtual time. Each fault
says when (``at_s`` seconds after the faults begin) and where (a host, or a link as the pair of its
ends). Those with ``for_s`` pass after so many seconds; without it they stay (a freeze needs one).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from shoal import safe_yaml
from shoal.errors import LabFileError

MAX_AT_S = 7 * 24 * 3600.0
MIN_MBIT, MAX_MBIT = 0.01, 10_000.0


class _Fault(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True
):
    at_s: float


class OnHost(_Fault, frozen=True, kw_only=True):
    """What befalls a host."""

    host: str


class OnLink(_Fault, frozen=True, kw_only=True):
    """What befalls a link, in both directions."""

    link: tuple[str, str]
    for_s: float | None = None


class Kill(OnHost, frozen=True, tag="kill"):
    """Every process of the host ends at once (SIGKILL) and none comes back."""


class Restart(OnHost, frozen=True, tag="restart"):
    """Every process of the host ends at once; ``for_s`` seconds later they are started again."""

    for_s: float = 0.0


class Freeze(OnHost, frozen=True, tag="freeze"):
    """The host stops for ``for_s`` seconds, connections stay open (cgroup freezer)."""

    for_s: float


class Slow(OnHost, frozen=True, tag="slow"):
    """The host gets ``factor`` of its CPU share."""

    factor: float
    for_s: float | None = None


class DiskFull(OnHost, frozen=True, tag="disk-full"):
    """The host's disk has no byte left."""

    for_s: float | None = None


class ClockJump(OnHost, frozen=True, tag="clock-jump"):
    """The wall clock of the host's processes jumps by ``by_s`` seconds (back if negative)."""

    by_s: float


class Cut(OnLink, frozen=True, tag="cut"):
    """Nothing passes the link, in either direction, and nobody is told."""


class Narrow(OnLink, frozen=True, tag="narrow", kw_only=True):
    """The link has ``mbit`` in each direction."""

    mbit: float


class Lossy(OnLink, frozen=True, tag="lossy", kw_only=True):
    """The link loses the share ``loss`` of all packets, in each direction."""

    loss: float


HostFault: TypeAlias = Kill | Restart | Freeze | Slow | DiskFull | ClockJump
LinkFault: TypeAlias = Cut | Narrow | Lossy
Fault: TypeAlias = HostFault | LinkFault


def load_faults(path: str | Path) -> tuple[Fault, ...]:
    """The fault schedule in this file: a list, or a mapping with 'faults'. LabFileError says what
    is wrong with it."""
    raw = safe_yaml.parse(safe_yaml.read_text(Path(path), LabFileError), str(path), LabFileError)
    try:
        return faults_of(raw.get("faults") if isinstance(raw, dict) else raw)
    except LabFileError as error:
        raise LabFileError(f"{path}: {error}") from None


def faults_of(raw: Any) -> tuple[Fault, ...]:
    """Faults in plain data, checked; LabFileError."""
    faults: tuple[Fault, ...] = safe_yaml.convert_each(raw, Fault, "faults", LabFileError)
    for fault in faults:
        check_fault(fault)
    return faults


def check_mbit(mbit: float, where: str) -> None:
    """LabFileError unless ``mbit`` is a rate that a link can have."""
    if not MIN_MBIT <= mbit <= MAX_MBIT:
        raise LabFileError(
            f"{where} is {mbit:g}; a rate is {MIN_MBIT:g} to {MAX_MBIT:g} Mbit/s (for a dead link "
            "use the fault 'cut')"
        )


def check_fault(fault: Fault) -> None:
    """LabFileError if a number of ``fault`` makes no sense. Places are checked by the network."""
    where = f"fault {type(fault).__struct_config__.tag} at {fault.at_s:g} s"
    if not 0 <= fault.at_s <= MAX_AT_S:
        raise LabFileError(f"{where}: at_s is {fault.at_s:g}; 0 to {MAX_AT_S:g}")
    for_s = getattr(fault, "for_s", None)
    if for_s is not None and not 0 <= for_s <= MAX_AT_S:
        raise LabFileError(f"{where}: for_s is {for_s:g}; 0 to {MAX_AT_S:g}")
    factor = getattr(fault, "factor", None)
    if factor is not None and not 0 < factor <= 1:
        raise LabFileError(f"{where}: factor is {factor:g}; above 0, at most 1")
    loss = getattr(fault, "loss", None)
    if loss is not None and not 0 <= loss < 1:
        raise LabFileError(f"{where}: loss is {loss:g}; from 0 to less than 1 (1: use 'cut')")
    by_s = getattr(fault, "by_s", None)
    if by_s is not None and not abs(by_s) <= 10 * 365 * 24 * 3600:
        raise LabFileError(f"{where}: by_s is {by_s:g}; ten years at most")
    mbit = getattr(fault, "mbit", None)
    if mbit is not None:
        check_mbit(mbit, f"{where}: mbit")
