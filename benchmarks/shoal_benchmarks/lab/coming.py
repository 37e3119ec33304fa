"""How long a lab takes to come and to go, and whether the hosts of a large one reach each other."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

from shoal_benchmarks.measure import Samples, samples
from shoal_benchmarks.row import Row, row
from shoal_lab import HostSpec, Lab, LabSpec, LinkSpec, command, probe, wiring
from shoal_lab.spec import Mesh, Star

ROUNDS, QUICK_ROUNDS = 10, 3
FEW, MANY = 5, 16
SHARE = 0.01
DELAYED = LinkSpec(mbit=20, delay_ms=2)
"""The slowest to make: a rate, and a delay that needs netem or the relay."""


def rows(quick: bool) -> Iterator[Row]:
    """Medians over rounds; the hosts run a program each, as they do when they go down."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    few = LabSpec(name="few", hosts=_hosts(FEW), topology=Star(link=DELAYED))
    up, down = _come_and_go(few, rounds)
    yield row(f"{FEW} hosts, star: up", up, "s", "<= 3")
    yield row(f"{FEW} hosts, star: down", down, "s", "<= 1")
    many = LabSpec(name="many", hosts=_hosts(MANY), topology=Mesh(link=DELAYED))
    yield row(f"{MANY} hosts, mesh: pairs that reach each other", _reached(many), "pairs", "= 120")
    up, down = _come_and_go(many, rounds)
    yield row(f"{MANY} hosts, mesh of 120 links: up", up, "s")
    yield row(f"{MANY} hosts, mesh of 120 links: down", down, "s")


def _hosts(count: int) -> dict[str, HostSpec]:
    return {f"h{k}": HostSpec(share=SHARE) for k in range(count)}


def _come_and_go(spec: LabSpec, rounds: int) -> tuple[Samples, Samples]:
    ups, downs = [], []
    for _ in range(rounds):
        lab = Lab(spec)
        with lab:
            ups.append(lab.up_s)
            for host in lab.hosts:
                host.spawn(["sleep", "1000"])
            began = time.monotonic()
        downs.append(time.monotonic() - began)
    return samples(ups), samples(downs)


def _reached(spec: LabSpec) -> int:
    """Pairs of hosts between which an echo comes back."""
    found = 0
    with Lab(spec) as lab:
        names = list(spec.hosts)
        for at, name in enumerate(names):
            for other in names[at + 1 :]:
                words = [sys.executable, "-I", "-S", probe.__file__, "ping"]
                address = lab.network.addresses[other]
                # Not by the host's own share: that is another matter.
                said = command.run([*wiring.inside(spec.name, name), *words, address, "1", "0"])
                found += json.loads(said)["lost"] == 0
    return found
