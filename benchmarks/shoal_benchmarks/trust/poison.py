"""One input that kills whoever runs it, sent again whenever it fails, among many that do not."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

import shoal
from shoal import zoo
from shoal.errors import PoisonError, ShoalError
from shoal.observe.load_generator import LoadGenerator, answers_of
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.subjects import FASHION, load
from shoal_benchmarks.trust.supervisor import Supervisor, fragile

if TYPE_CHECKING:
    from shoal.observe.load_generator import Arrays
    from shoal.runtime.service import Service

WORKERS = 3
REQUESTS = 1000
WINDOW = 6
BEGIN_AT = 100
DEADLY = "-12345.0"
AGAIN_S = 0.2
"""So long the client of the poison waits before it sends it again."""


def rows(quick: bool) -> Iterator[Row]:
    """Counts, and the longest time in which no good request was answered."""
    network = load(FASHION)
    if network is None:
        return
    cases = list(zoo.samples(FASHION).feeds())
    expected = answers_of(network, cases)
    with fragile(SHOAL_DEADLY_VALUE=DEADLY), shoal.local_cluster(WORKERS) as cluster:
        playbook = shoal.plan(network, cluster, "replicas")
        with (
            shoal.deploy(playbook, cluster) as service,
            Supervisor(cluster) as supervisor,
            LoadGenerator(service, cases, expected, WINDOW) as good,
        ):
            good.wait(BEGIN_AT)
            client = Client(service, cases[0])
            good.wait(REQUESTS)
            client.stop()
    what = f"poison among {len(good.records)} good requests, {WORKERS} workers"
    pauses = [later - sooner for sooner, later in itertools.pairwise(ends(good, client.began_s))]
    times = [record.latency_ms for record in good.records]
    yield row(f"{what}: workers lost", supervisor.deaths, "workers", "<= 2")
    yield row(f"{what}: good requests failed", len(good.lost), "requests", "= 0")
    yield row(f"{what}: wrong", sum(record.wrong for record in good.records), "requests", "= 0")
    yield row(f"{what}: longest pause", max(pauses), "s", "<= 1")
    yield row(
        f"{what}: slowest answer beyond the usual", max(times) - statistics.median(times), "ms"
    )
    yield row(f"{what}: times that the poison was sent", client.sent, "requests")
    yield row(f"{what}: and failed for what it is", client.told, "requests")


def ends(good: LoadGenerator, since_s: float) -> list[float]:
    """When good requests were answered, from the moment on at which the poison came."""
    return [since_s, *sorted(r.answered_s for r in good.records if r.answered_s > since_s)]


class Client:
    """Sends one input that kills, again and again, until it is stopped. ``sent`` counts, and
    ``told`` how often it was told what it is."""

    def __init__(self, service: Service, like: Arrays) -> None:
        self.sent = self.told = 0
        self.began_s = time.monotonic()
        self._service = service
        self._feeds: dict[str, Any] = {
            name: np.full_like(array, float(DEADLY)) for name, array in like.items()
        }
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="poison", daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while not self._over.is_set():
            self.sent += 1
            try:
                self._service.infer(self._feeds)
            except PoisonError:
                self.told += 1
            except ShoalError:
                pass
            self._over.wait(AGAIN_S)

    def stop(self) -> None:
        """Wait for the last answer."""
        self._over.set()
        self._thread.join()
