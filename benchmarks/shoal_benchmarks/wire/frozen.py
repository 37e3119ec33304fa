"""A worker freezes under load, and its replacement joins through another worker, at an address
that the gateway was not told.

The gateway has the least number on the mesh and no address, so that on the mesh nobody is sure to
call anybody: what brings the newcomer and the gateway together are the addresses that nodes tell.
The frozen worker holds its name and its sockets to the end of the try. Afterwards the load goes on
for longer than the mesh is patient with a sign that it does not see, so that joining it anew, if it
comes to that, falls into the try.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import shoal
from shoal.observe.load_generator import LoadGenerator, Record, answers_of
from shoal_benchmarks.foundation.hops import relay
from shoal_benchmarks.measure import samples
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.wire.playbooks import replicas

if TYPE_CHECKING:
    from shoal.model.network import Network
    from shoal.runtime.local import LocalCluster, WorkerProcess

TRIES, QUICK_TRIES = 20, 5
LEASE_MS = 400
BEYOND_MS = 100
"""How much later than the lease the next answer may come."""
JOIN_S = 2.0
"""Within which the newcomer must be at work."""
PATIENCE_S = 20.0
"""After which it counts as never."""
WARM_S, AFTER_S, QUICK_AFTER_S = 1.0, 12.0, 3.0
WINDOW = 8
LEAST = "1" + 31 * "0"
"""The least number that a node of Shoal's may have on the mesh."""
NEIGHBOUR, VICTIM = "worker-1", "worker-2"


class Try(msgspec.Struct, frozen=True):
    """What became of it. ``pause_ms`` is the longest time between two answers, ``slowest_ms`` that
    from asking to an answer, both from the freezing on; ``used_s`` is from when the newcomer was
    ready to its first answer (None: never)."""

    asked: int
    lost: int
    twice: int
    wrong: int
    pause_ms: float
    slowest_ms: float
    used_s: float | None


def rows(quick: bool) -> Iterator[Row]:
    """Counts over all tries, and the worst of each time."""
    network = relay()
    after_s = QUICK_AFTER_S if quick else AFTER_S
    tries = [one(network, after_s) for _ in range(QUICK_TRIES if quick else TRIES)]
    yield from rows_of(tries)


def rows_of(tries: Sequence[Try]) -> Iterator[Row]:
    """The table."""
    what = f"frozen, its replacement joins through another, {len(tries)} tries"
    yield row(f"{what}: requests", sum(each.asked for each in tries), "requests")
    yield row(f"{what}: lost", sum(each.lost for each in tries), "requests", "= 0")
    yield row(f"{what}: answered twice", sum(each.twice for each in tries), "requests", "= 0")
    yield row(f"{what}: wrong", sum(each.wrong for each in tries), "requests", "= 0")
    pauses = samples([each.pause_ms for each in tries])
    goal = f"<= {LEASE_MS + BEYOND_MS}"
    yield row(
        f"{what}: longest pause between answers", max(pauses.values), "ms", goal, pauses.spread
    )
    slowest = samples([each.slowest_ms for each in tries])
    yield row(f"{what}: slowest answer", max(slowest.values), "ms", None, slowest.spread)
    used = samples([PATIENCE_S if each.used_s is None else each.used_s for each in tries])
    never = sum(each.used_s is None for each in tries)
    if never:
        yield row(f"{what}: newcomer not used within {PATIENCE_S:g} s", never, "tries", "= 0")
    yield row(f"{what}: newcomer at work", max(used.values), "s", f"<= {JOIN_S:g}", used.spread)


def one(network: Network, after_s: float) -> Try:
    """Freeze, replace, and go on for ``after_s`` after the newcomer is at work."""
    from shoal.mesh.zenoh import ZenohLink

    feeds = network.probe()
    expected = answers_of(network, [feeds])
    folder = Path(tempfile.mkdtemp(prefix="shoal-frozen-"))
    newcomer: WorkerProcess | None = None
    try:
        store = shoal.PartStore(folder / "gateway")
        with shoal.local_cluster(2, lease_ms=LEASE_MS) as cluster:
            playbook = replicas(network, [NEIGHBOUR, VICTIM], store)
            link = ZenohLink(
                cluster.gateway.name,
                listen=[],
                connect=[str(device.address) for device in cluster.devices],
                lease_ms=LEASE_MS,
                settings={"id": LEAST},
            )
            newcomer = _replacement(cluster, folder)
            with shoal.deploy(playbook, cluster, store=store, link=link) as service:
                with LoadGenerator(service, [feeds], expected, WINDOW) as load:
                    time.sleep(WARM_S)
                    frozen_s = time.monotonic()
                    cluster.processes[VICTIM].freeze()
                    newcomer.start()
                    newcomer.wait_ready()
                    ready_s = time.monotonic()
                    _wait_used(load, ready_s)
                    time.sleep(after_s)
                cluster.processes[VICTIM].kill()  # or leaving would take its time
            return _try_of(load, frozen_s, ready_s)
    finally:
        if newcomer is not None:
            newcomer.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _replacement(cluster: LocalCluster, folder: Path) -> WorkerProcess:
    """A worker of the victim's name that knows only its neighbour, with an empty store."""
    from shoal.runtime.local import WorkerProcess

    options = msgspec.structs.replace(
        cluster.processes[VICTIM].options,
        listen=("tcp/127.0.0.1:0",),
        connect=tuple(cluster.processes[NEIGHBOUR].addresses),
        store=str(folder / VICTIM),
    )
    return WorkerProcess(options, folder / f"{VICTIM}.log")


def _by_newcomer(record: Record, ready_s: float) -> bool:
    """Whether it was asked when the one before was long frozen, and the victim's name answered."""
    return record.asked_s >= ready_s and VICTIM in record.devices


def _wait_used(load: LoadGenerator, ready_s: float) -> None:
    seen = 0
    while time.monotonic() < ready_s + PATIENCE_S:
        latest = load.records[seen:]
        if any(_by_newcomer(record, ready_s) for record in latest):
            return
        seen += len(latest)
        time.sleep(0.01)


def _try_of(load: LoadGenerator, frozen_s: float, ready_s: float) -> Try:
    ends = sorted(record.answered_s for record in load.records)
    last = max((end for end in ends if end <= frozen_s), default=frozen_s)
    later = [record for record in load.records if record.answered_s > frozen_s]
    used = [record.answered_s for record in later if _by_newcomer(record, ready_s)]
    pauses = [b - a for a, b in pairwise([last, *(end for end in ends if end > frozen_s)])]
    return Try(
        asked=load.asked,
        lost=len(load.lost),
        twice=load.twice,
        wrong=sum(record.wrong for record in load.records),
        pause_ms=max(pauses, default=float("inf")) * 1e3,
        slowest_ms=max((record.latency_ms for record in later), default=float("inf")),
        used_s=min(used) - ready_s if used else None,
    )
