"""How close two workers in a pipeline come to what their slowest stage allows."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import shoal
from shoal_benchmarks.foundation.hops import chain
from shoal_benchmarks.foundation.parts import balanced
from shoal_benchmarks.measure import quiet_collector, rate_of, samples
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.subjects import LITE0, RESNET50, load

if TYPE_CHECKING:
    from shoal.model.network import Network
    from shoal.observe.load_generator import Arrays
    from shoal.runtime.service import Service

ROUNDS, QUICK_ROUNDS = 9, 3
ROUND_S = 4.0
ALONE = 20
"""Requests per round that meet no queue, to learn how long each stage takes."""


def rows(quick: bool) -> Iterator[Row]:
    """Throughput over 1 / slowest stage, for both networks."""
    for name in (LITE0, RESNET50):
        network = load(name)
        if network is not None:
            yield from _rows(name, network, QUICK_ROUNDS if quick else ROUNDS)


def _rows(name: str, network: Network, rounds: int) -> Iterator[Row]:
    from shoal.model.profiles import profile

    (place,) = balanced(network, profile(network, refresh=True), 2)
    feeds = network.probe()
    slowest_ms: list[float] = []
    rates: list[float] = []
    gateway_ms: list[float] = []
    with own_cores(2) as cores, shoal.local_cluster(2, pin=[[core] for core in cores]) as cluster:
        playbook = chain(network, place, cluster.names)
        with shoal.deploy(playbook, cluster) as service, quiet_collector():
            rate_of(service, feeds, ROUND_S / 2)
            for _ in range(rounds):
                slowest_ms.append(_slowest_ms(service, feeds))
                before_s = time.process_time()
                rates.append(rate_of(service, feeds, ROUND_S))
                gateway_ms.append((time.process_time() - before_s) / (rates[-1] * ROUND_S) * 1e3)
    shares = [rate * ms / 1e3 for rate, ms in zip(rates, slowest_ms, strict=True)]
    what = f"two workers, one core each, {name}"
    yield row(f"{what}: rate over 1 / slowest stage", samples(shares), "ratio", ">= 0.90")
    yield row(f"{what}: rate", samples(rates), "images/s")
    yield row(f"{what}: slowest stage by itself (baseline)", samples(slowest_ms), "ms")
    yield row(f"{what}: CPU time of the gateway for an image", samples(gateway_ms), "ms")


@contextmanager
def own_cores(count: int) -> Iterator[list[int]]:
    """The last ``count`` cores, left by this process while others are to be had. Where there are
    none, the gateway's time is taken from the workers' cores, and the rates are less for it."""
    if not hasattr(os, "sched_setaffinity"):
        yield list(range(count))
        return
    before = sorted(os.sched_getaffinity(0))
    if len(before) > count:
        os.sched_setaffinity(0, before[:-count])
    try:
        yield before[-count:]
    finally:
        os.sched_setaffinity(0, before)


def _slowest_ms(service: Service, feeds: Arrays) -> float:
    """Median time of the slower stage when nothing else runs."""
    times: dict[int, list[float]] = {}
    for _ in range(ALONE):
        for stage in service.infer(feeds).trace:
            times.setdefault(stage.stage, []).append(stage.run_ms)
    return max(statistics.median(stage) for stage in times.values())
