"""From a model as it came to a graph that Shoal can work on, refusing what it cannot.

Refused: control flow, operators of unknown domains, random operators, text, free dimensions other
than the batch (unless an example fixes them), and graphs that are no graphs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType

import numpy as np
import onnx
import onnx.checker
import onnx.inliner

from shoal.errors import ModelFileError, UnsupportedModelError
from shoal.model import limits
from shoal.model.dtypes import INT64, Array
from shoal.model.graph import BRANCHING, Graph, copied, makes, operators, reads
from shoal.model.inputs import Sizes, by_input, constants, input_specs
from shoal.model.weights import Beside, Weight, read_weight, read_weights

OLDEST_OPSET = 7
"""A network of an older one is taken where its operators are the same in this."""
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Domains whose operators ONNX Runtime brings along. What it cannot run it refuses itself."""

_RANDOM = operators(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike"
)


def accept(
    model: onnx.ModelProto,
    beside: Beside | None,
    example: Mapping[str, Array],
    shapes: Mapping[str, Sizes] | Sizes = (),
    values: Mapping[str, Array] = MappingProxyType({}),
) -> Graph:
    """The graph of a model, which it needs no more. ``beside`` gives its external data. Free
    dimensions other than the batch have the sizes of ``shapes`` (by input) or those of the
    ``example``; inputs with ``values`` are constants from now on."""
    opsets = _opsets(model)
    if model.functions:
        model = _inline(model)
        opsets = _opsets(model)
    proto = model.graph
    inside = [each for node in proto.node for each in _graphs_inside(node)]
    if sum(len(each.node) for each in (proto, *inside)) > limits.NODES:
        raise ModelFileError(f"The network has more than {limits.NODES} nodes.")
    for each in inside:
        _check_inside(each)
    for node in proto.node:
        check_node(node)
        # What people or exporters note about a node is no part of it.
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    _check_schemas(model, opsets)
    weights = read_weights(model, beside)
    _check_repeats(proto.node, weights)
    # Weights that are inputs as well (all were, before IR version 4) keep their values.
    declared = [info for info in proto.input if info.name not in weights]
    _check_names([info.name for info in declared], "inputs")
    weights |= constants(declared, values)
    declared = [info for info in declared if info.name not in weights]
    sizes = by_input(shapes, [info.name for info in declared])
    inputs = input_specs(declared, example, sizes)
    outputs = tuple(info.name for info in proto.output)
    _check_names(outputs, "outputs")
    if not outputs:
        raise ModelFileError("The network has no outputs.")
    nodes = _sorted(proto.node, [*weights, *(spec.name for spec in inputs)], outputs)
    nodes = [copied(node) for node in nodes if not lift(node, weights, beside)]
    needed = set(outputs).union(*map(reads, nodes))
    weights = {name: weight for name, weight in weights.items() if name in needed}
    return Graph(
        name=proto.name or "network",
        ir_version=model.ir_version,
        opsets=opsets,
        nodes=nodes,
        weights=weights,
        inputs=inputs,
        outputs=outputs,
    )


def _opsets(model: onnx.ModelProto) -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        found[domain] = max(found.get(domain, 0), entry.version)
    version = found.setdefault("", 1)
    if version < OLDEST_OPSET:
        changed = _changed(model, version)
        if changed:
            raise UnsupportedModelError(
                f"The network uses opset {version}, and {changed} is another operator since; the "
                f"oldest that Shoal runs is {OLDEST_OPSET}. Convert it with onnx.version_converter."
            )
        version = found[""] = OLDEST_OPSET
    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise UnsupportedModelError(
            f"The network uses opset {version}; the installed onnx knows up to {newest}. "
            "Upgrade onnx and onnxruntime, or export with an older opset."
        )
    return tuple(sorted(found.items()))


