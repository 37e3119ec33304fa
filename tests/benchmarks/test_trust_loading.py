"""The networks whose loading and planning are measured, and how that is measured."""

from pathlib import Path

import pytest

import shoal
from shoal.model.engine import Engine
from shoal.model.network import Network
from shoal.model.profiles import measure
from shoal_benchmarks.trust import loading
from shoal_benchmarks.trust.large import chain_onnx, vit_onnx, yolo_onnx


@pytest.fixture(scope="module")
def yolo() -> Network:
    return shoal.load(yolo_onnx(side=64).SerializeToString())


def test_the_detector_has_as_many_cuts_as_asked_for_and_takes_any_batch(yolo: Network) -> None:
    assert len(yolo.cuts) >= 320
    (output,) = yolo.outputs
    assert output.shape == (None, 84, 8 * 8 + 4 * 4 + 2 * 2)
    assert {"Resize", "Split", "Concat", "MaxPool", "Softmax"} <= {node.op for node in yolo.nodes}


def test_the_detector_is_profiled_node_by_node(yolo: Network) -> None:
    """The engine runs its Resize under another name: a walk back for that never ended."""
    found = measure(yolo, Engine(), rounds=3, budget_s=0.5)
    assert len(found.node_ms) == len(yolo.nodes)
    assert sum(ms for ms, node in zip(found.node_ms, yolo.nodes, strict=True) if node.op == "Conv")


def test_the_transformer_takes_any_batch() -> None:
    network = shoal.load(vit_onnx(blocks=1).SerializeToString())
    assert network.inputs[0].shape == (None, 3, 224, 224)
    assert network.outputs[0].shape == (None, 1000)
    assert len(network.cuts) > 30


def test_the_chain_comes_in_the_wrong_order() -> None:
    model = chain_onnx(50)
    assert model.graph.node[-1].input[0] == "x"
    assert len(shoal.load(model.SerializeToString()).nodes) == 50


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_load_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = loading._written(tmp_path, vit_onnx(blocks=1))
    found = loading._load(path)
    assert found["peak"] > path.stat().st_size
    assert found["seconds"] > 0
    assert found["cuts"] > 30
