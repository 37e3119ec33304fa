from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import shoal
from shoal.strategies.fluid import build


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def workers() -> Iterator[shoal.Cluster]:
    """Two worker processes. A busy machine may hold them up for longer than the usual lease."""
    with shoal.local_cluster(2, lease_ms=5000) as cluster:
        yield cluster


@pytest.fixture
def equally_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strategy fluid deals the groups as to devices of one speed. As measured on a busy machine
    they may differ so much that one gets all."""
    monkeypatch.setattr(build, "_whole_ms", lambda profiles, device: 1.0)


@pytest.fixture
def cluster(workers: shoal.Cluster, tmp_path: Path) -> Path:
    """Their cluster file."""
    path = tmp_path / "cluster.yaml"
    path.write_text(workers.to_yaml())
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A file with three convolutions and a way around the second."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), f"w{k}")
        for k, shape in enumerate([(4, 1, 3, 3), (4, 4, 3, 3), (2, 4, 8, 8)])
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1] * 4),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("Conv", ["d", "w2"], ["e"]),
        helper.make_node("Flatten", ["e"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        weights,
    )
    path = tmp_path / "tiny.onnx"
    onnx.save(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path
    )
    return path
