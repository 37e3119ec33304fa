"""What a worker takes in memory: no more than it has, and no longer than it needs it."""

import os
import re
import subprocess
import sys
import time

import msgspec
import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.runtime.tiny import anywhere, soon

import shoal
from shoal.errors import RemoteError
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster, Device
from shoal.runtime.worker import WorkerOptions
from shoal_lab.cgroup import Cgroup, Hierarchy, hierarchy

pytestmark = pytest.mark.system

MIB = 1 << 20
SIDE, CHANNELS = 256, 16
TENSOR = CHANNELS * SIDE * SIDE * 4
"""Bytes of the tensors within, for one image: 4 MiB, two of them at a time."""


@pytest.fixture(scope="module")
def net():
    random = np.random.default_rng(0)
    weights = random.standard_normal((CHANNELS, 3, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Tanh", ["c"], ["t"]),
            helper.make_node("GlobalAveragePool", ["t"], ["y"]),
        ],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CHANNELS, 1, 1])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return shoal.load(model.SerializeToString(), name="wide")


@pytest.fixture(scope="module")
def store(tmp_path_factory, net):
    store = PartStore(tmp_path_factory.mktemp("store"))
    for part in net.split([]):
        store.add_part(part)
    return store


def images(count):
    return np.random.default_rng(1).standard_normal((count, 3, SIDE, SIDE)).astype(np.float32)


def right(net, answer, batch):
    first = net.run({"x": batch[:1]})["y"]
    np.testing.assert_allclose(answer.outputs["y"][:1], first, rtol=1e-4, atol=1e-5)
    assert len(answer.outputs["y"]) == len(batch)
    return True


def most_of(said):
    """How many images fit, as the refusal says."""
    return int(re.search(r"send at most (\d+) at once", str(said.value))[1])


def resident(pid):
    return psutil.Process(pid).memory_info().rss


def test_what_a_large_request_needed_is_given_back_when_nothing_is_asked(net, store):
    with shoal.local_cluster(1, memory_limit=2048 * MIB) as cluster:
        pid = cluster.processes["worker-1"].pid
        with shoal.deploy(anywhere(net, "worker-1"), cluster, store=store) as service:
            service.infer(images(1))
            before = resident(pid)
            large = images(48)
            assert right(net, service.infer(large), large)
            grown = resident(pid) - before
            assert grown > 48 * TENSOR, "or there is nothing to give back"
            soon(lambda: resident(pid) - before < 32 * MIB, 20)
            assert right(net, service.infer(large[:1]), large[:1])


def test_and_while_small_ones_follow(net, store):
    with shoal.local_cluster(1, memory_limit=2048 * MIB) as cluster:
        pid = cluster.processes["worker-1"].pid
        with shoal.deploy(anywhere(net, "worker-1"), cluster, store=store) as service:
            one = images(1)
            service.infer(one)
            before = resident(pid)
            service.infer(images(48))
            end = time.monotonic() + 40
            while resident(pid) - before > 64 * MIB:
                service.infer(one)
                assert time.monotonic() < end, "it keeps what nobody needs"


def test_more_images_than_there_is_memory_for_are_refused_and_fewer_are_answered(net, store):
    with shoal.local_cluster(2, memory_limit=100 * MIB) as cluster:
        pids = [process.pid for process in cluster.processes.values()]
        book = anywhere(net, "worker-1", "worker-2")
        with shoal.deploy(book, cluster, store=store) as service:
            began = time.monotonic()
            with pytest.raises(RemoteError, match=r"too large .*send at most") as said:
                service.infer(images(64), deadline_ms=60_000)
            assert time.monotonic() - began < 30, "not only when the deadline has come"
            batch = images(most_of(said))
            assert right(net, service.infer(batch, deadline_ms=60_000), batch)
            assert service.stats().devices["worker-1"].state == "alive"
        assert [process.pid for process in cluster.processes.values()] == pids
        assert all(process.running for process in cluster.processes.values())


@pytest.mark.root
def test_a_worker_in_a_small_container_outlives_what_does_not_fit(net, store, tmp_path):
    """The kernel would end it; nobody told it a limit."""
    where = hierarchy()
    if not isinstance(where, Hierarchy) or os.geteuid() != 0:
        pytest.skip("needs root and control groups")
    group = Cgroup(where, f"memory-{os.getpid()}", "pi")
    options = WorkerOptions(name="pi", listen=("tcp/127.0.0.1:0",), store=str(tmp_path))
    joins = "".join(f"echo $$ > {file} && " for file in group.join_files)
    words = [sys.executable, "-m", "shoal.runtime.worker", msgspec.json.encode(options).decode()]
    group.make()
    group.set_memory(400 * MIB)
    worker = subprocess.Popen(
        ["sh", "-c", f'{joins}exec "$@"', "sh", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        address = msgspec.json.decode(worker.stdout.readline())["addresses"][0]
        cluster = Cluster(devices=(Device(name="pi", address=address),))
        with shoal.deploy(anywhere(net, "pi"), cluster, store=store) as service:
            with pytest.raises(RemoteError, match="limit is 256 MiB") as said:
                service.infer(images(128), deadline_ms=60_000)
            batch = images(most_of(said))
            assert right(net, service.infer(batch, deadline_ms=60_000), batch)
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.communicate()
        group.remove()
