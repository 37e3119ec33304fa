"""The shapes of all tensors of a graph: which can travel, and which depend on what nobody knows
before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from shoal.errors import ModelFileError, UnsupportedModelError
from shoal.model import limits
from shoal.model.asked import Source
from shoal.model.cuts import Tensor
from shoal.model.dependence import Odd, unsure
from shoal.model.dtypes import ONNX_TO_NUMPY, Array, size_bytes
from shoal.model.graph import Graph, elements, makes
from shoal.model.independence import Extent, Follower, entering
from shoal.model.measure import shapes_of, types_of
from shoal.model.normalise import fold
from shoal.model.probe import probe
from shoal.model.shapes import NO_TENSOR, UNKNOWN, Kind, Shape, infer
from shoal.model.spec import TensorSpec


@dataclass
class Resolved:
    """What is known of the tensors of a graph, weights left out.

    ``tensors`` can travel: they are of a type that NumPy has, and of a shape that depends on
    nothing but the number of images. ``extents`` are the shapes of these and of others that follow
    from it. ``loose`` are tensors of numbers of no such shape, with None where a dimension is not
    known; ``odd`` says why.
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


def resolve(graph: Graph, example: Mapping[str, Array] = MappingProxyType({})) -> Resolved:
    """The shapes of all tensors of a graph, other than weights.

    What inference does not know is measured, on the ``example`` if there is one, and taken for true
    only where the graph says that it follows from the number of images.
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
        _measure(graph, unknown, kinds, found, example)
    return found


def _measure(
    graph: Graph,
    names: Sequence[str],
    kinds: Mapping[str, Kind],
    found: Resolved,
    example: Mapping[str, Array],
) -> None:
    """Add to ``found`` what is told of ``names`` by graphs for one, two and three images."""
    free = any(spec.shape[:1] == (None,) for spec in graph.inputs)
    counts = (1, 2, 3) if free else (1,)
    types = {name: kinds[name][0] for name in names if name in kinds}
    shapes = _inferred(graph, names, types, counts)
    types.update(types_of(graph, [name for name in names if name not in types]))
    shapes |= shapes_of(
        graph,
        [name for name in names if types[name] and name not in shapes],
        counts,
        lambda count: _images(graph, example, count),
    )
    tried = {
        name: Extent.measured(each[0]) if free else Extent.of(each[0])
        for name, each in shapes.items()
    }
    follower = Follower(graph.opsets, graph.weights, {**found.extents, **tried})
    layouts = follower.follow(graph.nodes, entering(graph.inputs))
    inputs = [spec.name for spec in graph.inputs]
    odd = unsure(graph.nodes, inputs, found.extents, layouts, free=free)
    for name, each in shapes.items():
        shape = by_images(each)
        if name not in odd and shape is not None:
            found.add(name, types[name], shape, tried[name])
            continue
        found.odd[name] = odd.get(name, Odd("it is of another shape for each number of images"))
        dims = kinds.get(name, (0, None))[1] or (UNKNOWN,) * len(each[0])
        if types[name] in ONNX_TO_NUMPY and {len(one) for one in each} == {len(dims)}:
            shape = tuple(None if dim == UNKNOWN else dim for dim in dims)
            found.loose[name] = TensorSpec(name, ONNX_TO_NUMPY[types[name]], shape)


def _images(graph: Graph, example: Mapping[str, Array], count: int) -> Mapping[str, Array]:
    """Inputs for so many images."""
    if not example:
        return probe(graph.inputs, batch=count)
    return Source(graph, example).draw(0, (0,) * count)


def _inferred(
    graph: Graph, names: Sequence[str], types: dict[str, int], counts: Sequence[int]
) -> dict[str, list[tuple[int, ...]]]:
    """The shapes for so many images of those of ``names`` that inference knows once their number
    is fixed, and all that is computed from it. Their types are added to ``types``."""
    found: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
    for count in counts:
        fixed = graph.taking(count)
        limit_bytes = count * limits.ACTIVATION_BYTES
        try:
            fold(fixed, limit_bytes)
            known = infer(fixed, limit_bytes)
        except (ModelFileError, UnsupportedModelError):  # the engine has the last word
            return {}
        known.update((name, (w.data_type, w.dims)) for name, w in fixed.weights.items())
        for name in names:
            data_type, shape = known.get(name, (0, None))
            if name in found and data_type > 0 and shape is not None and UNKNOWN not in shape:
                types[name] = data_type
                found[name].append(tuple(dim or 0 for dim in shape))
            else:
                found.pop(name, None)
    return found


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
