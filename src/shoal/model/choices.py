"""Which tensors hang by a choice: a largest value, an order, a threshold.

Where two scores are nearly the same, rounding decides which of them is the larger one, and what
follows is another label, another box, another row: no magnitude that would be off by little. So
outputs behind a choice are compared where the choice is clear. What is clear is found out by
running the network with every choice pushed to either side by the difference that is allowed of
the scores (:func:`pushed`): what changes then hangs by a near tie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper

from shoal.model.dtypes import NUMPY_TO_ONNX
from shoal.model.graph import Graph, attribute, copied, makes, operators, reads
from shoal.model.spec import TensorSpec
from shoal.model.weights import Weight

_LARGEST = operators("ArgMax ArgMin Hardmax")
_THRESHOLDS = operators("Cast Equal Greater GreaterOrEqual Less LessOrEqual Sign")
_ORDERS = operators("MaxPool NonMaxSuppression TopK")
_OTHERS = operators("Compress IsInf IsNaN NonZero Unique")
"""Choices that nothing is pushed of: what they give would change its shape."""

_REAL = frozenset({"float16", "float32", "float64"})
_BYTES = frozenset({"int8", "uint8"})
"""Scores that were rounded to 8 bits."""

MASKED = 1e4
"""Scores of this magnitude are no scores, but shut places out."""


def choices(graph: Graph, specs: Mapping[str, TensorSpec]) -> tuple[onnx.NodeProto, ...]:
    """The nodes that choose by values that are rounded on the way. ``specs`` are those of the
    tensors, as far as they are known. Nodes that depend on no input do not count."""
    fed = {spec.name for spec in graph.inputs}
    found = []
    for node in graph.nodes:
        if not fed.isdisjoint(reads(node)):
            fed.update(makes(node))
            if _chooses(node, specs):
                found.append(node)
    return tuple(found)


def behind(graph: Graph, nodes: Iterable[onnx.NodeProto]) -> frozenset[str]:
    """The tensors that depend on what ``nodes`` choose."""
    first = {id(node) for node in nodes}
    reached: set[str] = set()
    for node in graph.nodes:
        if not reached.isdisjoint(reads(node)):
            reached.update(makes(node))
        elif id(node) in first:
            # The values of a pooling are those of the maxima, wherever they are.
            reached.update(makes(node)[1:] if node.op_type == "MaxPool" else makes(node))
    return frozenset(reached)


def scores(node: onnx.NodeProto) -> str:
    """The tensor by which a node chooses."""
    return str(node.input[1 if node.op_type == "NonMaxSuppression" else 0])


def _chooses(node: onnx.NodeProto, specs: Mapping[str, TensorSpec]) -> bool:
    if node.domain != "":
        return False
    spec = specs.get(scores(node)) if node.input else None
    given = None if spec is None else spec.dtype
    if node.op_type == "Cast":
        return given in _REAL and attribute(node, "to", 1) not in _REAL_NUMBERS
    if given is not None and given not in _REAL | _BYTES:
        return False
    if node.op_type == "MaxPool":
        return len(makes(node)) > 1
    if node.op_type in _THRESHOLDS:
        return given in _REAL
    return node.op_type in _LARGEST | _ORDERS | _OTHERS


_REAL_NUMBERS = frozenset(NUMPY_TO_ONNX[name] for name in _REAL) | {onnx.TensorProto.BFLOAT16}


class Pushed(NamedTuple):
    """A graph with two more inputs: every choice is pushed by ``amount`` of the largest magnitude
    among its scores, to the ``side`` that is 1 or -1. With an amount of 0 and side -1 it is the
    same network. ``random`` tells that chance plays a part, so that more runs find more."""

    graph: Graph
    amount: str
    side: str
    random: bool


def pushed(
    graph: Graph, nodes: Sequence[onnx.NodeProto], specs: Mapping[str, TensorSpec]
) -> Pushed:
    """``graph`` with a push before each of ``nodes``, which are among its own. Tensors keep their
    names."""
    made = graph.copy()
    push = _Push(made, specs)
    wanted = {id(node) for node in nodes}
    for before, node in zip(graph.nodes, made.nodes, strict=True):
        if id(before) in wanted:
            push.push(node)
        else:
            push.nodes.append(node)
    added = (TensorSpec(name, "float32", ()) for name in (push.amount, push.side))
    pushed_graph = replace(made, nodes=push.nodes, inputs=(*made.inputs, *added))
    return Pushed(pushed_graph, push.amount, push.side, push.random)


class _Push:
    """Appends the nodes of pushed choices to ``nodes``."""

    def __init__(self, graph: Graph, specs: Mapping[str, TensorSpec]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.random = False
        self._graph = graph
        self._specs = specs
        self._opset = dict(graph.opsets).get("", 7)
        self.amount, self.side = self._name(), self._name()

    def push(self, node: onnx.NodeProto) -> None:
        given = scores(node)
        if node.op_type in _LARGEST and self._along(node) is not None:
            self._nearly_largest(node, given)
        elif node.op_type in _THRESHOLDS:
            shift = self._add("Mul", [self._reach(given), self.side])
            node.input[0] = self._like(given, self._add("Add", [self._real(given), shift]))
        elif node.op_type in _ORDERS | _LARGEST:
            self._shake(node, given)
            return
        self.nodes.append(node)

    def _nearly_largest(self, node: onnx.NodeProto, given: str) -> None:
        """Choose among the places that are nearly the largest the last one, or the first."""
        axis, length, rank = self._along(node) or (0, 1, 1)
        real = self._real(given)
        if node.op_type == "ArgMin":
            real = self._add("Neg", [real])
            node.op_type = "ArgMax"
        reach = self._add("Mul", [self._reach(given), self._constant(np.float32(2))])
        bound = self._add("Sub", [self._largest(real, axis), reach])
        near = self._add("Not", [self._add("Less", [real, bound])])
        # 1 to length along the axis; or, for the other side, length to 1.
        ramp = np.arange(length, dtype=np.float32) - np.float32((length - 1) / 2)
        order = self._constant(ramp.reshape([-1 if k == axis % rank else 1 for k in range(rank)]))
        place = self._add("Mul", [order, self.side])
        place = self._add("Add", [place, self._constant(np.float32((length + 1) / 2))])
        found = self._add("Mul", [self._add("Cast", [near], to=NUMPY_TO_ONNX["float32"]), place])
        node.input[0] = self._like(given, found) if node.op_type == "Hardmax" else found

    def _along(self, node: onnx.NodeProto) -> tuple[int, int, int] | None:
        """The axis along which a node looks for the largest, its length, and the rank."""
        spec = self._specs.get(scores(node))
        axis = attribute(node, "axis", -1 if node.op_type == "Hardmax" else 0)
        if spec is None or not -len(spec.shape) <= axis < len(spec.shape):
            return None
        if node.op_type == "Hardmax" and self._opset < 13:
            return None  # it took all axes from there on for one
        length = spec.shape[axis]
        return None if length is None else (axis, length, len(spec.shape))

    def _shake(self, node: onnx.NodeProto, given: str) -> None:
        """Push each score by another amount, to another side. The values that come along stay
        those of the places that are found."""
        self.random = True
        real = self._real(given)
        seed = float(len(self.nodes))
        shift = self._add("RandomUniformLike", [real], low=-1.0, high=1.0, seed=seed)
        for factor in (self._reach(given), self.side):
            shift = self._add("Mul", [shift, factor])
        values = node.output[0]
        if node.op_type == "MaxPool":
            still = copied(node)
            still.output[1] = self._name()
            self.nodes.append(still)
        node.input[list(node.input).index(given)] = self._like(
            given, self._add("Add", [real, shift])
        )
        found_apart = node.op_type == "TopK" and values and self._opset >= 11
        if found_apart or node.op_type == "MaxPool":
            node.output[0] = self._name()
        self.nodes.append(node)
        if found_apart:
            if not node.output[1]:
                node.output[1] = self._name()
            self.nodes.append(
                helper.make_node(
                    "GatherElements", [given, node.output[1]], [values],
                    axis=attribute(node, "axis", -1),
                )
            )  # fmt: skip

    def _reach(self, given: str) -> str:
        """How far scores are pushed."""
        size = self._add("Abs", [self._real(given)])
        size = self._add("Min", [size, self._constant(np.float32(MASKED))])
        return self._add("Mul", [self._largest(size, None), self.amount])

    def _largest(self, given: str, axis: int | None) -> str:
        if axis is None:
            return self._add("ReduceMax", [given], keepdims=0)
        if self._opset >= 18:
            return self._add("ReduceMax", [given, self._constant(np.array([axis]))], keepdims=1)
        return self._add("ReduceMax", [given], axes=[axis], keepdims=1)

    def _real(self, given: str) -> str:
        return self._add("Cast", [given], to=NUMPY_TO_ONNX["float32"])

    def _like(self, given: str, real: str) -> str:
        """``real`` in the type of ``given``."""
        spec = self._specs.get(given)
        return self._add("Cast", [real], to=NUMPY_TO_ONNX[spec.dtype if spec else "float32"])

    def _constant(self, value: Any) -> str:
        name = self._name()
        self._graph.weights[name] = Weight.of(np.asarray(value))
        return name

    def _add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = self._name()
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def _name(self) -> str:
        return self._graph.fresh_name("push")
