"""Workers killed and frozen under load, over and over: what is lost, and how long it takes."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

import shoal
from shoal import zoo
from shoal.observe.load_generator import LoadGenerator, Record, answers_of
from shoal_benchmarks.measure import samples
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.subjects import FASHION, load

if TYPE_CHECKING:
    from shoal.observe.load_generator import Arrays
    from shoal.runtime.local import LocalCluster
    from shoal.runtime.service import Service

WORKERS = 4
ROUNDS, QUICK_ROUNDS = 20, 10
REQUESTS = 1200
"""In each round: a fault somewhere in the first third, the worker back after two thirds."""
WINDOW = 8
FAULTS = {"killed": "<= 100", "frozen": "<= 600"}
"""What is done to a worker in turn, and how much later than usual an answer may come, in ms."""


class Round(msgspec.Struct, frozen=True):
    """What a fault did. ``extra_ms``: the slowest answer beyond the usual (median) time."""

    fault: str
    asked: int
    lost: int
    twice: int
    wrong: int
    extra_ms: float


def rows(quick: bool) -> Iterator[Row]:
    """Counts over all rounds, and the delays by kind of fault."""
    network = load(FASHION)
    if network is None:
        return
    rounds: list[Round] = []
    chance = random.Random(0)
    cases = list(zoo.samples(FASHION).feeds())
    expected = answers_of(network, cases)
    with shoal.local_cluster(WORKERS) as cluster:
        playbook = shoal.plan(network, cluster, "pipeline", stages=WORKERS)
        with shoal.deploy(playbook, cluster) as service:
            for number in range(QUICK_ROUNDS if quick else ROUNDS):
                fault = list(FAULTS)[number % len(FAULTS)]
                rounds.append(_round(service, cluster, cases, expected, fault, chance))
    what = f"{len(rounds)} rounds, a worker killed or frozen under load"
    yield row(f"{what}: requests", sum(r.asked for r in rounds), "requests")
    yield row(f"{what}: lost", sum(r.lost for r in rounds), "requests", "= 0")
    yield row(f"{what}: answered twice", sum(r.twice for r in rounds), "requests", "= 0")
    yield row(f"{what}: wrong", sum(r.wrong for r in rounds), "requests", "= 0")
    for fault, goal in FAULTS.items():
        extra = samples([r.extra_ms for r in rounds if r.fault == fault])
        name = f"extra delay of the slowest request, {fault}"
        yield row(f"{name}, worst round", max(extra.values), "ms", goal, extra.spread)
        yield row(f"{name}, median round", extra, "ms")


def _round(
    service: Service,
    cluster: LocalCluster,
    cases: Sequence[Arrays],
    expected: Sequence[Arrays],
    fault: str,
    chance: random.Random,
) -> Round:
    worker = cluster.processes[chance.choice(cluster.names)]
    with LoadGenerator(service, cases, expected, WINDOW) as load:
        load.wait(REQUESTS // 6)
        load.wait(REQUESTS // 6 + chance.randrange(REQUESTS // 6))
        usual_ms = _median_ms(load.records)
        before = len(load.records)
        if fault == "killed":
            worker.kill()
        else:
            worker.freeze()
        load.wait(2 * REQUESTS // 3)
        if fault == "killed":
            worker.restart()
        else:
            worker.thaw()
        _wait_back(service, worker.name)
        load.wait(len(load.records) + REQUESTS // 3)
    slowest_ms = max(record.latency_ms for record in load.records[before:])
    return Round(
        fault=fault,
        asked=load.asked,
        lost=len(load.lost),
        twice=load.twice,
        wrong=sum(record.wrong for record in load.records),
        extra_ms=slowest_ms - usual_ms,
    )


def _median_ms(records: Sequence[Record]) -> float:
    return statistics.median(record.latency_ms for record in records)


def _wait_back(service: Service, name: str) -> None:
    """Wait until the worker may be used again."""
    for _ in range(1000):
        device = service.stats().devices[name]
        if device.state == "alive" and device.ready:
            return
        time.sleep(0.02)
