"""What an output is put together of.

A detector's boxes, in pixels, and its scores, from 0 to 1, often lie in one tensor, and what is a
rounding of the ones is all there is of the others. So each piece is compared, and has to tell, for
itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import onnx

from shoal.model.dtypes import Array
from shoal.model.graph import Graph, attribute, makes, operators, reads
from shoal.model.spec import TensorSpec

Shape: TypeAlias = tuple[int | None, ...]

MOST = 64
"""Pieces of an output; one of more is taken as a whole."""

_IN_PLACE = operators(
    "Cast Clip DequantizeLinear Identity LeakyRelu QuantizeLinear Relu Sigmoid Tanh"
)
_BY_CONSTANTS = operators("Add Div Mul Sub")
_REFOLDED = operators("Flatten Reshape Squeeze Unsqueeze")


class Piece(NamedTuple):
    """A block of an output: ``ranges`` are (axis, first, end) where it does not have all of an
    axis; ``fed`` tells whether what is in an input has a part in it."""

    ranges: tuple[tuple[int, int, int], ...]
    fed: bool

    def of(self, array: Array) -> Array:
        """This piece of an output."""
        places = [slice(None)] * array.ndim
        for axis, first, end in self.ranges:
            places[axis] = slice(first, end)
        return array[tuple(places)]

    def named(self, output: str) -> str:
        """What it is called: ``y[:, 4:84]``."""
        if not self.ranges:
            return output
        shown = {axis: f"{first}:{end}" for axis, first, end in self.ranges}
        return f"{output}[{', '.join(shown.get(axis, ':') for axis in range(max(shown) + 1))}]"


def pieces(graph: Graph, specs: Mapping[str, TensorSpec]) -> dict[str, tuple[Piece, ...]]:
    """The pieces of each output, as far as ``Concat`` and what moves rows or computes in place
    behind it show them. ``specs`` are those of the tensors that are known."""
    fed = {spec.name for spec in graph.inputs}
    for node in graph.nodes:
        if node.op_type not in ("Shape", "Size") and not fed.isdisjoint(reads(node)):
            fed.update(makes(node))
    shapes: dict[str, Shape] = {name: weight.dims for name, weight in graph.weights.items()}
    shapes.update((name, spec.shape) for name, spec in specs.items())
    given = (*graph.weights, *(spec.name for spec in graph.inputs))
    found: dict[str, tuple[Piece, ...]] = {name: (Piece((), name in fed),) for name in given}
    for node in graph.nodes:
        for name in makes(node):
            of_node = _of(node, name, shapes, found, fed)
            if of_node is None or len(of_node) > MOST:
                of_node = (Piece((), name in fed),)
            found[name] = of_node
    return {name: found[name] for name in graph.outputs}


def _of(
    node: onnx.NodeProto,
    name: str,
    shapes: Mapping[str, Shape],
    found: Mapping[str, tuple[Piece, ...]],
    fed: set[str],
) -> tuple[Piece, ...] | None:
    """The pieces of what a node makes; None where it is one."""
    shape = shapes.get(name)
    if node.domain != "" or shape is None or any(read not in shapes for read in node.input if read):
        return None
    if node.op_type == "Concat":
        return _joined(node, shape, shapes, found)
    if node.op_type in _BY_CONSTANTS:
        source = next((read for read in node.input if read in fed), "")
        if any(read in fed and read != source for read in node.input):
            return None
    else:
        source = node.input[0]
    if source not in found:
        return None
    of_source, before = found[source], shapes[source]
    if node.op_type in _IN_PLACE | _BY_CONSTANTS:
        return of_source if before == shape else None
    if node.op_type == "Transpose":
        order = attribute(node, "perm", None) or list(reversed(range(len(before))))
        moved = {axis: order.index(axis) for axis in range(len(before))}
    elif node.op_type in _REFOLDED:
        moved = _kept(before, shape)
    else:
        return None
    if any(axis not in moved for piece in of_source for axis, _, _ in piece.ranges):
        return None
    return tuple(
        Piece(tuple(sorted((moved[axis], a, b) for axis, a, b in piece.ranges)), piece.fed)
        for piece in of_source
    )


def _joined(
    node: onnx.NodeProto,
    shape: Shape,
    shapes: Mapping[str, Shape],
    found: Mapping[str, tuple[Piece, ...]],
) -> tuple[Piece, ...] | None:
    axis = attribute(node, "axis", 0) % len(shape)
    made: list[Piece] = []
    start = 0
    for read in node.input:
        size = shapes[read][axis]
        if size is None or read not in found:
            return None  # images one after the other
        for piece in found[read]:
            ranges = {each: (a, b) for each, a, b in piece.ranges}
            a, b = ranges.get(axis, (0, size))
            ranges[axis] = start + a, start + b
            if a < b:
                ordered = tuple((each, *ranges[each]) for each in sorted(ranges))
                made.append(Piece(ordered, piece.fed))
        start += size
    return tuple(made)


def _kept(before: Shape, after: Shape) -> dict[int, int]:
    """The axes that are as they were when a tensor is read in another shape: those with as many
    rows, and as many elements before each."""
    places = {
        (math.prod(size or 1 for size in after[:axis]), after[axis]): axis
        for axis in range(len(after) - 1, -1, -1)
    }
    kept = {}
    for axis, size in enumerate(before):
        place = math.prod(each or 1 for each in before[:axis]), size
        if size is not None and place in places:
            kept[axis] = places[place]
    return kept
