"""shoal plan, shoal run -o: networks whose images lie anywhere, or nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from shoal.cli.entry import run
from shoal.plan.playbook import load

pytestmark = pytest.mark.system


def weight(name: str, *shape: int) -> onnx.TensorProto:
    random = np.random.default_rng(len(name) + sum(shape))
    return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)


def saved(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
    weights: list[onnx.TensorProto],
) -> Path:
    def infos(specs: dict[str, list[int | str]]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in specs.items()
        ]

    graph = helper.make_graph(nodes, "network", infos(inputs), infos(outputs), weights)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, path)
    return path


def fixed_to_four(path: Path) -> Path:
    """Four images and no other number of them."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["y"]),
    ]
    return saved(
        path, nodes, {"x": [4, 6]}, {"y": [4, 3]}, [weight("w1", 6, 5), weight("w2", 5, 3)]
    )


def without_a_batch(path: Path) -> Path:
    """An image has no axis of its own, and one output has no axis at all."""
    nodes = [
        helper.make_node("Mul", ["x", "w1"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["y"]),
        helper.make_node("ReduceSum", ["y"], ["total"], keepdims=0),
    ]
    weights = [weight("w1", 5, 6), weight("w2", 6, 3)]
    return saved(path, nodes, {"x": [5, 6]}, {"y": [5, 3], "total": []}, weights)


def along_axis_one(path: Path) -> Path:
    """Time comes first and images second, in what goes in and in what comes out."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["y"]),
        helper.make_node("ReduceMax", ["y"], ["most"], axes=[0], keepdims=0),
    ]
    weights = [weight("w1", 6, 5), weight("w2", 5, 3)]
    shapes: dict[str, list[int | str]] = {"y": [7, "n", 3], "most": ["n", 3]}
    return saved(path, nodes, {"x": [7, "n", 6]}, shapes, weights)


def of_several_lengths(path: Path) -> Path:
    """Two inputs whose first axes are free and have nothing to do with one another: as many
    questions as there are, about as many places as there are."""
    nodes = [
        helper.make_node("MatMul", ["places", "w1"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[1, 0]),
        helper.make_node("MatMul", ["asked", "c"], ["near"]),
        helper.make_node("Softmax", ["near"], ["share"], axis=-1),
        helper.make_node("MatMul", ["share", "b"], ["y"]),
    ]
    inputs: dict[str, list[int | str]] = {"asked": ["q", 5], "places": ["p", 6]}
    return saved(path, nodes, inputs, {"y": ["q", 5]}, [weight("w1", 6, 5)])


NETWORKS = {
    each.__name__: each
    for each in (fixed_to_four, without_a_batch, along_axis_one, of_several_lengths)
}
FEEDS = {
    "fixed_to_four": {"x": (4, 6)},
    "without_a_batch": {"x": (5, 6)},
    "along_axis_one": {"x": (7, 1, 6)},
    "of_several_lengths": {"asked": (1, 5), "places": (9, 6)},
}
"""What one request holds."""
SIZES = {
    "along_axis_one": ["--input", "x=7x1x6"],
    "of_several_lengths": ["--input", "places=9x6"],
}
"""What has to be said of the sizes."""
REQUESTS = 3


@pytest.mark.parametrize("strategy", ["local", "pipeline"])
@pytest.mark.parametrize("name", NETWORKS)
def test_each_output_is_what_the_engine_gives_for_that_input_alone(
    name: str, strategy: str, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = NETWORKS[name](tmp_path / "network.onnx")
    book, file, out = tmp_path / "p.json", tmp_path / "x.npz", tmp_path / "answers.npz"
    arguments = ["--cluster", str(cluster), "--strategy", strategy, "-o", str(book)]
    if strategy == "pipeline":
        arguments += ["--stages", "2"]
    assert run(["plan", str(path), *SIZES.get(name, []), *arguments]) == 0
    assert len(load(book).plans[0].stages) == (1 if strategy == "local" else 2)

    random = np.random.default_rng(1)
    asked = [
        {key: random.standard_normal(shape, np.float32) for key, shape in FEEDS[name].items()}
        for _ in range(REQUESTS)
    ]
    np.savez(file, **{key: joined([each[key] for each in asked]) for key in FEEDS[name]})
    capsys.readouterr()
    arguments = ["--cluster", str(cluster), "--input", str(file), "-o", str(out), "--json"]
    assert run(["run", str(book), *arguments]) == 0
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (len(lines), last["summary"]["answered"]) == (REQUESTS, REQUESTS)

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    with np.load(out) as kept:
        for number, feeds in enumerate(asked):
            for info, right in zip(session.get_outputs(), session.run(None, feeds), strict=True):
                found = answer(kept[info.name], right, number)
                np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-4)


def test_missing_values_are_answered_where_the_example_has_some(
    cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [
        helper.make_node("IsNaN", ["x"], ["missing"]),
        helper.make_node("Where", ["missing", "w1", "x"], ["filled"]),
        helper.make_node("MatMul", ["filled", "w2"], ["y"]),
    ]
    weights = [weight("w1", 1, 6), weight("w2", 6, 3)]
    path = saved(tmp_path / "network.onnx", nodes, {"x": ["n", 6]}, {"y": ["n", 3]}, weights)
    rows = np.random.default_rng(2).standard_normal((4, 6), np.float32)
    rows[[0, 1, 3], [2, 5, 0]] = np.nan
    np.save(tmp_path / "x.npy", rows)
    books = {}
    for name, example in (("plain", []), ("told", ["--input", str(tmp_path / "x.npy")])):
        books[name] = str(tmp_path / f"{name}.json")
        arguments = ["--cluster", str(cluster), "--strategy", "pipeline", "--stages", "2"]
        assert run(["plan", str(path), *example, *arguments, "-o", books[name]]) == 0
    out = tmp_path / "answers.npz"
    arguments = ["--cluster", str(cluster), "--input", str(tmp_path / "x.npy"), "-o", str(out)]
    assert run(["run", books["plain"], *arguments]) == 20
    assert run(["run", books["told"], *arguments]) == 0
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    with np.load(out) as kept:
        np.testing.assert_allclose(kept["y"], session.run(None, {"x": rows})[0], rtol=1e-4)


def test_a_network_that_takes_sizes_is_measured_planned_and_run_with_an_example(
    cluster: Path, tmp_path: Path
) -> None:
    """Zeros and made-up numbers do not do for it anywhere."""
    nodes = [
        helper.make_node("Expand", ["x", "size"], ["wide"]),
        helper.make_node("Reshape", ["wide", "flat"], ["row"]),
        helper.make_node("Neg", ["row"], ["y"]),
    ]
    infos = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 7]),
        helper.make_tensor_value_info("size", TensorProto.INT64, [3]),
    ]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [70])]
    flat = numpy_helper.from_array(np.array([70], np.int64), "flat")
    graph = helper.make_graph(nodes, "network", infos, made, [flat])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    path, file, book = (tmp_path / name for name in ("network.onnx", "x.npz", "p.json"))
    onnx.save(model, path)
    x = np.random.default_rng(3).standard_normal((5, 7), np.float32)
    np.savez(file, x=x, size=np.array([2, 5, 7], np.int64))
    plan = ["plan", str(path), "--cluster", str(cluster), "-o", str(book)]
    assert run([*plan, "--strategy", "local"]) == 12
    for strategy in (["local"], ["pipeline", "--stages", "2"]):
        assert run([*plan, "--input", str(file), "--strategy", *strategy]) == 0
        out = tmp_path / "answers.npz"
        arguments = ["--cluster", str(cluster), "--input", str(file), "-o", str(out)]
        assert run(["run", str(book), *arguments]) == 0
        with np.load(out) as kept:
            np.testing.assert_array_equal(kept["y"].reshape(2, 5, 7), -np.stack([x, x]))


def joined(arrays: list[np.ndarray]) -> np.ndarray:
    """An input of several requests in one file: as rows where each is one, else one before the
    other."""
    return np.concatenate(arrays) if len(arrays[0]) == 1 else np.stack(arrays)


def answer(kept: np.ndarray, right: np.ndarray, number: int) -> np.ndarray:
    """The answer to a request, from what was written for all of them."""
    if kept.shape == (REQUESTS, *right.shape):
        return kept[number]
    axis = next(k for k, (a, b) in enumerate(zip(kept.shape, right.shape, strict=True)) if a != b)
    assert right.shape[axis] == 1
    return kept.take([number], axis)
