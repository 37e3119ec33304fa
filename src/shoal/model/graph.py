"""A graph in the hands of the normaliser: nodes, and weights kept apart from them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import onnx

from shoal.model.dtypes import NUMPY_TO_ONNX
from shoal.model.spec import TensorSpec
from shoal.model.weights import Weight, blob_proto, weight_proto


class Names:
    """Names that are taken. One that was ever taken stays so, whatever became of its owner."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def fresh(self, like: str) -> str:
        """A name like ``like`` that is not taken yet; from now on it is."""
        number = self._next.get(like, 0)
        while (name := f"{like}_{number}") in self._taken:
            number += 1
        self._next[like] = number + 1
        self._taken.add(name)
        return name


BRANCHING = frozenset({"If"})
"""Operators with graphs inside, that run one of them."""

BATCH = "batch"
"""Name of the free dimension in graphs that Shoal writes."""


@dataclass
class Graph:
    """A graph while it is rewritten.

    ``nodes`` are in topological order. ``inputs`` are the tensors fed by the user; ``weights``
    everything constant.
    """

    name: str
    ir_version: int
    opsets: tuple[tuple[str, int], ...]
    nodes: list[onnx.NodeProto]
    weights: dict[str, Weight]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    _names: Names | None = field(default=None, init=False, repr=False, compare=False)

    def fresh_name(self, like: str) -> str:
        """A name like ``like`` that no tensor of the graph has or had, nor of a graph inside it."""
        if self._names is None:
            inputs = (spec.name for spec in self.inputs)
            made = (name for node in self.nodes for name in named(node))
            self._names = Names(itertools.chain(self.weights, inputs, self.outputs, made))
        return self._names.fresh(like)

    def copy(self) -> Graph:
        """A copy that may be rewritten on its own; it shares the bytes of the weights."""
        return replace(self, nodes=list(map(copied, self.nodes)), weights=dict(self.weights))

    def taking(self, images: int) -> Graph:
        """A copy for so many images and no other number of them."""
        made = self.copy()
        made.inputs = tuple(
            msgspec.structs.replace(
                spec, shape=tuple(images if dim is None else dim for dim in spec.shape)
            )
            for spec in self.inputs
        )
        return made


def copied(node: onnx.NodeProto) -> onnx.NodeProto:
    """A node on its own: one in a model keeps all of that in memory."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def reads(node: onnx.NodeProto) -> tuple[str, ...]:
    """The tensors that a node reads; optional ones that are left out do not count."""
    names = tuple(name for name in node.input if name)
    return names if node.op_type not in BRANCHING else (*names, *_captured(node))


def _captured(node: onnx.NodeProto) -> tuple[str, ...]:
    """What the graphs inside a node read of what is outside them."""
    found: dict[str, None] = {}
    for each in node.attribute:
        for inside in (*([each.g] if each.HasField("g") else []), *each.graphs):
            own = set(inner_names(inside))
            # Each graph once: of one in another, twice would be 2**depth.
            read = [name for inner in inside.node for name in (*inner.input, *_captured(inner))]
            read += [info.name for info in inside.output]
            found.update((name, None) for name in read if name and name not in own)
    return tuple(found)


def inner_names(inside: onnx.GraphProto) -> tuple[str, ...]:
    """The tensors that belong to a graph inside a node."""
    return (
        *(each.name for each in (*inside.input, *inside.initializer)),
        *(name for node in inside.node for name in makes(node)),
    )


def named(node: onnx.NodeProto) -> Iterator[str]:
    """All tensors that a node names, and the graphs inside it."""
    yield from node.input
    yield from node.output
    for each in node.attribute:
        for inside in (*([each.g] if each.HasField("g") else []), *each.graphs):
            yield from inner_names(inside)
            for inner in inside.node:
                yield from named(inner)


def makes(node: onnx.NodeProto) -> tuple[str, ...]:
    """The tensors that a node makes."""
    return tuple(name for name in node.output if name)


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute; ``default`` where it has none of that name."""
    for each in node.attribute:
        if each.name == name and not each.ref_attr_name:  # which is for functions only
            return onnx.helper.get_attribute_value(each)
    return default


def operators(names: str) -> frozenset[str]:
    """Operators by their names, with spaces between."""
    return frozenset(names.split())


def elements(shape: Iterable[int | None]) -> int:
    """Number of elements for one image: free dimensions count as 1."""
    return math.prod(1 if dim is None else dim for dim in shape)


def value_info(
    name: str,
    data_type: int,
    shape: Sequence[int | None] | None,
    one: Sequence[int] | None = None,
) -> onnx.ValueInfoProto:
    """The declaration of a tensor; ``None`` in a shape becomes the batch, no shape stays open.

    ``one`` is the shape for one image: several rows for each are another dimension than the batch,
    as the engine takes tensors for equally large whose dimensions are called the same.
    """
    dims: list[int | str] | None = None
    if shape is not None:
        rows = [1] * len(shape) if one is None else one
        dims = [
            dim if dim is not None else BATCH if each == 1 else f"{BATCH}_{each}"
            for dim, each in zip(shape, rows, strict=True)
        ]
    return onnx.helper.make_tensor_value_info(name, data_type, dims)


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
    nodes = list(nodes)
    # The engine does not find blobs that only a graph inside a node reads.
    inside = {name for node in nodes for name in _captured(node)}
    for name, weight in weights.items():
        if weight.is_blob and name not in inside:
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


def whole(
    graph: Graph, outputs: Iterable[str] | None = None
) -> tuple[bytes, dict[str, memoryview]]:
    """A graph as it is, as bytes and blobs; ``outputs`` are what it gives instead of its own."""
    return serialize(
        graph.name,
        graph.ir_version,
        graph.opsets,
        graph.nodes,
        [value_info(spec.name, NUMPY_TO_ONNX[spec.dtype], spec.shape) for spec in graph.inputs],
        [onnx.ValueInfoProto(name=name) for name in outputs or graph.outputs],
        graph.weights,
    )
