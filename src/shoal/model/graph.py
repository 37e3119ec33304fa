"""A graph in the hands of the normaliser: nodes, and weights kept apart from them.

Weights are views of where their bytes lie (the file, mostly), so that big networks are not copied
and no protobuf grows over its limit of 2 GiB.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from shoal.model import limits
from shoal.model.dtypes import INT64, NUMPY_TO_ONNX, ONNX_TO_NUMPY, size_bytes
from shoal.model.spec import TensorSpec

BATCH = "batch"
"""Name of the free dimension in graphs that Shoal writes."""


@dataclass(frozen=True)
class Weight:
    """A constant tensor. ``data`` holds its elements as ONNX's ``raw_data`` does."""

    data_type: int
    dims: tuple[int, ...]
    data: memoryview

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.data.nbytes

    @property
    def is_blob(self) -> bool:
        """Whether a part keeps it outside its graph. Shapes (int64) must be seen by the engine."""
        return (
            self.nbytes >= limits.BLOB_WEIGHT_BYTES
            and self.data_type != INT64
            and self.data_type in ONNX_TO_NUMPY
        )

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the elements."""
        return hashlib.sha256(self.data).hexdigest()

    def array(self) -> np.ndarray[Any, Any]:
        """The elements as an array; only for types that NumPy has."""
        flat = np.frombuffer(self.data, dtype=ONNX_TO_NUMPY[self.data_type])
        return flat.reshape(self.dims)

    @staticmethod
    def of(array: np.ndarray[Any, Any]) -> Weight:
        """The weight that holds a copy of ``array``."""
        data = memoryview(np.ascontiguousarray(array).tobytes())
        return Weight(NUMPY_TO_ONNX[array.dtype.name], array.shape, data)


@dataclass
class Graph:
    """A graph while it is rewritten.

    ``nodes`` are in topological order. ``inputs`` are the tensors fed by the user; ``weights``
    everything constant. ``kinds`` holds (ONNX type, shape) of tensors as far as they are known;
    in shapes ``None`` is the batch and a negative number another unknown.
    """

    name: str
    ir_version: int
    opsets: tuple[tuple[str, int], ...]
    nodes: list[onnx.NodeProto]
    weights: dict[str, Weight]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    kinds: dict[str, tuple[int, tuple[int | None, ...] | None]] = field(default_factory=dict)

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return dict(self.opsets).get("", 1)


def reads(node: onnx.NodeProto) -> tuple[str, ...]:
    """The tensors that a node reads; optional ones that are left out do not count."""
    return tuple(name for name in node.input if name)


def makes(node: onnx.NodeProto) -> tuple[str, ...]:
    """The tensors that a node makes."""
    return tuple(name for name in node.output if name)


def elements(shape: Iterable[int | None]) -> int:
    """Number of elements for one image: free dimensions count as 1."""
    return math.prod(1 if dim is None else dim for dim in shape)


def spec_bytes(spec: TensorSpec) -> int:
    """Bytes of a tensor for one image."""
    return size_bytes(NUMPY_TO_ONNX[spec.dtype], elements(spec.shape))


def value_info(
    name: str, data_type: int, shape: Sequence[int | None] | None
) -> onnx.ValueInfoProto:
    """The declaration of a tensor; ``None`` in a shape becomes the batch, no shape stays open."""
    dims = None if shape is None else [BATCH if dim is None else dim for dim in shape]
    return onnx.helper.make_tensor_value_info(name, data_type, dims)


def weight_proto(name: str, weight: Weight) -> onnx.TensorProto:
    """The weight with its elements inside."""
    proto = onnx.TensorProto(name=name, data_type=weight.data_type, dims=weight.dims)
    proto.raw_data = bytes(weight.data)
    return proto


def blob_proto(name: str, weight: Weight) -> onnx.TensorProto:
    """The weight with its elements outside, under their hash."""
    proto = onnx.TensorProto(name=name, data_type=weight.data_type, dims=weight.dims)
    proto.data_location = onnx.TensorProto.EXTERNAL
    proto.external_data.add(key="location", value=weight.hash)
    return proto


def read_weight(proto: onnx.TensorProto) -> Weight:
    """The weight in a tensor that holds its elements itself. ValueError if it is damaged."""
    dims = tuple(proto.dims)
    if any(dim < 0 for dim in dims):
        raise ValueError(f"weight {proto.name!r} has the shape {dims}")
    needed = size_bytes(proto.data_type, math.prod(dims))
    if proto.HasField("raw_data"):
        data = memoryview(proto.raw_data)
    elif proto.data_type in ONNX_TO_NUMPY:
        array = numpy_helper.to_array(proto)
        data = memoryview(np.ascontiguousarray(array).tobytes())
    else:
        packed = numpy_helper.from_array(numpy_helper.to_array(proto))
        data = memoryview(packed.raw_data)
    if data.nbytes != needed:
        raise ValueError(f"weight {proto.name!r} has {data.nbytes} bytes, its shape needs {needed}")
    return Weight(proto.data_type, dims, data)


def serialize(
    graph_name: str,
    ir_version: int,
    opsets: Iterable[tuple[str, int]],
    nodes: Iterable[onnx.NodeProto],
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
    weights: Mapping[str, Weight],
) -> tuple[bytes, dict[str, memoryview]]:
    """A model as bytes, and the blobs that it names. Equal arguments give equal bytes."""
    blobs: dict[str, memoryview] = {}
    protos = []
    for name, weight in weights.items():
        if weight.is_blob:
            blobs[weight.hash] = weight.data
            protos.append(blob_proto(name, weight))
        else:
            protos.append(weight_proto(name, weight))
    model = onnx.ModelProto(
        ir_version=max(ir_version, 4),
        producer_name="shoal",
        opset_import=[onnx.OperatorSetIdProto(domain=d, version=v) for d, v in opsets],
        graph=onnx.GraphProto(
            name=graph_name, node=nodes, input=inputs, output=outputs, initializer=protos
        ),
    )
    return model.SerializeToString(deterministic=True), blobs