def _changed(model: onnx.ModelProto, version: int) -> str:
    """An operator of the network that the oldest opset which is run has in another version; empty
    where there is none, so that the network is one of that opset."""
    inside = (each for node in model.graph.node for each in _graphs_inside(node))
    for node in (*model.graph.node, *(node for each in inside for node in each.node)):
        if node.domain in ("", "ai.onnx"):
            try:
                before, after = (
                    onnx.defs.get_schema(node.op_type, most).since_version
                    for most in (version, OLDEST_OPSET)
                )
            except onnx.defs.SchemaError:  # there is none of that name
                return str(node.op_type)
            if before != after:
                return str(node.op_type)
    return ""


def _inline(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:
        raise UnsupportedModelError(
            f"The functions of this model cannot be inlined: {str(error)[:300]}"
        ) from None


def check_node(node: onnx.NodeProto) -> None:
    """UnsupportedModelError for a node that cannot be run in parts, by itself."""
    what = f"Node {node.name or '(unnamed)'!r} ({node.domain + ':' if node.domain else ''}"
    what += f"{node.op_type})"
    if node.domain not in DOMAINS:
        raise UnsupportedModelError(
            f"{what} is a custom operator; Shoal runs the standard ones and those of ONNX Runtime."
        )
    if node.domain == "ai.onnx":
        node.domain = ""
    for attribute in node.attribute:
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise UnsupportedModelError(f"{what} holds a sparse tensor; save it as a dense one.")
        if node.op_type not in BRANCHING and (
            attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
            or attribute.HasField("g")
            or attribute.graphs
        ):
            raise UnsupportedModelError(
                f"{what} holds a sub-graph. Control flow cannot be cut: export the network "
                "without it."
            )
        constant = node.domain == "" and node.op_type == "Constant"  # those are read as weights
        if not constant and any(
            tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data
            for tensor in (attribute.t, *attribute.tensors)
        ):
            raise UnsupportedModelError(f"{what} keeps an attribute in another file.")
    if _is_training(node):
        raise UnsupportedModelError(
            f"{what} computes with the statistics of the batch that it is given (training mode). "
            "Export the network in evaluation mode."
        )
    if node.domain == "" and node.op_type in _RANDOM:
        raise UnsupportedModelError(
            f"{what} is random, so parts cannot be proved equal to the whole. Export the network "
            "in evaluation mode."
        )


def _graphs_inside(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a node, and inside the nodes of these, and so on."""
    for each in node.attribute:
        for graph in (*([each.g] if each.HasField("g") else []), *each.graphs):
            yield graph
            for inner in graph.node:
                yield from _graphs_inside(inner)


def _check_inside(graph: onnx.GraphProto) -> None:
    """What is true of a graph inside a node whether or not it is ever run."""
    attributes = [each for node in graph.node for each in node.attribute]
    tensors = [*graph.initializer, *(t for each in attributes for t in (each.t, *each.tensors))]
    if graph.sparse_initializer or any(
        each.data_location == onnx.TensorProto.EXTERNAL for each in tensors
    ):
        raise UnsupportedModelError(
            "A branch of an If keeps weights in another file, or sparse ones: save the network "
            "with dense weights inside the branch."
        )
    weights = {each.name: read_weight(each, None) for each in graph.initializer}
    _check_repeats(graph.node, weights)


def _check_branches(node: onnx.NodeProto) -> None:
    """An ``If`` with two branches that give as much as it does. (The checker of the standard wants
    to know all that a graph inside reads.)"""
    branches = [a.g for a in node.attribute if a.HasField("g")]
    names = sorted(a.name for a in node.attribute)
    if (
        names != ["else_branch", "then_branch"]
        or len(branches) != 2
        or any(a.type != onnx.AttributeProto.GRAPH for a in node.attribute)
        or len(node.input) != 1
        or any(len(each.output) != len(node.output) or each.input for each in branches)
    ):
        raise ModelFileError(f"Node {node.name or '(unnamed)'!r} ({node.op_type}) is damaged.")


def _is_training(node: onnx.NodeProto) -> bool:
    """Whether it is a batch norm in training mode: until opset 13 one that gives more than its
    result, since 14 one that says so."""
    if node.domain != "" or node.op_type != "BatchNormalization":
        return False
    return len(makes(node)) > 1 or any(a.name == "training_mode" and a.i for a in node.attribute)


def _check_schemas(model: onnx.ModelProto, opsets: Iterable[tuple[str, int]]) -> None:
    """Numbers of inputs and outputs, and attributes, as the standard has them: shape inference
    relies on that, and aborts the process where it is not so."""
    context = onnx.checker.C.CheckerContext()
    context.ir_version = max(model.ir_version, 3)
    context.opset_imports = dict(opsets)
    inside = (each for node in model.graph.node for each in _graphs_inside(node))
    for node in (*model.graph.node, *(node for each in inside for node in each.node)):
        if node.domain == "" and node.op_type in BRANCHING:
            _check_branches(node)
            continue
        # What the standard does not know the engine may; constants are read elsewhere.
        if node.domain == "" and node.op_type != "Constant" and onnx.defs.has(node.op_type):
            try:
                onnx.checker.check_node(node, context)
            except Exception as error:
                raise ModelFileError(
                    f"Node {node.name or '(unnamed)'!r} ({node.op_type}) is damaged, or of another "
                    f"version: {str(error).strip()[:200]}"
                ) from None


def _check_repeats(nodes: Iterable[onnx.NodeProto], weights: Mapping[str, Weight]) -> None:
    """A tensor repeated less than no times makes the engine abort the process."""
    for node in nodes:
        if node.op_type == "Tile" and len(node.input) > 1 and node.input[1] in weights:
            repeats = weights[node.input[1]]
            if repeats.data_type == INT64 and (repeats.array() < 0).any():
                raise ModelFileError(f"Node {node.name!r} (Tile) repeats less than no times.")


def _check_names(names: Iterable[str], what: str) -> None:
    names = list(names)
    if "" in names or len(set(names)) != len(names):
        raise ModelFileError(f"Names of {what} are empty or not unique: the file is damaged.")


def _sorted(
    nodes: Sequence[onnx.NodeProto], given: Iterable[str], outputs: tuple[str, ...]
) -> list[onnx.NodeProto]:
    """Nodes in topological order: the file's own where that is one."""
    known = set(given)
    makers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in makes(node):
            if name in makers or name in known:
                raise ModelFileError(f"Tensor {name!r} is made twice: the file is damaged.")
            makers[name] = index
    for name in itertools.chain(*map(reads, nodes), outputs):
        if name not in makers and name not in known:
            raise ModelFileError(f"Tensor {name!r} is needed but made nowhere: damaged file.")
    before = {
        index: [makers[name] for name in reads(node) if name in makers]
        for index, node in enumerate(nodes)
    }
    if all(source < index for index, sources in before.items() for source in sources):
        return list(nodes)
    try:
        return [nodes[index] for index in TopologicalSorter(before).static_order()]
    except CycleError as error:
        late = nodes[error.args[1][0]]
        raise ModelFileError(f"The graph runs in a circle through {late.name!r}.") from None


def lift(node: onnx.NodeProto, weights: dict[str, Weight], beside: Beside | None) -> bool:
    """Put what a ``Constant`` node holds among the weights; False if it is another node."""
    if node.op_type != "Constant" or node.domain != "":
        return False
    if len(node.attribute) != 1 or len(node.output) != 1:
        raise ModelFileError(f"Constant {node.name!r} is damaged.")
    attribute = node.attribute[0]
    if attribute.name == "value":
        weight = read_weight(attribute.t, beside)
    elif attribute.name in ("value_float", "value_floats"):
        value = attribute.f if attribute.name == "value_float" else list(attribute.floats)
        weight = Weight.of(np.array(value, dtype=np.float32))
    elif attribute.name in ("value_int", "value_ints"):
        whole = attribute.i if attribute.name == "value_int" else list(attribute.ints)
        weight = Weight.of(np.array(whole, dtype=np.int64))
    else:
        raise UnsupportedModelError(
            f"Constant {node.name!r} holds {attribute.name}; Shoal runs dense numbers only."
        )
    weights[node.output[0]] = weight
    return True
