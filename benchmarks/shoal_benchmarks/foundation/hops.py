"""What a hop from worker to worker costs beside the bytes: from the end of one part to the start
of the next on another process, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

import shoal
from shoal_benchmarks.measure import quiet_collector, samples
from shoal_benchmarks.row import Row, row

if TYPE_CHECKING:
    from shoal.core.messages import StageTrace
    from shoal.model.network import Network
    from shoal.plan.plan import Playbook

CHANNELS, SIDE = 16, 32
TENSOR_BYTES = CHANNELS * SIDE * SIDE * 4
REQUESTS, QUICK_REQUESTS, WARM_UP = 5000, 1500, 200


def rows(quick: bool) -> Iterator[Row]:
    """Half-way and far percentiles of single hops, one request at a time. Nothing is taken off
    for the bytes: on loopback they cost no more than a copy."""
    with shoal.local_cluster(2) as cluster:
        network = relay()
        playbook = chain(network, 1, cluster.names)
        feeds = network.probe()
        hops: list[float] = []
        with shoal.deploy(playbook, cluster) as service, quiet_collector():
            for number in range(WARM_UP + (QUICK_REQUESTS if quick else REQUESTS)):
                answer = service.infer(feeds, trace=True)
                if number >= WARM_UP:
                    hops.append(hop_ms(*answer.trace))
    found = samples(hops)
    what = f"hop overhead, {TENSOR_BYTES >> 10} KiB, loopback"
    yield row(f"{what}, p50", found.median, "ms", "<= 0.6", found.spread)
    yield row(f"{what}, p99", found.percentile(99), "ms", "<= 3")


def hop_ms(before: StageTrace, after: StageTrace) -> float:
    """From the end of a run to the start of the next, on two processes that share a clock."""
    if before.started_s is None or after.started_s is None:
        raise ValueError("nobody told when a stage began: ask with trace=True")
    return (after.started_s - before.started_s) * 1e3 - before.run_ms


def relay() -> Network:
    """Two small layers with a tensor of 64 KiB before, between and after them."""
    from onnx import TensorProto, helper, numpy_helper

    shape = ["batch", CHANNELS, SIDE, SIDE]
    eye = np.eye(CHANNELS, dtype=np.float32).reshape(CHANNELS, CHANNELS, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["in", "weight"], ["between"]),
            helper.make_node("Conv", ["between", "weight"], ["out"]),
        ],
        "relay",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(eye, "weight")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return shoal.load(model.SerializeToString(), name="relay")


def chain(network: Network, cut: int, devices: tuple[str, ...]) -> Playbook:
    """A playbook with one plan: the network cut once, a part on each of two devices."""
    from shoal.plan.plan import Forecast, Plan, PolicySpec, Stage
    from shoal.plan.playbook import make_playbook

    store = shoal.PartStore()
    parts = network.split([cut])
    for part in parts:
        store.add_part(part)
    stages = tuple(
        Stage(parts={device: part.hash}, inputs=part.inputs, outputs=part.outputs)
        for device, part in zip(devices, parts, strict=True)
    )
    return make_playbook(
        network=network.name,
        strategy="bench",
        policy=PolicySpec("preferred"),
        plans=[Plan("chain", stages, Forecast(latency_ms=1.0, images_per_s=1.0))],
        parts={part.hash: part.info for part in parts},
        inputs=network.inputs,
        outputs=network.outputs,
    )
