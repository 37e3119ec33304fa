"""The normal form of a graph, in which it is cut: constants folded, what does nothing removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from shoal.errors import UnsupportedModelError
from shoal.model import limits
from shoal.model.affine import fold_affine
from shoal.model.dtypes import ONNX_TO_NUMPY, size_bytes
from shoal.model.engine import Engine
from shoal.model.graph import Graph, Weight, elements, makes, reads, serialize
from shoal.model.shapes import UNKNOWN, infer

_KEPT = frozenset({"DequantizeLinear"})
"""Not folded: the weights of a quantised network stay small, and the engine fuses these."""

_BOUNDED = frozenset({"NonZero", "Unique", "Compress", "NonMaxSuppression"})
"""Shapes of their outputs depend on data, but are no larger than rank times the inputs."""


def normalise(graph: Graph) -> None:
    """Bring ``graph`` into normal form, in place."""
    passes: Sequence[Callable[[Graph], bool]] = (
        drop_idle,
        fold_constants,
        fold_shapes,
        fold_affine,
    )
    name_outputs(graph)
    drop_dead(graph)
    changed = True
    while changed:
        changed = False
        for rewrite in passes:
            if rewrite(graph):
                changed = True
                drop_dead(graph)


def name_outputs(graph: Graph) -> None:
    """Give each output that is a weight a node of its own, which makes it."""
    for name in graph.outputs:
        if name in graph.weights:
            kept = _fresh(graph, name)
            graph.weights[kept] = graph.weights.pop(name)
            for node in graph.nodes:
                rename_reads(node, {name: kept})
            graph.nodes.append(onnx.helper.make_node("Identity", [kept], [name]))


def drop_dead(graph: Graph) -> None:
    """Remove the nodes and weights that no output needs."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(makes(node)):
            needed.update(reads(node))
            kept.append(node)
    graph.nodes = kept[::-1]
    graph.weights = {name: weight for name, weight in graph.weights.items() if name in needed}


def drop_idle(graph: Graph) -> bool:
    """Remove nodes that hand their input on unchanged: identity, and dropout in evaluation."""
    given = {spec.name for spec in graph.inputs}
    outputs = set(graph.outputs)
    kept: list[onnx.NodeProto] = []
    aliases: dict[str, str] = {}
    makers: dict[str, onnx.NodeProto] = {}
    for node in graph.nodes:
        rename_reads(node, aliases)
        if not _is_idle(node, graph):
            kept.append(node)
            makers.update(dict.fromkeys(makes(node), node))
            continue
        source, made = node.input[0], node.output[0]
        if made not in outputs:
            aliases[made] = source
        elif source in outputs or source in given or source in graph.weights:
            kept.append(node)
        else:
            # The maker of the input makes the output instead, under the output's name.
            for index, name in enumerate(makers[source].output):
                if name == source:
                    makers[source].output[index] = made
            aliases[source] = made
            outputs.add(made)
            makers[made] = makers[source]
            for other in kept:
                rename_reads(other, aliases)
    changed = len(kept) < len(graph.nodes)
    graph.nodes = kept
    return changed


def _is_idle(node: onnx.NodeProto, graph: Graph) -> bool:
    if node.domain != "":
        return False
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or len(makes(node)) > 1:
        return False
    mode = node.input[2] if len(node.input) > 2 else ""
    if not mode:
        return True
    weight = graph.weights.get(mode)
    if weight is None or any(weight.data):
        raise UnsupportedModelError(
            f"Dropout {node.name!r} is in training mode. Export the network in evaluation mode."
        )
    return True


def fold_constants(graph: Graph) -> bool:
    """Compute all nodes whose inputs are constant, one wave of them after the other."""
    changed = False
    while True:
        wave = [node for node in graph.nodes if _is_constant(node, graph)]
        if not wave:
            return changed
        _check_wave(wave, graph)
        graph.weights.update(_evaluate(wave, graph))
        done = {id(node) for node in wave}
        graph.nodes = [node for node in graph.nodes if id(node) not in done]
        changed = True


def _is_constant(node: onnx.NodeProto, graph: Graph) -> bool:
    if node.op_type in _KEPT or set(makes(node)).intersection(graph.outputs):
        return False
    return all(
        name in graph.weights and graph.weights[name].data_type in ONNX_TO_NUMPY
        for name in reads(node)
    ) and (node.op_type != "Constant" or _constant_type(node) in ONNX_TO_NUMPY)


