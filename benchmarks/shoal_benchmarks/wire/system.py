"""A system that answers, with its client, in a process of its own: what CPU time an image takes.

    python -P benchmarks/shoal_benchmarks/wire/system.py SYSTEM TASK

It is started with the sources of whichever version of Shoal is to be measured before all others, so
it keeps to what all versions have, and so does what it uses of the benches. It says
when it is ready, then it is told by lines of JSON on its standard input what to do (``seconds``,
``window``), and answers each with what that took. It ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import psutil

if TYPE_CHECKING:
    from shoal.model.network import Network

DEADLINE_S = 10.0
WINDOW = 64
"""The most that may be under way."""


class System(NamedTuple):
    """What answers: ``submit`` asks for an image, ``pids`` are the processes beside this one."""

    submit: Callable[[np.ndarray[Any, Any]], Future[Any]]
    pids: list[int]


# -- what is computed: next to nothing


def relay(channels: int, side: int) -> Network:
    """Two convolutions of 1x1, each channel for itself, with equal tensors before, between and
    after them: the first halves, the second doubles."""
    from onnx import TensorProto, helper, numpy_helper

    shape = ["batch", channels, side, side]
    weights = [np.full((channels, 1, 1, 1), value, np.float32) for value in (0.5, 2.0)]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["in", "halves"], ["between"], group=channels),
            helper.make_node("Conv", ["between", "doubles"], ["out"], group=channels),
        ],
        "relay",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(weight, name)
            for weight, name in zip(weights, ("halves", "doubles"), strict=True)
        ],
    )
    return _loaded(graph)


def glance() -> Network:
    """Takes an image of 150 kB (uint8) and gives back its first pixel."""
    from onnx import TensorProto, helper, numpy_helper

    side, channels = 224, 3
    ends = {"from": [0, 0], "to": [1, 1], "axes": [1, 2]}
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["in", "from", "to", "axes"], ["pixel"]),
            helper.make_node("Cast", ["pixel"], ["cast"], to=TensorProto.FLOAT),
            helper.make_node("Relu", ["cast"], ["out"]),
        ],
        "glance",
        [helper.make_tensor_value_info("in", TensorProto.UINT8, ["batch", side, side, channels])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 1, 1, channels])],
        [numpy_helper.from_array(np.array(at, np.int64), name) for name, at in ends.items()],
    )
    return _loaded(graph)


def _loaded(graph: Any) -> Network:
    from onnx import helper

    import shoal

    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return shoal.load(model.SerializeToString(), name=graph.name)


TASKS: dict[str, Callable[[], Network]] = {
    "64 KiB": lambda: relay(4, 64),
    "600 kB": lambda: relay(16, 97),
    "image": glance,
}
"""Named by the size of their tensors; ``image`` is one part, the others are cut into two."""


# -- who computes it


@contextlib.contextmanager
def shoal_system(network: Network, cuts: int) -> Iterator[System]:
    """Workers, and a gateway in this process."""
    import shoal
    from shoal_benchmarks.foundation.hops import chain

    with shoal.local_cluster(1 + cuts) as cluster:
        if cuts:
            playbook = chain(network, 1, cluster.names)
        else:
            playbook = shoal.plan(network, cluster, "remote")
        with shoal.deploy(playbook, cluster, deadline_ms=DEADLINE_S * 1e3) as service:
            pids = [process.pid for process in cluster.processes.values()]
            yield System(service.submit, pids)


@contextlib.contextmanager
def grpc_system(network: Network, cuts: int) -> Iterator[System]:
    """The gRPC chain of the rivals, on no cores of its own, as Shoal's workers."""
    import msgspec

    from shoal_benchmarks.rivals.ground import Loopback
    from shoal_benchmarks.rivals.grpc_chain import RIVAL
    from shoal_benchmarks.rivals.job import Job, write_piece

    parts = network.split([1] if cuts else [])
    (whole,) = network.split([])
    with tempfile.TemporaryDirectory(prefix="shoal-wire-") as name:
        folder = Path(name)
        with Loopback(folder, len(parts)) as ground:
            job = Job(
                folder=name,
                network=network.name,
                whole=write_piece(whole, folder / "whole.onnx"),
                pieces=tuple(
                    write_piece(part, folder / f"piece-{number}.onnx")
                    for number, part in enumerate(parts)
                ),
                seats=tuple(msgspec.structs.replace(seat, cores=()) for seat in ground.seats),
                client=ground.client,
                shared=True,
                threads=1,
                window=WINDOW,
                deadline_s=DEADLINE_S,
            )
            job.save()
            RIVAL.start(ground, job)
            client = RIVAL.connect(job)
            try:
                client.submit(network.probe()[job.input.name]).result()
                yield System(client.submit, [job.pid(stage) for stage in range(len(parts))])
            finally:
                client.close()


@contextlib.contextmanager
def compute_system(network: Network, cuts: int) -> Iterator[System]:
    """Only the parts, one after the other in this process: nothing is sent anywhere."""
    from shoal_benchmarks.rivals.job import write_piece
    from shoal_benchmarks.rivals.stage import Session

    with tempfile.TemporaryDirectory(prefix="shoal-wire-") as folder:
        sessions = [
            Session(write_piece(part, Path(folder) / f"piece-{number}.onnx"), 1)
            for number, part in enumerate(network.split([1] if cuts else []))
        ]

    def submit(image: np.ndarray[Any, Any]) -> Future[Any]:
        arrays = {network.inputs[0].name: image}
        for session in sessions:
            arrays = session.run(arrays)
        done: Future[Any] = Future()
        done.set_result(arrays)
        return done

    yield System(submit, [])


SYSTEMS = {"shoal": shoal_system, "grpc": grpc_system, "compute": compute_system}


# -- what it costs


def take(
    system: System, image: np.ndarray[Any, Any], seconds: float, window: int
) -> dict[str, Any]:
    """Keep ``window`` requests under way for so long; images that were answered, and CPU seconds
    of this process and of the others."""
    room = threading.Semaphore(window)
    errors: list[BaseException] = []

    def ended(future: Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            errors.append(error)
        room.release()

    others_s, own_s, begin_s = cpu_s(system.pids), time.process_time(), time.monotonic()
    count = 0
    while time.monotonic() < begin_s + seconds:
        room.acquire()
        system.submit(image).add_done_callback(ended)
        count += 1
    for _ in range(window):
        room.acquire()
    if errors:
        raise errors[0]
    return {
        "images": count,
        "wall_s": time.monotonic() - begin_s,
        "client_s": time.process_time() - own_s,
        "others_s": cpu_s(system.pids) - others_s,
    }


def cpu_s(pids: list[int]) -> float:
    """CPU seconds of processes up to now, as the kernel counts them."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def main(name: str, task: str) -> None:
    """Serve the bench until it has what it wants."""
    # What libraries print must not come between the replies.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    network = TASKS[task]()
    image = network.probe()[network.inputs[0].name]
    with SYSTEMS[name](network, 0 if task == "image" else 1) as system:
        system.submit(image).result()
        print(json.dumps({}), file=replies, flush=True)
        for line in sys.stdin:
            print(json.dumps(take(system, image, **json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
