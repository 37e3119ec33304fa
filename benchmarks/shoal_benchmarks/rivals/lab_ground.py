"""Rivals on the hosts of a lab: a client and equal devices, each on its own slow link."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from shoal_benchmarks.rivals.ground import Ground
from shoal_benchmarks.rivals.job import Seat
from shoal_lab import HostSpec, Lab, LabSpec, LinkSpec
from shoal_lab.spec import Star

PORTS = (7711, 7712)
CLIENT = "client"
PART = 0.9
"""Of the cores: the rest is for the bench and the machine itself."""


def spec_of(
    stages: int, mbit: float, cores: float, part: float = PART, name: str = "rivals"
) -> LabSpec:
    """A star of ``stages`` equal devices and a client that is twice as fast, on ``mbit`` links,
    which together use ``part`` of ``cores`` (no more than a core each)."""
    share = min(0.5, part * cores / (stages + 2))
    hosts = {CLIENT: HostSpec(share=2 * share)}
    hosts |= {f"worker-{k + 1}": HostSpec(share=share) for k in range(stages)}
    return LabSpec(name=name, hosts=hosts, topology=Star(link=LinkSpec(mbit=mbit)))


class LabGround(Ground):
    """A lab of its own for each run, so that nothing of a rival can outlive it."""

    shared = False

    def __init__(self, logs: Path, spec: LabSpec) -> None:
        super().__init__(logs)
        self._lab = Lab(spec)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._lab)
        return self

    @property
    def seats(self) -> tuple[Seat, ...]:
        return tuple(self._seat(host.name) for host in self._lab.hosts if host.name != CLIENT)

    @property
    def client(self) -> Seat:
        return self._seat(CLIENT)

    def wire_bytes(self) -> int:
        """Sent by all hosts, with the headers of each packet."""
        return sum(host.usage().sent_bytes for host in self._lab.hosts)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._stack.close()

    def _seat(self, name: str) -> Seat:
        return Seat(name, self._lab.host(name).address, PORTS)

    def _popen(self, seat: Seat, argv: Sequence[str], options: dict[str, Any]) -> Any:
        return self._lab.host(seat.name).spawn(argv, **options)
