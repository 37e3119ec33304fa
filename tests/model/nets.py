"""Small networks for tests, as the bytes of ONNX files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Shape = Sequence[int | str | None]


def node(op: str, reads: str, makes: str, domain: str = "", **attributes: Any) -> onnx.NodeProto:
    """``node("Add", "x w", "y")``; an underscore stands for an optional input left out."""
    names = ["" if name == "_" else name for name in reads.split()]
    return helper.make_node(op, names, makes.split(), domain=domain, **attributes)


def tensor(name: str, shape: Shape | None, dtype: str = "float32") -> onnx.ValueInfoProto:
    number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, number, shape)


def model(
    nodes: Iterable[onnx.NodeProto],
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[str | onnx.ValueInfoProto],
    weights: Mapping[str, Any] | None = None,
    *,
    opset: int = 17,
    ir: int = 8,
    domains: Mapping[str, int] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
) -> bytes:
    graph = helper.make_graph(
        list(nodes),
        "small",
        list(inputs),
        [onnx.ValueInfoProto(name=out) if isinstance(out, str) else out for out in outputs],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in (weights or {}).items()
        ],
    )
    opsets = {"": opset, **(domains or {})}
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets.items()],
        ir_version=ir,
        functions=functions,
    ).SerializeToString()


def random(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


IMAGE = tensor("x", ["n", 3, 8, 8])


def residual(batch: int | str = "n") -> bytes:
    """conv, relu, conv, and the sum of both: cuts of one and of two tensors, and a classifier."""
    return model(
        [
            node("Conv", "x w1 b1", "a", pads=[1, 1, 1, 1]),
            node("Relu", "a", "b"),
            node("Conv", "b w2", "c", pads=[1, 1, 1, 1]),
            node("Add", "b c", "d"),
            node("Relu", "d", "e"),
            node("GlobalAveragePool", "e", "f"),
            node("Flatten", "f", "g"),
            node("Gemm", "g w3 b3", "y"),
        ],
        [tensor("x", [batch, 3, 8, 8])],
        ["y"],
        {
            "w1": random(16, 3, 3, 3),
            "b1": random(16, seed=1),
            "w2": random(16, 16, 3, 3, seed=2) / 10,
            "w3": random(16, 10, seed=3),
            "b3": random(10, seed=4),
        },
    )


def detector(side: int = 64, classes: int = 4) -> bytes:
    """A detector with its non-maximum suppression: boxes and classes, as many as are found."""
    nodes, weights, name, channels = [], {}, "x", 3
    for k, (made, stride) in enumerate([(16, 2), (32, 2), (32, 2), (32, 1), (4 + classes, 1)]):
        size = 3 if made > 8 else 1
        weights[f"w{k}"] = random(made, channels, size, size, seed=k) * np.float32(
            (2 / (channels * size * size)) ** 0.5
        )
        attributes = {"strides": [stride] * 2, "pads": [size // 2] * 4}
        nodes.append(node("Conv", f"{name} w{k}", f"c{k}", **attributes))
        if made != 4 + classes:
            nodes.append(node("Relu", f"c{k}", f"r{k}"))
        name, channels = f"r{k}", made
    weights |= {
        "target": np.array([0, 4 + classes, -1]),
        "zero": np.array([0]),
        "four": np.array([4]),
        "end": np.array([4 + classes]),
        "one": np.array([1]),
        "scale": np.float32([side, side, side / 3, side / 3]),
        "most": np.array([20]),
        "overlap": np.float32([0.5]),
        "sure": np.float32([0.6]),
        "box": np.array(2),
        "class": np.array(1),
    }
    nodes += [
        node("Reshape", "c4 target", "flat"),
        node("Slice", "flat zero four one", "raw"),
        node("Slice", "flat four end one", "told"),
        node("Transpose", "raw", "turned", perm=[0, 2, 1]),
        node("Sigmoid", "turned", "shares"),
        node("Mul", "shares scale", "boxes"),
        node("Sigmoid", "told", "scores"),
        node("NonMaxSuppression", "boxes scores most overlap sure", "kept", center_point_box=1),
        node("Gather", "kept box", "places", axis=1),
        node("Gather", "kept class", "classes", axis=1),
        node("Squeeze", "boxes zero", "all"),
        node("Gather", "all places", "found", axis=0),
    ]
    outputs = [tensor("found", ["d", 4]), tensor("classes", ["d"], "int64")]
    return model(nodes, [tensor("x", [1, 3, side, side])], outputs, weights)
