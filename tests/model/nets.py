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
