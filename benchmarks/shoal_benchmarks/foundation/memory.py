"""What an idle worker and a long-serving gateway hold in memory, and how soon a worker is ready."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import shoal
from shoal_benchmarks.foundation.hops import chain, relay
from shoal_benchmarks.measure import resident_mib, samples
from shoal_benchmarks.row import Row, row

STARTS, QUICK_STARTS = 15, 7
REQUESTS, QUICK_REQUESTS = 100_000, 20_000
RUNS, QUICK_RUNS = 3, 1
"""Of the gateway; none may grow by more than the goal."""
SETTLE_S = 1.0


def rows(quick: bool) -> Iterator[Row]:
    """Resident memory and start of a worker, then growth of the gateway."""
    yield from _worker(QUICK_STARTS if quick else STARTS)
    requests, runs = (QUICK_REQUESTS, QUICK_RUNS) if quick else (REQUESTS, RUNS)
    yield from _gateway(requests, runs)


def _worker(starts: int) -> Iterator[Row]:
    resident, ready_s = [], []
    with shoal.local_cluster(1) as cluster:
        (worker,) = cluster.processes.values()
        for _ in range(starts):
            worker.kill()
            begin_s = time.monotonic()
            worker.restart()
            ready_s.append(time.monotonic() - begin_s)
            time.sleep(SETTLE_S)
            resident.append(resident_mib(worker.pid))
    yield row("idle worker: resident memory", samples(resident), "MiB", "<= 65")
    yield row("worker: from start to ready", samples(ready_s), "s", "<= 1.5")


def _gateway(requests: int, runs: int) -> Iterator[Row]:
    """The largest growth of all runs, and what the gateways hold in the end."""
    grown, resident = [], []
    for _ in range(runs):
        growth, end = _grown(requests)
        grown.append(growth)
        resident.append(end)
    many = samples(grown)
    what = f"gateway: growth over {requests:,} requests, most of {runs}"
    yield row(what, max(grown), "MiB", "<= 1", many.spread)
    yield row("gateway: resident memory", samples(resident), "MiB")


def _grown(requests: int) -> tuple[float, float]:
    """Growth from the second fifth of the requests (all caches are full by then) to the last, and
    resident memory there."""
    # A process of its own: what the bench itself holds would hide it.
    command = [sys.executable, "-m", "shoal_benchmarks.foundation.memory", str(requests)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seen: list[float] = json.loads(done.stdout)
    fifth = len(seen) // 5
    end = statistics.median(seen[-fifth:])
    return end - statistics.median(seen[fifth : 2 * fifth]), end


def gateway_mib(requests: int) -> list[float]:
    """Resident memory of this process a hundred times while it gets answers, in MiB."""
    network = relay()
    feeds = network.probe()
    seen: list[float] = []
    with shoal.local_cluster(2) as cluster:
        playbook = chain(network, 1, cluster.names)
        with shoal.deploy(playbook, cluster) as service:
            for number, _ in enumerate(service.infer_many(feeds for _ in range(requests))):
                if number % (requests // 100) == 0:
                    seen.append(resident_mib(os.getpid()))
    return seen


if __name__ == "__main__":
    print(json.dumps(gateway_mib(int(sys.argv[1]))))
