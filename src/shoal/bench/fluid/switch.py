"""Together, each for itself, and together again, as the load comes and goes: who waits for that.

A light load is there all the time. A heavy one comes on top, so that the queue passes the high
mark, and goes. A request that was begun while the mode changed may take longer than any in the
steady times around it by one service time at most.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import shoal
from shoal.bench.fluid.bundles import asked_for, team_of
from shoal.bench.load import Load, Record, answers_of
from shoal.bench.measure import quiet_collector, samples
from shoal.bench.row import Row, row
from shoal.model.bundle import load_bundle

DEVICES = 2
LIGHT, HEAVY = 2, 48
PHASE_S, QUICK_PHASE_S = 6.0, 3.5
ROUNDS, QUICK_ROUNDS = 9, 2
EDGE_S = 1.0
HIGH_S, LOW_S, CALM_S = 0.03, 0.02, 1.0
"""The light load is below the low mark, the heavy one above the high mark."""


def rows(quick: bool) -> Iterator[Row]:
    """Delays around the changes of mode."""
    path = asked_for("mnist")
    if path is not None:
        phase_s = QUICK_PHASE_S if quick else PHASE_S
        yield from rows_for(path, phase_s, QUICK_ROUNDS if quick else ROUNDS)


def rows_for(path: Path, phase_s: float, rounds: int) -> Iterator[Row]:
    """The rows of one bundle."""
    bundle = load_bundle(path)
    cases = [bundle.probe(seed) for seed in range(16)]
    expected = answers_of(bundle, cases)
    together = team_of(bundle, DEVICES)
    changes: list[float] = []
    away: list[float] = []
    lost = twice = 0
    with shoal.local_cluster(DEVICES) as cluster:
        playbook = shoal.plan(bundle, cluster, "fluid", high_s=HIGH_S, low_s=LOW_S, calm_s=CALM_S)
        with shoal.deploy(playbook, cluster) as service, quiet_collector():
            for _ in range(rounds):
                with Load(service, cases, expected, LIGHT) as light:
                    time.sleep(phase_s)
                    with Load(service, cases, expected, HEAVY) as heavy:
                        came_s = time.monotonic()
                        time.sleep(phase_s)
                        went_s = time.monotonic()
                    time.sleep(phase_s + CALM_S)
                lost += len(light.lost) + len(heavy.lost)
                twice += light.twice + heavy.twice
                found = delays(light.records, came_s, went_s)
                changes += found[:1]
                away += found[1:]
    what = f"{rounds} times together, each for itself, and back ({together.name})"
    for name, values in (("each for itself", changes), ("together", away)):
        yield row(
            f"slowest request while all go {name}, beyond the slowest of the steady load",
            samples(values),
            "service times",
            "<= 1",
        )
    yield row(f"{what}: requests lost", lost, "requests", "= 0")
    yield row(f"{what}: answered twice", twice, "requests", "= 0")


def delays(records: Sequence[Record], came_s: float, went_s: float) -> list[float]:
    """How much longer the slowest request around each change took than the slowest of the steady
    heavy load, in service times: in the median time of a request under the light load alone."""
    begins = min(record.asked_s for record in records)
    alone = [r.latency_ms for r in records if begins + EDGE_S < r.asked_s < came_s - EDGE_S]
    steady = [r.latency_ms for r in records if came_s + EDGE_S < r.asked_s < went_s - EDGE_S]
    service_ms = statistics.median(alone)
    found = []
    for change_s in (came_s, went_s):
        near = [r.latency_ms for r in records if abs(r.asked_s - change_s) <= EDGE_S]
        found.append((max(near) - max(steady)) / service_ms)
    return found
