"""Forecasts held against measurements: latency and throughput of every strategy's plan."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import shoal
from shoal_benchmarks.measure import quiet_collector, rate_of
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.subjects import LITE0, RESNET50, load

if TYPE_CHECKING:
    from shoal.model.network import Network
    from shoal.plan.profiles import Profiles

WORKERS = 2
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("local", {}),
    ("remote", {}),
    ("replicas", {}),
    ("pipeline", {"stages": 2}),
)
SECONDS, QUICK_SECONDS = 10.0, 3.0
REQUESTS, QUICK_REQUESTS = 60, 25


def rows(quick: bool) -> Iterator[Row]:
    """Forecast over measurement of each, and the mean error of all."""
    errors: dict[str, list[float]] = {"latency": [], "throughput": []}
    for name in (LITE0, RESNET50):
        network = load(name)
        if network is None:
            continue
        for made in _rows(name, network, quick):
            errors["latency" if "latency" in made.name else "throughput"].append(made.value - 1)
            yield made
    for what, found in errors.items():
        mean = statistics.fmean(abs(error) for error in found)
        yield row(f"forecast of {what}: mean error", 100 * mean, "%", "<= 10")


def _rows(name: str, network: Network, quick: bool) -> Iterator[Row]:
    from shoal.model.profiles import profile
    from shoal.runtime.survey import survey

    profile(network, refresh=True)
    with shoal.local_cluster(WORKERS) as cluster:
        profiles = survey(network, cluster).profiles
        for strategy, options in CASES:
            yield from _case(name, network, cluster, profiles, strategy, options, quick)


def _case(
    name: str,
    network: Network,
    cluster: shoal.Cluster,
    profiles: Profiles,
    strategy: str,
    options: dict[str, Any],
    quick: bool,
) -> Iterator[Row]:
    playbook = shoal.plan(network, cluster, strategy, profiles=profiles, **options)
    forecast = playbook.plans[0].forecast
    feeds = network.probe()
    with shoal.deploy(playbook, cluster) as service, quiet_collector():
        rate_of(service, feeds, 1.0)
        count = QUICK_REQUESTS if quick else REQUESTS
        latency_ms = statistics.median(service.infer(feeds).latency_ms for _ in range(count))
        rate = rate_of(service, feeds, QUICK_SECONDS if quick else SECONDS)
    what = f"forecast over measured, {strategy}, {name}"
    yield row(f"{what}: latency", forecast.latency_ms / latency_ms, "ratio")
    yield row(f"{what}: throughput", forecast.images_per_s / rate, "ratio")
