"""Types and shapes of the tensors of a graph, as far as they can be inferred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import onnx
import onnx.shape_inference

from shoal.errors import ModelFileError, UnsupportedModelError
from shoal.model import limits
from shoal.model.dtypes import NUMPY_TO_ONNX, ONNX_TO_NUMPY, size_bytes
from shoal.model.graph import BATCH, Graph, attribute, copied, elements, value_info
from shoal.model.weights import weight_proto

Shape: TypeAlias = tuple[int | None, ...]
Kind: TypeAlias = tuple[int, Shape | None]

UNKNOWN = -1
"""Stands in inferred shapes for a dimension that is neither a number nor the batch."""

NO_TENSOR = -1
"""Stands for the type of a sequence or a map."""

_SEEN_BYTES = 64 * 1024
"""Weights up to this size are shown to shape inference, which needs shapes and indices."""


_UNKNOWN = ("not.inferred", 1)
"""A domain of operators, and its version, of which inference knows nothing."""


def infer(graph: Graph, limit_bytes: int = limits.ACTIVATION_BYTES) -> dict[str, Kind]:
    """(ONNX type, shape) of each tensor that inference knows. Shapes: ``None`` is the batch,
    ``UNKNOWN`` is not known; None as a whole shape is an unknown rank. What is no tensor has the
    type ``NO_TENSOR``. Refuses graphs with a tensor, other than weights, that is larger than
    ``limit_bytes`` for one image."""
    kinds = _inferred(graph, graph.nodes, limit_bytes)
    stretching = {id(node) for node in graph.nodes if _stretches(node, graph, kinds)}
    if not stretching:
        return kinds
    # What comes of them, and of that, is asked of the engine.
    nodes = [_unknown(node) if id(node) in stretching else node for node in graph.nodes]
    return _inferred(graph, nodes, limit_bytes)


def _inferred(graph: Graph, nodes: Sequence[onnx.NodeProto], limit_bytes: int) -> dict[str, Kind]:
    declared = [
        value_info(spec.name, NUMPY_TO_ONNX[spec.dtype], spec.shape) for spec in graph.inputs
    ]
    shown = []
    for name, weight in graph.weights.items():
        if weight.nbytes <= _SEEN_BYTES:
            shown.append(weight_proto(name, weight))
        else:
            declared.append(value_info(name, weight.data_type, weight.dims))
    model = onnx.ModelProto(
        ir_version=max(graph.ir_version, 4),
        opset_import=[
            onnx.OperatorSetIdProto(domain=d, version=v) for d, v in (*graph.opsets, _UNKNOWN)
        ],
        graph=onnx.GraphProto(
            name=graph.name,
            node=nodes,
            input=declared,
            initializer=shown,
            output=[onnx.ValueInfoProto(name=name) for name in graph.outputs],
        ),
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise ModelFileError(f"Shapes do not fit together: {str(error).strip()[:300]}") from None
    kinds: dict[str, Kind] = {}
    for info in (*inferred.graph.value_info, *inferred.graph.output, *declared):
        kind = info.type.WhichOneof("value")
        if kind not in (None, "tensor_type"):
            kinds[info.name] = (NO_TENSOR, None)
        if kind != "tensor_type" or not info.type.tensor_type.elem_type:
            continue
        tensor = info.type.tensor_type
        shape = tuple(_dim(dim) for dim in tensor.shape.dim) if tensor.HasField("shape") else None
        if info.name not in graph.weights:
            _check_size(info.name, tensor.elem_type, shape, limit_bytes)
        kinds[info.name] = (tensor.elem_type, shape)
    return kinds


def _stretches(node: onnx.NodeProto, graph: Graph, kinds: Mapping[str, Kind]) -> bool:
    """Whether it is an ``Einsum`` that repeats an axis of one row, as one query for all images is:
    the engine does that, and inference takes the one row for all that come of it."""
    if node.op_type != "Einsum" or node.domain != "":
        return False
    equation = bytes(attribute(node, "equation", b"")).decode()
    sizes: dict[str, set[int | None]] = {}
    for name, term in zip(node.input, equation.split("->")[0].split(","), strict=False):
        weight = graph.weights.get(name)
        shape = kinds.get(name, (0, None))[1] if weight is None else weight.dims
        front, _, back = term.replace(" ", "").partition("...")
        if shape is None or len(shape) < len(front) + len(back):
            continue
        for letter, size in zip(front, shape, strict=False):
            sizes.setdefault(letter, set()).add(size)
        for letter, size in zip(reversed(back), reversed(shape), strict=False):
            sizes.setdefault(letter, set()).add(size)
    return any(1 in found and len(found) > 1 for found in sizes.values())


def _unknown(node: onnx.NodeProto) -> onnx.NodeProto:
    """A node with the same inputs and outputs of which inference knows nothing."""
    made = copied(node)
    made.domain, _ = _UNKNOWN
    return made


def _dim(dim: Any) -> int | None:
    if dim.HasField("dim_value"):
        if dim.dim_value < 0:
            raise ModelFileError(
                f"Shapes do not fit together: a tensor would have {dim.dim_value} elements along "
                "a dimension."
            )
        return int(dim.dim_value)
    return None if dim.dim_param == BATCH else UNKNOWN


def _check_size(name: str, data_type: int, shape: Shape | None, limit_bytes: int) -> None:
    if shape is None or data_type not in ONNX_TO_NUMPY:
        return
    size = size_bytes(data_type, elements(dim for dim in shape if dim != UNKNOWN))
    if len(shape) > limits.RANK or size > limit_bytes:
        raise UnsupportedModelError(
            f"Tensor {name!r} of shape {list(shape)} has {size} bytes for one image; at most "
            f"{limit_bytes} bytes and {limits.RANK} dimensions are run."
        )
