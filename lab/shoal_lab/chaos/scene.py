"""What is played: a lab, who drives it, the faults that fit this machine, and what is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from shoal.errors import UsageError
from shoal_lab.faults import KINDS, Fault, Pace, random_faults
from shoal_lab.file import load_lab
from shoal_lab.machine import Machine
from shoal_lab.network import network
from shoal_lab.spec import LabSpec

HOME = Path(__file__).parents[1] / "labs" / "home.yaml"
"""The lab that is used when none is given."""
NETWORK = "fashion-resnet"
DEADLINE_MS = 30_000.0
"""Longer than any fault lasts and any device takes to come back, so that a request that fails is
lost by Shoal and not by impatience."""
PACE = Pace(lasts_s=(1.0, 5.0), calm_s=(2.0, 6.0))
ON_LOOPBACK = frozenset({"kill", "restart", "freeze"})


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A run of chaos. ``gate`` is the host of the gateway, on which no fault of hosts falls;
    ``options`` are the strategy's. ``window`` requests are under way at any time."""

    spec: LabSpec
    gate: str
    seconds: float
    faults: tuple[Fault, ...]
    model: str = NETWORK
    strategy: str = "pipeline"
    options: dict[str, Any] = {}
    window: int = 8
    deadline_ms: float = DEADLINE_MS
    folder: str = "."

    @property
    def workers(self) -> tuple[str, ...]:
        """The hosts that compute."""
        return tuple(host for host in self.spec.hosts if host != self.gate)


def scene(
    file: Path | None,
    seconds: float,
    seed: int,
    machine: Machine,
    *,
    model: str = NETWORK,
    strategy: str = "pipeline",
    loopback: bool = False,
) -> Scene:
    """The lab of ``file`` (default: :data:`HOME`) with a random schedule in place of its own
    faults. The first host holds the gateway. A pipeline goes through all others, so that every
    fault hits somebody who is at work.

    LabFileError for a wrong file, UsageError where there is nobody left to compute.
    """
    path = HOME if file is None else file
    spec = load_lab(path)
    gate, *workers = spec.hosts
    if len(workers) < 2:
        raise UsageError(
            f"lab {spec.name} has {len(spec.hosts)} hosts; chaos needs a gateway and two others, "
            "so that somebody can answer when one is gone"
        )
    emulated = machine.can_emulate and not loopback
    links = [wire.ends for wire in network(spec).wires] if emulated else []
    kinds = suitable_kinds(machine, emulated)
    faults = random_faults(workers, links, seconds, seed, kinds, PACE)
    return Scene(
        spec=msgspec.structs.replace(spec, faults=faults),
        gate=gate,
        seconds=seconds,
        faults=faults,
        model=model,
        strategy=strategy,
        options={"stages": len(workers)} if strategy == "pipeline" else {},
        window=2 * len(workers),
        folder=str(path.parent.absolute()),
    )


def suitable_kinds(machine: Machine, emulated: bool) -> tuple[str, ...]:
    """The faults that can be played here."""
    if not emulated:
        return tuple(kind for kind in KINDS if kind in ON_LOOPBACK)
    lacking = set()
    if not (machine.netem or machine.tun):
        lacking.add("lossy")
    if machine.compiler is None:
        lacking.add("clock-jump")
    return tuple(kind for kind in KINDS if kind not in lacking)
