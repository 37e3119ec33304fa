"""Whether this machine can hold a lab, and what the user has to know about it there."""

from __future__ import annotations

from shoal.errors import LabCapacityError
from shoal_lab import state
from shoal_lab.assembly import jumping
from shoal_lab.machine import Machine
from shoal_lab.spec import LabSpec


def check_capacity(spec: LabSpec, cores: float) -> None:
    """LabCapacityError if this machine's ``cores`` cannot give every host its share at once,
    together with the labs that are up already."""
    asked = {name: spec.quota(name) for name in spec.hosts}
    others = {
        other.name: sum(other.spec.quota(name) for name in other.spec.hosts)
        for other in state.labs()
        if other.alive and not other.loopback and other.name != spec.name
    }
    total = sum(asked.values()) + sum(others.values())
    if total > cores + 1e-9:
        words = [f"{name} {share:.2f}" for name, share in asked.items()]
        words += [f"the lab {name}, which is up, {share:.2f}" for name, share in others.items()]
        down = f", or 'shoal lab down {next(iter(others))}' first" if others else ""
        raise LabCapacityError(
            f"the hosts need {total:.2f} cores ({', '.join(words)}) and this machine has "
            f"{cores:g}: its numbers would be wrong; take smaller shares or fewer hosts{down}"
        )


def warnings(spec: LabSpec, machine: Machine, loopback: bool, wanted: bool) -> tuple[str, ...]:
    """What the user has to know about this lab on this machine."""
    if loopback:
        why = "" if wanted else f" (missing: {'; '.join(machine.lacks)})"
        return (
            f"lab {spec.name} runs on loopback{why}: CPU shares, memory and disk limits, rates, "
            "delays, losses and faults of links are not emulated, so its times say nothing about "
            "real devices",
        )
    made = []
    total = sum(spec.quota(name) for name in spec.hosts)
    if total > 0.9 * machine.cores:
        made.append(
            f"the hosts take {total:.2f} of {machine.cores:g} cores: what else runs here (this "
            "program too) slows them down when all are busy"
        )
    several = [name for name, host in spec.hosts.items() if host.cores > 1]
    if several:
        made.append(
            f"{', '.join(several)}: with several cores the quota is that of all of them together, "
            "so one thread alone may run faster than one core of the device"
        )
    if jumping(spec) and machine.compiler is None:
        made.append(
            "clocks cannot jump: there is no C compiler (Debian, Ubuntu: apt install gcc libc6-dev)"
        )
    return tuple(made)
