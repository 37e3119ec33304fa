"""Requests of hundreds of megabytes through one remote stage, while another client is served by
another worker of the same mesh.

Nobody may be disturbed by them: the small requests of the other client are all answered, and
neither client loses sight of anybody.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import psutil

import shoal
from shoal.errors import MeshError
from shoal.observe.load_generator import LoadGenerator, answers_of
from shoal.plan.cluster import Cluster, Gateway
from shoal_benchmarks.foundation.hops import relay
from shoal_benchmarks.measure import samples
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.wire.playbooks import replicas

if TYPE_CHECKING:
    from shoal.model.network import Network
    from shoal.runtime.service import Service

SIZES_MB = (500, 900)
ROUNDS, QUICK_ROUNDS = 3, 1
COPIES = 4
"""Of a request in memory at a time, at most: the client's own, the service's, the worker's, and
what computing takes."""
ROW_BYTES = 1_000_000
"""Of an image, of which a request is full."""
PAUSE_S = 1.0
"""Before and after a large request: time for comparison, and for peers to be missed."""
DEADLINE_S = 120.0
WINDOW = 2
TOLERANCE = 1e-3
CLIENT, LARGE, SMALL = "large-client", "worker-1", "worker-2"


class Fate(msgspec.Struct, frozen=True):
    """What became of a large request: when its client was ready, when it was asked and answered
    (monotonic clock), whether rightly, and how often its client lost sight of somebody."""

    ready_s: float
    asked_s: float
    answered_s: float
    right: bool
    gone: int


class Seen(msgspec.Struct, frozen=True):
    """A large request, and what the other client saw: ``calm_ms`` and ``beside_ms`` are the longest
    pause between two of its answers before the large request and beside it."""

    fate: Fate
    asked: int
    lost: int
    wrong: int
    gone: int
    calm_ms: float
    beside_ms: float


def rows(quick: bool) -> Iterator[Row]:
    """For each size: the large request, then the other client."""
    for size in SIZES_MB:
        free = psutil.virtual_memory().available
        if free < COPIES * size * 10**6:
            text = f"it needs {COPIES * size / 1e3:g} GB of free memory, {free / 1e9:.1f} are there"
            yield row(f"a request of {size} MB: not measured, {text}", 0, "rounds")
            continue
        yield from rows_of(size, [one(size) for _ in range(QUICK_ROUNDS if quick else ROUNDS)])


def rows_of(size: int, seen: list[Seen]) -> Iterator[Row]:
    """The table of one size."""
    what = f"a request of {size} MB"
    good = sum(each.fate.right for each in seen)
    yield row(f"{what}: rounds", len(seen), "rounds")
    yield row(f"{what}: answered rightly", good, "rounds", f"= {len(seen)}")
    took = samples([each.fate.answered_s - each.fate.asked_s for each in seen])
    yield row(f"{what}: time of the answer", took, "s")
    gone = sum(each.fate.gone for each in seen)
    yield row(f"{what}: peers that its client lost", gone, "peers", "= 0")
    what = f"beside a request of {size} MB, another client"
    yield row(f"{what}: requests", sum(each.asked for each in seen), "requests")
    yield row(f"{what}: lost", sum(each.lost for each in seen), "requests", "= 0")
    yield row(f"{what}: wrong", sum(each.wrong for each in seen), "requests", "= 0")
    yield row(f"{what}: peers that it lost", sum(each.gone for each in seen), "peers", "= 0")
    longest = samples([each.beside_ms for each in seen])
    yield row(f"{what}: longest pause", max(longest.values), "ms", None, longest.spread)
    calm = samples([each.calm_ms for each in seen])
    yield row(f"{what}: longest pause before it (baseline)", max(calm.values), "ms")


def one(size: int) -> Seen:
    """A large request, in a cluster of its own."""
    network = relay()
    feeds = network.probe()
    with tempfile.TemporaryDirectory(prefix="shoal-large-") as folder:
        store = shoal.PartStore(Path(folder) / "small")
        with shoal.local_cluster(2) as cluster:
            playbook = replicas(network, [SMALL], store)
            with shoal.deploy(playbook, cluster, store=store) as service:
                lost: list[str] = []
                watch(service, lost)
                expected = answers_of(network, [feeds])
                with LoadGenerator(service, [feeds], expected, WINDOW) as load:
                    fate = _ask(cluster, size, Path(folder))
                    time.sleep(PAUSE_S)
    gone = [name for name in lost if name != CLIENT]  # which leaves in the end
    return _seen(fate, load, len(gone))


def _seen(fate: Fate, load: LoadGenerator, gone: int) -> Seen:
    pauses = [
        (before.answered_s, after.answered_s)
        for before, after in pairwise(sorted(load.records, key=lambda record: record.answered_s))
    ]
    beside = [b - a for a, b in pauses if b >= fate.asked_s and a <= fate.answered_s]
    calm = [b - a for a, b in pauses if fate.ready_s < a and b < fate.asked_s]
    return Seen(
        fate=fate,
        asked=load.asked,
        lost=len(load.lost),
        wrong=sum(record.wrong for record in load.records),
        gone=gone,
        calm_ms=max(calm, default=float("nan")) * 1e3,
        beside_ms=max(beside, default=float("inf")) * 1e3,
    )


def _ask(cluster: Cluster, size: int, folder: Path) -> Fate:
    """Ask in a process of its own, as another user would. MeshError when it fails."""
    file = folder / "cluster.yaml"
    file.write_text(cluster.to_yaml())
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(file), str(size), str(folder / "large")],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise MeshError(f"a request of {size} MB: {words[-1] if words else 'its client ended'}")
    return msgspec.json.decode(done.stdout, type=Fate)


def ask(file: str, size: int, store_folder: str) -> Fate:
    """Ask for ``size`` MB at the cluster in a file."""
    network, weights = heavy()
    cluster = msgspec.structs.replace(Cluster.load(file), gateway=Gateway(name=CLIENT))
    store = shoal.PartStore(store_folder)
    playbook = replicas(network, [LARGE], store)
    shape = (max(1, size * 10**6 // ROW_BYTES), ROW_BYTES // 4)
    feed = np.random.default_rng(size).standard_normal(shape, dtype=np.float32)
    lost: list[str] = []
    with shoal.deploy(playbook, cluster, store=store) as service:
        service.infer(network.probe())
        watch(service, lost)
        ready_s = time.monotonic()
        time.sleep(PAUSE_S)
        asked_s = time.monotonic()
        answer = service.infer(feed, deadline_ms=DEADLINE_S * 1e3)
        answered_s = time.monotonic()
        time.sleep(PAUSE_S)
        gone = len(lost)
    (found,) = answer.outputs.values()
    expected = feed @ weights
    off = np.abs(found - expected).max() if found.shape == expected.shape else np.inf
    right = bool(off <= TOLERANCE * np.abs(expected).max())
    return Fate(ready_s, asked_s, answered_s, right, gone)


def heavy() -> tuple[Network, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """A network that makes one number of a row of :data:`ROW_BYTES`, to which each value adds in
    its own way; and its weights."""
    from onnx import TensorProto, helper, numpy_helper

    count = ROW_BYTES // 4
    weights = np.random.default_rng(0).standard_normal((count, 1), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["in", "weights"], ["out"])],
        "heavy",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, ["batch", count])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return shoal.load(model.SerializeToString(), name="heavy"), weights


def watch(service: Service, lost: list[str]) -> None:
    """From now on note in ``lost`` whom the node loses sight of, whoever it is."""
    forward = service.on_peer

    def on_peer(name: str, there: bool) -> None:
        if not there:
            lost.append(name)
        forward(name, there)

    service.on_peer = on_peer  # type: ignore[method-assign]


if __name__ == "__main__":
    told = ask(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    sys.stdout.buffer.write(msgspec.json.encode(told))
