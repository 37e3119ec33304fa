"""Types and shapes of the tensors of a graph, as far as they can be inferred."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.shape_inference

from shoal.errors import ModelFileError, UnsupportedModelError
from shoal.model import limits
from shoal.model.dtypes import NUMPY_TO_ONNX, ONNX_TO_NUMPY, size_bytes
from shoal.model.graph import BATCH, Graph, elements, value_info
from shoal.model.weights import weight_proto

Array: TypeAlias = np.ndarray[Any, Any]
Shape: TypeAlias = tuple[int | None, ...]
Kind: TypeAlias = tuple[int, Shape | None]

UNKNOWN = -1
"""Stands in inferred shapes for a dimension that is neither a number nor the batch."""

NO_TENSOR = -1
"""Stands for the type of a sequence or a map."""

_SEEN_BYTES = 64 * 1024
"""Weights up to this size are shown to shape inference, which needs shapes and indices."""


def infer(graph: Graph, limit_bytes: int = limits.ACTIVATION_BYTES) -> dict[str, Kind]:
    """(ONNX type, shape) of each tensor that inference knows. Shapes: ``None`` is the batch,
    ``UNKNOWN`` is not known; None as a whole shape is an unknown rank. What is no tensor has the
    type ``NO_TENSOR``. Refuses graphs with a tensor, other than weights, that is larger than
    ``limit_bytes`` for one image."""
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
        opset_import=[onnx.OperatorSetIdProto(domain=d, version=v) for d, v in graph.opsets],
        graph=onnx.GraphProto(
            name=graph.name,
            node=graph.nodes,
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