def _constant_type(node: onnx.NodeProto) -> int:
    for attribute in node.attribute:
        if attribute.name == "value":
            return int(attribute.t.data_type)
        if attribute.name.startswith("value_string"):
            return 8
    return 1


def _part_of(wave: Sequence[onnx.NodeProto], graph: Graph) -> Graph:
    needed = dict.fromkeys(name for node in wave for name in reads(node))
    outputs = tuple(name for node in wave for name in makes(node))
    weights = {name: graph.weights[name] for name in needed}
    return Graph("constants", graph.ir_version, graph.opsets, list(wave), weights, (), outputs)


def _check_wave(wave: Sequence[onnx.NodeProto], graph: Graph) -> None:
    """Refuse constants that are too large before they are computed."""
    kinds = infer(_part_of(wave, graph))
    total = sum(weight.nbytes for weight in graph.weights.values())
    for node in wave:
        for name in makes(node):
            data_type, shape = kinds.get(name, (0, None))
            if shape is not None and UNKNOWN not in shape and data_type in ONNX_TO_NUMPY:
                size = size_bytes(data_type, elements(shape))
            elif node.op_type in _BOUNDED or node.op_type == "Constant":
                size = 16 * sum(graph.weights[read].nbytes for read in reads(node))
            else:
                raise UnsupportedModelError(
                    f"The size of constant {name!r} ({node.op_type}) cannot be told beforehand. "
                    "Save the network with its constants folded."
                )
            total += size
            if size > limits.WEIGHT_BYTES or total > limits.TOTAL_WEIGHT_BYTES:
                raise UnsupportedModelError(
                    f"Constant {name!r} ({node.op_type}) would take {size} bytes, all weights "
                    f"{total}: more than Shoal allows."
                )


def _evaluate(wave: Sequence[onnx.NodeProto], graph: Graph) -> dict[str, Weight]:
    part = _part_of(wave, graph)
    outputs = [onnx.ValueInfoProto(name=name) for name in part.outputs]
    data, blobs = serialize(
        part.name, part.ir_version, part.opsets, part.nodes, [], outputs, part.weights
    )
    results = Engine().load(data, blobs, optimise=False).run({})
    return {name: Weight.of(array) for name, array in results.items()}


def fold_shapes(graph: Graph) -> bool:
    """Replace what is computed from shapes that are known: ``Shape`` and ``Size`` of tensors
    without a free dimension, and the target of ``Reshape`` where one dimension is free."""
    if not any(node.op_type in ("Shape", "Size", "Reshape") for node in graph.nodes):
        return False
    kinds = infer(graph)
    changed = False
    for node in graph.nodes:
        if node.domain != "":
            continue
        if node.op_type in ("Shape", "Size"):
            shape = kinds.get(node.input[0], (0, None))[1]
            if (
                shape is None
                or None in shape
                or UNKNOWN in shape
                or node.output[0] in graph.outputs
            ):
                continue
            value = np.array(shape, dtype=np.int64)
            if node.op_type == "Size":
                value = np.array(value.prod(), dtype=np.int64)
            else:
                attributes = {attribute.name: attribute.i for attribute in node.attribute}
                value = value[attributes.get("start", 0) : attributes.get("end", len(shape))]
            name = node.output[0]
            node.output[0] = _fresh(graph, name)
            graph.weights[name] = Weight.of(value)
            changed = True
        elif node.op_type == "Reshape" and node.input[1] not in graph.weights:
            shape = kinds.get(node.output[0], (0, None))[1]
            if shape is None or UNKNOWN in shape or 0 in shape or shape.count(None) > 1:
                continue
            target = np.array([-1 if dim is None else dim for dim in shape], dtype=np.int64)
            name = _fresh(graph, f"{node.output[0]}_shape")
            graph.weights[name] = Weight.of(target)
            node.input[1] = name
            changed = True
    return changed


def rename_reads(node: onnx.NodeProto, names: dict[str, str]) -> None:
    """Replace the tensors that a node reads."""
    for index, name in enumerate(node.input):
        while name in names:
            name = names[name]
        if name != node.input[index]:
            node.input[index] = name


def _fresh(graph: Graph, name: str) -> str:
    taken = set(graph.weights) | {made for node in graph.nodes for made in makes(node)}
    taken.update(spec.name for spec in graph.inputs)
    number = 0
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
