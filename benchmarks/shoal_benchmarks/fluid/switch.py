"""Together, each for itself, and together again, as the load comes and goes: who waits for that.

A light load is there all the time. A heavy one comes on top, so that the queue passes the high
mark, and goes; together again is only later, when it has been calm for a while. A request that was
begun within a second of a change may take longer than any under the same load when nothing changes
(the heavy load for the one change, the light one for the other) by one service time at most.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import shoal
from shoal import zoo
from shoal.model.bundle import Variant, load_bundle
from shoal.observe.load_generator import LoadGenerator, Record, answers_of
from shoal_benchmarks.fluid.bundles import team_of
from shoal_benchmarks.measure import quiet_collector, samples
from shoal_benchmarks.row import Row, row

DEVICES = 2
LIGHT, HEAVY = 2, 48
PHASE_S, QUICK_PHASE_S = 6.0, 3.5
ROUNDS, QUICK_ROUNDS = 7, 2
EDGE_S = 1.0
HIGH_S, LOW_S, CALM_S = 0.03, 0.02, 1.0
"""The light load is below the low mark, the heavy one above the high mark."""


def rows(quick: bool) -> Iterator[Row]:
    """Delays around the changes of mode."""
    path = zoo.path("mnist-fluid")
    phase_s = QUICK_PHASE_S if quick else PHASE_S
    yield from rows_for(path, phase_s, QUICK_ROUNDS if quick else ROUNDS)


def rows_for(path: Path, phase_s: float, rounds: int) -> Iterator[Row]:
    """The rows of one bundle."""
    bundle = load_bundle(path)
    cases = [bundle.probe(seed) for seed in range(16)]
    expected = answers_of(bundle, cases)
    together = team_of(bundle, DEVICES)
    found: list[Delays] = []
    lost = twice = 0
    with shoal.local_cluster(DEVICES) as cluster:
        playbook = shoal.plan(bundle, cluster, "fluid", high_s=HIGH_S, low_s=LOW_S, calm_s=CALM_S)
        with shoal.deploy(playbook, cluster) as service, quiet_collector():
            for _ in range(rounds):
                with LoadGenerator(service, cases, expected, LIGHT) as light:
                    time.sleep(phase_s)
                    with LoadGenerator(service, cases, expected, HEAVY) as heavy:
                        came_s = time.monotonic()
                        time.sleep(phase_s)
                        went_s = time.monotonic()
                    time.sleep(phase_s + CALM_S)
                lost += len(light.lost) + len(heavy.lost)
                twice += light.twice + heavy.twice
                found.append(delays(light.records, came_s, went_s))
    what = f"{rounds} times together, each for itself, and back ({together.name})"
    for mode, values in (
        ("each for itself", [each.apart for each in found if each.apart is not None]),
        ("together", [each.together for each in found if each.together is not None]),
    ):
        yield row(f"{what}: all went {mode}", len(values), "times", f"= {rounds}")
        yield row(
            f"slowest request while all go {mode}, beyond the slowest of the same load in one mode",
            samples(values) if values else float("nan"),
            "service times",
            "<= 1",
        )
    yield row(f"{what}: requests lost", lost, "requests", "= 0")
    yield row(f"{what}: answered twice", twice, "requests", "= 0")


class Delays(NamedTuple):
    """How much longer the slowest request around a change took than the slowest under the same load
    without one, in service times (the median time of a request under the light load, together).
    None: there was no such change."""

    apart: float | None
    together: float | None


def delays(records: Sequence[Record], came_s: float, went_s: float) -> Delays:
    """The delays of one round, from the requests of the light load; the heavy one came and went."""
    begins_s = min(record.asked_s for record in records)

    def between(begin_s: float, end_s: float) -> list[float]:
        return [r.latency_ms for r in records if begin_s + EDGE_S < r.asked_s < end_s - EDGE_S]

    def beyond(change_s: float | None, steady: Sequence[float]) -> float | None:
        if change_s is None or not steady:
            return None
        near = [r.latency_ms for r in records if abs(r.asked_s - change_s) <= EDGE_S]
        return (max(near) - max(steady)) / service_ms

    calm = between(begins_s, came_s)
    service_ms = statistics.median(calm)
    apart_s = _first(records, came_s, alone=True)
    together_s = _first(records, went_s, alone=False)
    return Delays(
        apart=beyond(apart_s, between(came_s, went_s)),
        together=beyond(together_s, calm + between(went_s, together_s or went_s)),
    )


def _first(records: Sequence[Record], after_s: float, *, alone: bool) -> float | None:
    """When the first request was asked that one device alone (or several) then answered."""
    return min(
        (
            record.asked_s
            for record in records
            if record.asked_s >= after_s and record.plan.startswith(Variant.ALONE) == alone
        ),
        default=None,
    )
