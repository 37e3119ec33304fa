"""Types and shapes of all tensors of a graph: inferred where possible, else measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.shape_inference

from shoal.errors import ModelFileError, UnsupportedModelError
from shoal.model import limits
from shoal.model.cuts import Tensor
from shoal.model.dtypes import NUMPY_TO_ONNX, ONNX_TO_NUMPY, size_bytes
from shoal.model.engine import Engine
from shoal.model.graph import (
    BATCH,
    Graph,
    elements,
    makes,
    value_info,
    whole,
)
from shoal.model.probe import probe
from shoal.model.spec import TensorSpec
from shoal.model.weights import weight_proto

Array: TypeAlias = np.ndarray[Any, Any]
Shape: TypeAlias = tuple[int | None, ...]
Kind: TypeAlias = tuple[int, Shape | None]

UNKNOWN = -1
"""Stands in inferred shapes for a dimension that is neither a number nor the batch."""

_SEEN_BYTES = 64 * 1024
"""Weights up to this size are shown to shape inference, which needs shapes and indices."""


def infer(graph: Graph, limit_bytes: int = limits.ACTIVATION_BYTES) -> dict[str, Kind]:
    """(ONNX type, shape) of each tensor that inference knows. Shapes: ``None`` is the batch,
    ``UNKNOWN`` is not known; None as a whole shape is an unknown rank. Refuses graphs with a
    tensor, other than weights, that is larger than ``limit_bytes`` for one image."""
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
        if info.type.WhichOneof("value") != "tensor_type" or not info.type.tensor_type.elem_type:
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


def resolve(graph: Graph) -> dict[str, Tensor]:
    """All tensors of a graph, other than weights, that can travel: of a type that NumPy has and
    with a shape that depends on nothing but the batch."""
    kinds = infer(graph)
    tensors: dict[str, Tensor] = {}
    unresolved = []
    names = [spec.name for spec in graph.inputs]
    names += [name for node in graph.nodes for name in makes(node)]
    for name in names:
        data_type, shape = kinds.get(name, (0, None))
        if data_type and data_type not in ONNX_TO_NUMPY:
            continue
        if not data_type or shape is None or UNKNOWN in shape:
            unresolved.append(name)
            continue
        spec = TensorSpec(name, ONNX_TO_NUMPY[data_type], shape)
        tensors[name] = Tensor(spec, size_bytes(data_type, elements(shape)), _stacks(shape))
    if unresolved:
        tensors.update(_measure(graph, unresolved))
    return tensors


def _stacks(shape: Shape) -> bool:
    return bool(shape) and shape[0] is None and None not in shape[1:]


def _measure(graph: Graph, names: Sequence[str]) -> dict[str, Tensor]:
    """Those of ``names`` whose shape follows from the batch size, found by running the graph:
    twice with two images, twice with three, and with two black ones, as what depends on values
    differs then."""
    session = Engine().load(*whole(graph, names), optimise=False)
    feeds = [probe(graph.inputs, seed, batch) for seed, batch in enumerate((2, 2, 3, 3))]
    feeds.append({name: np.zeros_like(array) for name, array in feeds[0].items()})
    runs: list[dict[str, object]] = [dict(session.run(feed)) for feed in feeds]
    tensors = {}
    for name in names:
        found = [run[name] for run in runs]  # arrays; the engine also has lists and maps
        arrays = [array for array in found if isinstance(array, np.ndarray)]
        if len(arrays) < len(found) or arrays[0].dtype.name not in NUMPY_TO_ONNX:
            continue
        two, three = arrays[0].shape, arrays[2].shape
        one = shape_for_one(two, three)
        if one is None or [array.shape for array in arrays] != [two, two, three, three, two]:
            continue
        dtype = arrays[0].dtype.name
        shape = tuple(a if a == b else None for a, b in zip(two, three, strict=True))
        size = size_bytes(NUMPY_TO_ONNX[dtype], elements(one))
        stacks = _stacks(shape) and one[0] == 1
        tensors[name] = Tensor(TensorSpec(name, dtype, shape), size, stacks)
    return tensors


def shape_for_one(two: tuple[int, ...], three: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape for one image, given those for two and for three; None where it does not follow
    from the number of images."""
    if len(two) != len(three):
        return None
    shape = []
    for a, b in zip(two, three, strict=True):
        if a == b:
            shape.append(a)
        elif 3 * a == 2 * b:
            shape.append(a // 2)
        else:
            return None
    return tuple(shape)


def output_specs(outputs: Sequence[str], tensors: Mapping[str, Tensor]) -> tuple[TensorSpec, ...]:
    """The specs of a network's outputs; refused where they have none."""
    for name in outputs:
        if name not in tensors:
            raise UnsupportedModelError(
                f"Output {name!r} is no tensor of numbers whose shape follows from the inputs' "
                "shapes; cut it off when exporting the network."
            )
    return tuple(tensors[name].spec for name in outputs)
