"""From a model as it came to a graph that Shoal can work on, refusing what it cannot.

Refused: control flow, operators of unknown domains, random operators, text, free dimensions other
than the batch (unless an example fixes them), and graphs that are no graphs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np
import onnx
import onnx.checker
import onnx.inliner

from shoal.errors import InputError, ModelFileError, UnsupportedModelError
from shoal.model import limits
from shoal.model.dtypes import INT64, ONNX_TO_NUMPY, Array
from shoal.model.graph import Graph, copied, elements, makes, operators, reads
from shoal.model.spec import TensorSpec
from shoal.model.weights import Beside, Weight, read_weight, read_weights

OLDEST_OPSET = 7
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Domains whose operators ONNX Runtime brings along. What it cannot run it refuses itself."""

_RANDOM = operators(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike"
)


def accept(model: onnx.ModelProto, beside: Beside | None, example: Mapping[str, Array]) -> Graph:
    """The graph of a model, which it needs no more. ``beside`` gives its external data; ``example``
    has arrays of inputs, which fix free dimensions other than the batch."""
    opsets = _opsets(model)
    if model.functions:
        model = _inline(model)
        opsets = _opsets(model)
    proto = model.graph
    if len(proto.node) > limits.NODES:
        raise ModelFileError(f"The network has more than {limits.NODES} nodes.")
    for node in proto.node:
        _check_node(node)
        # What people or exporters note about a node is no part of it.
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    _check_schemas(model, opsets)
    weights = read_weights(model, beside)
    _check_repeats(proto.node, weights)
    # Weights that are inputs as well (all were, before IR version 4) keep their values.
    inputs = tuple(
        _input(info, example.get(info.name)) for info in proto.input if info.name not in weights
    )
    outputs = tuple(info.name for info in proto.output)
    _check_names([spec.name for spec in inputs], "inputs")
    _check_names(outputs, "outputs")
    if not outputs:
        raise ModelFileError("The network has no outputs.")
    nodes = _sorted(proto.node, [*weights, *(spec.name for spec in inputs)], outputs)
    nodes = [copied(node) for node in nodes if not _lift(node, weights, beside)]
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
    if version < OLDEST_OPSET and any(node.domain in ("", "ai.onnx") for node in model.graph.node):
        raise UnsupportedModelError(
            f"The network uses opset {version}; the oldest that Shoal runs is {OLDEST_OPSET}. "
            "Convert it with onnx.version_converter."
        )
    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise UnsupportedModelError(
            f"The network uses opset {version}; the installed onnx knows up to {newest}. "
            "Upgrade onnx and onnxruntime, or export with an older opset."
        )
    return tuple(sorted(found.items()))


def _inline(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:
        raise UnsupportedModelError(
            f"The functions of this model cannot be inlined: {str(error)[:300]}"
        ) from None


def _check_node(node: onnx.NodeProto) -> None:
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
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) or (
            attribute.HasField("g") or attribute.graphs
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
    for node in model.graph.node:
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


def _input(info: onnx.ValueInfoProto, example: Array | None) -> TensorSpec:
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedModelError(f"Input {info.name!r} is no tensor ({kind or 'no type'}).")
    tensor = info.type.tensor_type
    dtype = ONNX_TO_NUMPY.get(tensor.elem_type)
    if dtype is None:
        raise UnsupportedModelError(
            f"Input {info.name!r} has ONNX type {tensor.elem_type}, which NumPy does not have."
        )
    given = None if example is None else example.shape
    if not tensor.HasField("shape"):
        if given is None:
            raise UnsupportedModelError(
                f"Input {info.name!r} has no shape. Give one: "
                f"shoal.load(..., example={{{info.name!r}: array}})."
            )
        return TensorSpec(info.name, dtype, given)
    dims = tensor.shape.dim
    if given is not None and len(given) != len(dims):
        hint = " Add a batch axis: array[None]." if len(given) + 1 == len(dims) else ""
        raise InputError(
            f"The example of the input {info.name!r} has {len(given)} dimensions, the network "
            f"takes {len(dims)}.{hint}"
        )
    if len(dims) > limits.RANK:
        raise ModelFileError(f"Input {info.name!r} has more than {limits.RANK} dimensions.")
    shape: list[int | None] = []
    for axis, dim in enumerate(dims):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            shape.append(dim.dim_value)
        elif dim.HasField("dim_value") and dim.dim_value == 0 and not given:
            raise UnsupportedModelError(f"Input {info.name!r} has an empty dimension ({axis}).")
        elif axis == 0:
            shape.append(None)
        elif given is not None:
            shape.append(int(given[axis]))
        else:
            raise UnsupportedModelError(
                f"Input {info.name!r} has a free dimension {axis} besides the batch. Fix it with "
                f"an example: shoal.load(..., example={{{info.name!r}: array}})."
            )
    # Before the engine sees it: with sizes near 2**62 it does not refuse, it aborts the process.
    if elements(shape) * np.dtype(dtype).itemsize > limits.ACTIVATION_BYTES:
        raise UnsupportedModelError(
            f"Input {info.name!r} of shape {shape} takes more than {limits.ACTIVATION_BYTES} bytes "
            "for one image, the most that Shoal runs."
        )
    return TensorSpec(info.name, dtype, tuple(shape))


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


def _lift(node: onnx.NodeProto, weights: dict[str, Weight], beside: Beside | None) -> bool:
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
