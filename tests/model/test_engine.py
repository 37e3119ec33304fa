"""The engine runs a part from its bytes, and says what it cannot run."""

import subprocess
import sys
import threading
import time

import numpy as np
import onnx
import psutil
import pytest
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.errors import InputError, ModelFileError, ShoalError, UnsupportedModelError, UsageError
from shoal.model.engine import Engine, give_back
from shoal.model.part import image_memory


@pytest.fixture(scope="module")
def part():
    return model.load(nets.residual()).split([])[0]


def test_a_session_knows_its_tensors_and_runs(part):
    session = Engine().load(part.graph, part.blobs)
    assert (session.inputs, session.outputs) == (("x",), ("y",))
    feeds = {"x": random(2, 3, 8, 8)}
    found = session.run(feeds)
    np.testing.assert_allclose(found["y"], part.run(feeds)["y"], rtol=1e-5)
    assert session.run(feeds, []) == {}
    assert list(session.run({**feeds, "more": random(1)}, ["y"])) == ["y"]


def test_any_buffer_may_hold_the_weights_and_may_go_afterwards(part):
    blobs = {hash: bytearray(blob) for hash, blob in part.blobs.items()}
    session = Engine(threads=2).load(part.graph, blobs)
    feeds = {"x": random(1, 3, 8, 8)}
    before = session.run(feeds)["y"]
    for blob in blobs.values():
        blob[:] = bytes(len(blob))
    np.testing.assert_array_equal(session.run(feeds)["y"], before)


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"x": random(3, 8, 8)},
        {"x": random(1, 4, 8, 8)},
        {"x": random(1, 3, 8, 8, dtype="float64")},
        {"x": "text"},
        {"x": None},
    ],
)
def test_inputs_that_do_not_fit_are_refused(part, feeds):
    with pytest.raises(InputError):
        Engine().load(part.graph, part.blobs).run(feeds)


def test_missing_and_wrong_blobs_are_refused(part):
    with pytest.raises(ModelFileError, match="missing"):
        Engine().load(part.graph, {})
    short = {hash: bytes(blob)[:-4] for hash, blob in part.blobs.items()}
    with pytest.raises(ModelFileError, match="its blob has"):
        Engine().load(part.graph, short)


def test_a_graph_that_reads_files_is_refused(part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(bytes(100_000))
    proto = onnx.ModelProto.FromString(part.graph)
    for weight in proto.graph.initializer:
        if weight.external_data:
            weight.external_data[0].value = "secret"
    with pytest.raises(ModelFileError, match="only the hash of a blob"):
        Engine().load(proto.SerializeToString(), part.blobs)


def test_what_the_engine_cannot_run_is_refused():
    unknown = nets.model([node("Magic", "x", "y")], [tensor("x", [1])], ["y"])
    with pytest.raises((UnsupportedModelError, ModelFileError)):
        Engine().load(unknown, {})
    wrong = nets.model([node("MatMul", "x w", "y")], [tensor("x", [1, 2])], ["y"], {"w": random(3)})
    with pytest.raises(ShoalError):
        Engine().load(wrong, {})


def test_wrong_settings_are_refused():
    with pytest.raises(UsageError, match="1 to 1024 threads"):
        Engine(threads=0)
    with pytest.raises(UsageError, match="no provider 'Abacus'"):
        Engine(provider="Abacus")


def test_running_lets_other_threads_go_on():
    nodes = [node("MatMul", "x w", "a")]
    nodes += [node("MatMul", f"{'a' * (k + 1)} w", "a" * (k + 2)) for k in range(8)]
    data = nets.model(nodes, [tensor("x", [512, 512])], ["a" * 9], {"w": random(512, 512) / 30})
    (whole,) = model.load(data).split([])
    session = whole.session()
    feeds = {"x": random(512, 512)}
    ticks = runs = 0
    stop = threading.Event()

    def work():
        nonlocal runs
        while not stop.is_set():
            session.run(feeds)
            runs += 1

    thread = threading.Thread(target=work)
    thread.start()
    # If it did not, this would go on once in each run; a busy machine may need some runs to do so.
    end = time.monotonic() + 60
    while ticks < 50 + 5 * runs and time.monotonic() < end:
        ticks += 1
        time.sleep(0)
    stop.set()
    thread.join()
    assert ticks >= 50 + 5 * (runs - 1)


def test_a_waiting_session_uses_no_processor(part):
    session = Engine(threads=2).load(part.graph, part.blobs)
    session.run({"x": random(1, 3, 8, 8)})
    before, began = time.process_time(), time.monotonic()
    time.sleep(0.3)
    assert time.process_time() - before < 0.5 * (time.monotonic() - began)


def test_a_worker_needs_neither_onnx_nor_torch():
    code = (
        "import sys, shoal.model.engine, shoal.model.store; "
        "print([name for name in ('onnx', 'google.protobuf', 'torch') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


def test_what_runs_have_left_is_given_back():
    """The engine keeps what its largest run needed, until it is told."""
    x = tensor("x", ["batch", 256, 256])
    data = nets.model([node("Tanh", "x", "a"), node("Sin", "a", "y")], [x], ["y"])
    (whole,) = model.load(data).split([])
    session = whole.session()
    process = psutil.Process()
    many = {"x": random(128, 256, 256)}
    session.run({"x": many["x"][:1]})
    give_back(tensors=True)
    before = process.memory_info().rss
    session.run(many)
    left = process.memory_info().rss - before
    give_back(tensors=True)
    assert left > 16 << 20, "or there is nothing to give back"
    assert process.memory_info().rss - before < left / 2
    np.testing.assert_allclose(session.run(many)["y"], np.sin(np.tanh(many["x"])), rtol=1e-4)


def test_a_part_says_what_each_further_image_takes():
    network = model.load(nets.residual())
    (whole,) = network.split([])
    assert whole.info.activations == whole.activations == image_memory(max(network.node_peak_bytes))
    parts = network.split([cut.at for cut in network.cuts])
    assert max(part.activations for part in parts) == whole.activations
    assert min(part.activations for part in parts) < whole.activations
    assert all(part.memory > part.activations for part in parts), "which counts one"
