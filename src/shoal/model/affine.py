"""Fold a scale and shift per channel into the layer before it: batch norm, and constant Mul, Add.

``y = s * (W x + b) + t`` is ``(s W) x + (s b + t)``. Legal where nothing else reads what lies
between, and the layer's weights are constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx

from shoal.model.dtypes import ONNX_TO_NUMPY, Array
from shoal.model.graph import Graph, attribute, makes, reads
from shoal.model.shapes import Kind, infer
from shoal.model.weights import Weight


def fold_affine(graph: Graph) -> bool:
    """Fold all that can be folded; whether anything was."""
    if not any(node.op_type in _LAYERS for node in graph.nodes):
        return False
    kinds = infer(graph) if any(n.op_type == "BatchNormalization" for n in graph.nodes) else {}
    uses = Counter(name for node in graph.nodes for name in reads(node))
    uses.update(graph.outputs)
    makers = {name: node for node in graph.nodes for name in makes(node)}
    kept = []
    for node in graph.nodes:
        source = next((name for name in reads(node) if name in makers), None)
        layer = makers[source] if source is not None else None
        if (
            layer is None
            or source is None
            or uses[source] != 1
            or len(makes(layer)) != 1
            or not _fold(node, source, layer, graph, kinds)
        ):
            kept.append(node)
            continue
        layer.output[0] = node.output[0]
        makers[node.output[0]] = layer
    changed = len(kept) < len(graph.nodes)
    graph.nodes = kept
    return changed


def _fold(
    node: onnx.NodeProto,
    source: str,
    layer: onnx.NodeProto,
    graph: Graph,
    kinds: Mapping[str, Kind],
) -> bool:
    """Put ``node`` into ``layer``, whose only reader it is; False if that is not legal."""
    shape = _layer_shape(layer, graph, kinds)
    if shape is None:
        return False
    channels, rank = shape
    found = _affine(node, source, channels, rank, graph)
    if found is None:
        return False
    scale, shift = found
    weight = _array(layer, 1, graph)
    along = [1] * weight.ndim
    along[_channel_axis(layer)] = channels
    bias = _array(layer, 2, graph) if len(reads(layer)) > 2 else np.zeros(channels)
    updates = {1: weight * scale.reshape(along), 2: bias.reshape(-1) * scale + shift}
    dtype = ONNX_TO_NUMPY[graph.weights[layer.input[1]].data_type]
    with np.errstate(all="ignore"):
        cast = {index: value.astype(dtype) for index, value in updates.items()}
    if not all(np.isfinite(value).all() for value in cast.values()):
        return False
    while len(layer.input) < 3:
        layer.input.append("")
    for index, value in cast.items():
        name = graph.fresh_name(f"{node.output[0]}_{'weight' if index == 1 else 'bias'}")
        graph.weights[name] = Weight.of(value)
        layer.input[index] = name
    return True


def _layer_shape(
    layer: onnx.NodeProto, graph: Graph, kinds: Mapping[str, Kind]
) -> tuple[int, int] | None:
    """(channels, rank) of what a layer makes, if a scale and shift can be folded into it."""
    if layer.domain != "" or layer.op_type not in _LAYERS:
        return None
    if any(name not in graph.weights for name in reads(layer)[1:]):
        return None
    dims = graph.weights[layer.input[1]].dims
    kind = graph.weights[layer.input[1]].data_type
    if kind not in (1, 10, 11):
        return None
    if layer.op_type == "Conv":
        return dims[0], len(dims)
    if layer.op_type == "ConvTranspose":
        return (dims[1], len(dims)) if attribute(layer, "group", 1) == 1 else None
    if layer.op_type == "Gemm":
        if attribute(layer, "alpha", 1.0) != 1.0 or attribute(layer, "beta", 1.0) != 1.0:
            return None
        channels = dims[_channel_axis(layer)]
        if len(reads(layer)) > 2 and graph.weights[layer.input[2]].dims not in (
            (channels,),
            (1, channels),
        ):
            return None
        return channels, 2
    shape = kinds.get(layer.input[0], (0, None))[1]
    return (dims[0], len(shape)) if shape is not None and _is_inference(layer) else None


_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "BatchNormalization"})


def _channel_axis(layer: onnx.NodeProto) -> int:
    """The axis of the first weight along which the channels lie."""
    turned = layer.op_type == "Gemm" and not attribute(layer, "transB", 0)
    return int(turned or layer.op_type == "ConvTranspose")


def _affine(
    node: onnx.NodeProto, source: str, channels: int, rank: int, graph: Graph
) -> tuple[Array, Array] | None:
    """``node`` as scale and shift per channel of ``source``, if it is that."""
    if node.domain != "":
        return None
    if node.op_type == "BatchNormalization":
        if not _is_inference(node) or any(name not in graph.weights for name in node.input[1:]):
            return None
        scale, shift, mean, var = (_array(node, index, graph) for index in range(1, 5))
        if any(value.shape != (channels,) for value in (scale, shift, mean, var)):
            return None
        with np.errstate(all="ignore"):
            scale = scale / np.sqrt(var + attribute(node, "epsilon", 1e-5))
        return scale, shift - mean * scale
    if node.op_type not in ("Mul", "Add", "Sub", "Div") or len(node.input) != 2:
        return None
    if node.op_type in ("Sub", "Div") and node.input[0] != source:
        return None
    constant = node.input[1] if node.input[0] == source else node.input[0]
    if constant not in graph.weights or constant == source:
        return None
    value = _per_channel(graph.weights[constant], channels, rank)
    if value is None:
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    if node.op_type == "Mul":
        return value, zero
    if node.op_type == "Div":
        return (one / value, zero) if value.all() else None
    return one, value if node.op_type == "Add" else -value


def _per_channel(weight: Weight, channels: int, rank: int) -> Array | None:
    if len(weight.dims) > rank or weight.data_type not in (1, 10, 11):
        return None
    dims = (1,) * (rank - len(weight.dims)) + weight.dims
    if any(dim != 1 for axis, dim in enumerate(dims) if axis != 1) or dims[1] not in (1, channels):
        return None
    return np.broadcast_to(weight.array().astype(np.float64).reshape(-1), (channels,))


def _is_inference(node: onnx.NodeProto) -> bool:
    return (
        len(makes(node)) == 1
        and not attribute(node, "training_mode", 0)
        and bool(attribute(node, "spatial", 1))
    )


def _array(node: onnx.NodeProto, index: int, graph: Graph) -> Array:
    return graph.weights[node.input[index]].array().astype(np.float64)
