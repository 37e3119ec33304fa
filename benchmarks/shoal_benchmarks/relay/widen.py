"""A network made wider that computes the same (Net2Wider: Chen, Goodfellow, Shlens, ICLR 2016)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper


def widened(path: Path, factor: int) -> bytes:
    """The plain residual network in a file with ``factor`` times the channels between its ends:
    each channel is there so many times, and what reads it takes that share of each. So it gives
    what it gave, and takes the square of that many times the multiplications."""
    model = onnx.load(str(path))
    weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    made = dict(weights)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    for place, node in enumerate(convolutions):
        first = place == 0
        weight = weights[node.input[1]]
        inner = weight if first else np.tile(weight, (1, factor, 1, 1)) / factor
        made[node.input[1]] = np.tile(inner, (factor, 1, 1, 1)).astype(np.float32)
        made[node.input[2]] = np.tile(weights[node.input[2]], factor)
    (dense,) = (node for node in model.graph.node if node.op_type == "Gemm")
    made[dense.input[1]] = (np.tile(weights[dense.input[1]], (1, factor)) / factor).astype(
        np.float32
    )
    (flat,) = (node for node in model.graph.node if node.op_type == "Reshape")
    made[flat.input[1]] = np.array([-1, made[dense.input[1]].shape[1]], np.int64)
    del model.graph.initializer[:], model.graph.value_info[:]
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in made.items())
    content: bytes = model.SerializeToString()
    return content
