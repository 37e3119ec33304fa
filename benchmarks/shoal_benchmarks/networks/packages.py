"""Trained networks of other people: loaded, cut at every cut, planned and served on three workers,
of which one is killed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

import shoal
from shoal.errors import PlanError, ShoalError
from shoal_benchmarks.networks.others import OTHERS, Feeds, Other, apart, expected
from shoal_benchmarks.row import Row, row

if TYPE_CHECKING:
    from shoal.model.network import Network
    from shoal.plan.plan import Playbook
    from shoal.runtime.answer import Answer
    from shoal.runtime.local import LocalCluster

INPUTS, REQUESTS, KILL_AT = 3, 120, 40
QUICK_CUTS, QUICK_REQUESTS, QUICK_KILL_AT = 8, 45, 15
WORKERS, WINDOW = 3, 9
EXACT = 1e-3
"""More than that, over the largest value, is another answer; where the network's own proof allows
more (8 bits), as much as that."""


def rows(quick: bool) -> Iterator[Row]:
    """Counts for each network that is installed."""
    loaded = 0
    there = [other for other in OTHERS if other.path is not None]
    for other in there:
        network = other.load()
        loaded += 1
        cases = [(feeds, expected(other, feeds)) for feeds in other.inputs(network, INPUTS)]
        allowed = max(EXACT, network.tolerance)
        cuts = network.cuts
        if quick:
            tried = min(len(cuts), QUICK_CUTS)
            cuts = tuple(cuts[k * len(cuts) // tried] for k in range(tried))
        wrong, worst = 0, 0.0
        for cut in cuts:
            off = max(apart(_in_parts(network, cut.at, feeds), right) for feeds, right in cases)
            wrong += off > allowed
            worst = max(worst, off)
        what = f"{other.name}, {len(cuts)} of {len(network.cuts)} cuts, {INPUTS} inputs"
        yield row(f"{what}: cuts with another answer than ONNX Runtime's", wrong, "cuts", "= 0")
        yield row(f"{what}: largest difference over the largest value", worst, "")
        yield from _served(other, network, cases, allowed, quick)
    yield row(
        f"networks of packages that are used, of {len(OTHERS)} ({len(there)} installed)",
        loaded, "networks", f"= {len(OTHERS)}",
    )  # fmt: skip


def _in_parts(network: Network, at: int, feeds: Feeds) -> Feeds:
    tensors = dict(feeds)
    for part in network.split([at], prove=False):
        tensors |= part.run({name: tensors[name] for name in part.inputs})
    return tensors


def _served(
    other: Other, network: Network, cases: list[tuple[Feeds, Feeds]], allowed: float, quick: bool
) -> Iterator[Row]:
    count, kill_at = (QUICK_REQUESTS, QUICK_KILL_AT) if quick else (REQUESTS, KILL_AT)
    lost = wrong = 0
    with shoal.local_cluster(WORKERS) as cluster:
        playbook = _planned(network, cluster)
        with shoal.deploy(playbook, cluster) as service:
            asked: deque[Future[Answer]] = deque()
            for number in range(count + WINDOW):
                if number < count:
                    asked.append(service.submit(cases[number % len(cases)][0]))
                if number == kill_at:
                    cluster.processes["worker-2"].kill()
                if number < WINDOW:
                    continue
                try:
                    found = asked.popleft().result().outputs
                except ShoalError:
                    lost += 1
                else:
                    wrong += apart(found, cases[(number - WINDOW) % len(cases)][1]) > allowed
    what = f"{other.name} by {playbook.strategy}, {count} requests, one of {WORKERS} workers killed"
    yield row(f"{what}: lost", lost, "requests", "= 0")
    yield row(f"{what}: wrong", wrong, "requests", "= 0")


def _planned(network: Network, cluster: LocalCluster) -> Playbook:
    """In as many stages as there are workers; where that cannot be, whole on each."""
    try:
        return shoal.plan(network, cluster, "pipeline", stages=WORKERS)
    except PlanError:
        return shoal.plan(network, cluster, "replicas")
