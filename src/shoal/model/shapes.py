"""Types and shapes of all tensors of a graph: inferred where possible, else measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.shape_inference

from shoal.errors import ModelFileError, UnsupportedModelError
from shoal.model import limits
from shoal.model.cuts import Tensor
from shoal.model.dependence import Odd, unsure
from shoal.model.dtypes import NUMPY_TO_ONNX, ONNX_TO_NUMPY, size_bytes
from shoal.model.graph import BATCH, Graph, elements, makes, value_info
from shoal.model.independence import STACKED, Extent, Follower, Layout, Mixed
from shoal.model.measure import shapes_of, types_of
from shoal.model.spec import TensorSpec
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


@dataclass
class Resolved:
    """What is known of the tensors of a graph, weights left out.

    ``tensors`` can travel: they are of a type that NumPy has, and of a shape that depends on
    nothing but the number of images. ``extents`` are the shapes of these and of others that follow
    from it. ``loose`` are tensors of numbers of no such shape, with None where a dimension is not
    known; ``odd`` says why, as the end of a sentence.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    extents: dict[str, Extent] = field(default_factory=dict)
    loose: dict[str, TensorSpec] = field(default_factory=dict)
    odd: dict[str, Odd] = field(default_factory=dict)

    def add(self, name: str, data_type: int, shape: Shape, extent: Extent) -> None:
        """Take in a tensor whose shape is known."""
        self.extents[name] = extent
        if data_type in ONNX_TO_NUMPY:
            spec = TensorSpec(name, ONNX_TO_NUMPY[data_type], shape)
            self.tensors[name] = Tensor(spec, size_bytes(data_type, elements(extent.one)))


def resolve(graph: Graph) -> Resolved:
    """The shapes of all tensors of a graph, other than weights.

    What inference does not know is measured, and taken for true only where the graph says that it
    follows from the number of images.
    """
    kinds = infer(graph)
    found = Resolved()
    unknown = []
    names = [spec.name for spec in graph.inputs]
    names += [name for node in graph.nodes for name in makes(node)]
    for name in names:
        data_type, shape = kinds.get(name, (0, None))
        if data_type == NO_TENSOR:
            continue
        if not data_type or shape is None or UNKNOWN in shape:
            unknown.append(name)
        else:
            found.add(name, data_type, shape, Extent.of(shape))
    if unknown:
        _measure(graph, unknown, kinds, found)
    return found


def _measure(
    graph: Graph, names: Sequence[str], kinds: Mapping[str, Kind], found: Resolved
) -> None:
    """Add to ``found`` what running the graph tells of ``names``."""
    types = {name: kinds[name][0] for name in names if name in kinds}
    types.update(types_of(graph, [name for name in names if name not in types]))
    free = any(spec.shape[:1] == (None,) for spec in graph.inputs)
    ran = shapes_of(
        graph,
        [name for name in names if types[name]],
        (1, 2, 3) if free else (1,),
        lambda count: probe(graph.inputs, batch=count),
    )
    tried = {
        name: Extent.measured(each[0]) if free else Extent.of(each[0]) for name, each in ran.items()
    }
    follower = Follower(graph.opsets, graph.weights, {**found.extents, **tried})
    layouts = follower.follow(graph.nodes, entering(graph.inputs))
    inputs = [spec.name for spec in graph.inputs]
    odd = unsure(graph.nodes, inputs, found.extents, layouts)
    for name, each in ran.items():
        shape = by_images(each)
        if name not in odd and shape is not None:
            found.add(name, types[name], shape, tried[name])
            continue
        found.odd[name] = odd.get(name, Odd("it is of another shape for each number of images"))
        dims = kinds.get(name, (0, None))[1] or (UNKNOWN,) * len(each[0])
        if types[name] in ONNX_TO_NUMPY and {len(one) for one in each} == {len(dims)}:
            shape = tuple(None if dim == UNKNOWN else dim for dim in dims)
            found.loose[name] = TensorSpec(name, ONNX_TO_NUMPY[types[name]], shape)


def by_images(each: Sequence[tuple[int, ...]]) -> Shape | None:
    """The shape for any number of images, ``None`` where it grows with them, given those for one
    image, for two, and so on; None where it does not follow from the number of images."""
    if len({len(shape) for shape in each}) > 1:
        return None
    shape: list[int | None] = []
    for dims in zip(*each, strict=True):
        if len(set(dims)) == 1:
            shape.append(dims[0])
        elif all(dim == count * dims[0] for count, dim in enumerate(dims, 1)):
            shape.append(None)
        else:
            return None
    return tuple(shape)


def entering(inputs: Iterable[TensorSpec]) -> dict[str, Layout]:
    """Where images lie in the inputs of a network or a part."""
    return {
        spec.name: STACKED
        if is_stacked(spec)
        else Mixed(f"input {spec.name!r} has no axis of its own for the images")
        for spec in inputs
    }


def is_stacked(spec: TensorSpec) -> bool:
    """Whether only the first dimension of a tensor is free."""
    return spec.shape[:1] == (None,) and None not in spec.shape[1:]


def probe(inputs: Sequence[TensorSpec], seed: int = 0, batch: int = 1) -> dict[str, Array]:
    """Made-up inputs: the same for the same seed. Numbers that any network should take:
    normal floats, all of 8-bit integers, 0 and 1 for wider ones (they may be indices)."""
    random = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for spec in inputs:
        shape = tuple(batch if dim is None else dim for dim in spec.shape)
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            feeds[spec.name] = random.standard_normal(shape).astype(dtype)
        elif dtype.itemsize == 1 and dtype.kind in "iu":
            info = np.iinfo(dtype)
            feeds[spec.name] = random.integers(info.min, info.max + 1, shape).astype(dtype)
        else:
            feeds[spec.name] = random.integers(0, 2, shape).astype(dtype)
    return feeds


def output_specs(outputs: Sequence[str], found: Resolved) -> tuple[TensorSpec, ...]:
    """The specs of a network's outputs. Where a shape depends on what is in the images, its
    dimensions are free; refused where an output has no shape at all, or one that depends on the
    number of images in a way that cannot be stated."""
    specs = []
    for name in outputs:
        if name in found.tensors:
            specs.append(found.tensors[name].spec)
        elif name in found.loose and found.odd[name].of_content:
            specs.append(found.loose[name])
        else:
            why = f" ({found.odd[name].why})" if name in found.odd else ""
            raise UnsupportedModelError(
                f"Output {name!r} is no tensor of numbers whose shape follows from the inputs' "
                f"shapes{why}; cut it off when exporting the network."
            )
    return tuple(specs)
