"""The head of an exit as ONNX nodes: averages of the tensor at its cut, and a dense layer.

A tensor with places (height and width, time, tokens) is averaged over a few cells of them, which
are as far apart as can be and cover all. One cell is the global average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from shoal.errors import CutError
from shoal.model.cuts import Cut
from shoal.model.dtypes import NUMPY_TO_ONNX
from shoal.model.exits import Exits, tell
from shoal.model.graph import Graph, operators, reads, serialize, value_info
from shoal.model.network import Network
from shoal.model.spec import TensorSpec
from shoal.model.weights import Weight, weight_proto

FEATURES = 4096
"""Of one head, as long as fewer cells make them fewer: all images' are in memory."""
SHARE = 0.05
"""Of the network's weights that those of one head may be; with more of them there are fewer cells.
"""
_CHANNELS_FIRST = operators("Conv ConvTranspose BatchNormalization MaxPool AveragePool")
_CHANNELS_LAST = operators("MatMul Gemm LayerNormalization SkipLayerNormalization Attention")


@dataclass(frozen=True)
class Averaging:
    """How the tensor ``after`` becomes ``count`` features (batch, count), by ``nodes`` that give
    ``features``."""

    after: str
    features: str
    count: int
    nodes: tuple[onnx.NodeProto, ...]


def averaging(network: Network, cut: Cut, cells: int, graph: Graph) -> Averaging:
    """How the tensor at ``cut`` is averaged, over ``cells`` along each side at most. Names are new
    in ``graph``. CutError for a tensor that no head can read."""
    (spec,) = cut.tensors
    name = spec.name
    if spec.shape[:1] not in ((None,), (1,)) or None in spec.shape[1:] or len(spec.shape) < 2:
        raise CutError(
            f"the tensor {name!r} at {cut.at} has the shape {list(spec.shape)}: it needs a row for "
            "each image, and channels; see 'shoal inspect --cuts' for others"
        )
    nodes: list[onnx.NodeProto] = []

    def then(op: str, **attributes: object) -> None:
        nonlocal name
        made = graph.fresh_name(f"exit_{op.lower()}")
        nodes.append(helper.make_node(op, [name], [made], **attributes))
        name = made

    if spec.dtype != "float32":
        then("Cast", to=onnx.TensorProto.FLOAT)
    if len(spec.shape) == 2:
        return Averaging(spec.name, name, spec.shape[1] or 1, tuple(nodes))
    sides, channels = [side or 1 for side in spec.shape[2:]], spec.shape[1] or 1
    if channels_last(network, cut):
        *sides, channels = (side or 1 for side in spec.shape[1:])
        rank = len(spec.shape)
        then("Transpose", perm=[0, rank - 1, *range(1, rank - 1)])
    each = _cells(sides, channels, cells, network)
    steps = [side // count for side, count in zip(sides, each, strict=True)]
    sizes = [n - (c - 1) * step for n, c, step in zip(sides, each, steps, strict=True)]
    then("AveragePool", kernel_shape=sizes, strides=steps)
    then("Flatten")
    return Averaging(spec.name, name, channels * prod(each), tuple(nodes))


def _cells(sides: Sequence[int], channels: int, cells: int, network: Network) -> list[int]:
    """Cells along each side: as many as the weights of a dense layer on them allow."""
    classes = network.outputs[0].shape[1] or 1
    while True:
        each = [min(cells, side) for side in sides]
        count = channels * prod(each)
        few = count <= FEATURES and 4 * classes * count <= SHARE * network.weight_bytes
        if cells == 1 or few:
            return each
        cells -= 1


def channels_last(network: Network, cut: Cut) -> bool:
    """Whether the channels of the tensor at ``cut`` are its last dimension: as the layers say that
    come before it, the nearest first."""
    before = set(cut.names)
    for node in reversed(network.operators[: cut.at]):
        if not before.isdisjoint(node.output):
            if node.op_type in _CHANNELS_FIRST | _CHANNELS_LAST:
                return node.op_type in _CHANNELS_LAST
            before.update(reads(node))
    return False


def dense(
    graph: Graph,
    found: Averaging,
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    output: TensorSpec,
) -> str:
    """Add a head to ``graph``; the name of its logits. ``weights`` are (features, classes)."""
    graph.nodes += found.nodes
    names = []
    for what, value in (("weights", weights), ("bias", bias)):
        name = graph.fresh_name(f"exit_{what}")
        graph.weights[name] = Weight.of(value)
        names.append(name)
    logits = graph.fresh_name("exit")
    made = logits if output.dtype == "float32" else graph.fresh_name("exit_gemm")
    graph.nodes.append(helper.make_node("Gemm", [found.features, *names], [made]))
    if made != logits:
        to = NUMPY_TO_ONNX[output.dtype]
        graph.nodes.append(helper.make_node("Cast", [made], [logits], to=to))
    return logits


def packed(network: Network, graph: Graph, exits: Exits) -> bytes:
    """``graph``, which is that of ``network`` with heads, as a file that tells of its exits."""
    (output,) = network.outputs
    kind = NUMPY_TO_ONNX[output.dtype]
    data, _ = serialize(
        "network",
        graph.ir_version,
        graph.opsets,
        graph.nodes,
        [network.declared(spec.name) for spec in network.inputs],
        [
            network.declared(output.name),
            *(value_info(name, kind, output.shape) for name in exits.tensors),
        ],
        graph.weights,
    )
    model = onnx.ModelProto.FromString(data)
    del model.graph.initializer[:]
    model.graph.initializer.extend(weight_proto(name, w) for name, w in graph.weights.items())
    tell(model, exits)
    return bytes(model.SerializeToString(deterministic=True))
