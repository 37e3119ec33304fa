"""Follows images through the nodes of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

import numpy as np
import onnx

from shoal.model.dtypes import ONNX_TO_NUMPY
from shoal.model.independence import values
from shoal.model.independence.layout import STACKED, Along, Common, Extent, Layout, Mixed
from shoal.model.independence.rows import OF_CONSTANTS
from shoal.model.independence.size import Values
from shoal.model.independence.table import GROWING, MIXERS, is_known, rule_of
from shoal.model.independence.view import Mixes, Rule, View
from shoal.model.spec import TensorSpec
from shoal.model.weights import Weight


class Follower:
    """Follows images through nodes. ``opsets`` are (domain, version), ``weights`` what is
    constant, ``shapes`` those of all tensors that are known."""

    def __init__(
        self,
        opsets: Iterable[tuple[str, int]],
        weights: Mapping[str, Weight],
        shapes: Mapping[str, Extent],
    ) -> None:
        self._versions = dict(opsets)
        self._weights = weights
        self._shapes = shapes

    def follow(
        self, nodes: Iterable[onnx.NodeProto], entering: Mapping[str, Layout]
    ) -> dict[str, Layout]:
        """The layout of each tensor that ``nodes``, in topological order, read or make, from
        those of the ``entering`` ones."""
        found: dict[str, Layout] = dict(entering)
        for node in nodes:
            for name in node.input:
                if name and name not in found:
                    found[name] = self._constant(name)
            made = self._node(node, [found[name] if name else None for name in node.input])
            for name, layout in zip_longest(node.output, made[: len(node.output)]):
                if name:
                    found[name] = self._held(node, name, layout)
        return found

    def _constant(self, name: str) -> Layout:
        weight = self._weights.get(name)
        if weight is None:
            return Mixed(f"tensor {name!r} comes from nowhere")
        return Common(values=values.of_weight(weight))

    def _shape(self, name: str) -> Extent | None:
        weight = self._weights.get(name)
        return self._shapes.get(name) if weight is None else Extent.of(weight.dims)

    def _held(self, node: onnx.NodeProto, name: str, layout: Layout | None) -> Layout:
        """The layout of an output, held against its shape."""
        if layout is None:
            return _mixed(node, "makes more than is known of it")
        form = layout.form if isinstance(layout, Mixed) else layout
        if not isinstance(form, Along):
            return layout
        shape = self._shape(name)
        if shape is None:
            why = "makes a tensor whose shape is not known"
        elif _fits(form, shape):
            return layout
        else:
            why = "makes a shape that was not expected"
        return Mixed(layout.why) if isinstance(layout, Mixed) else _mixed(node, why)

    def _node(
        self, node: onnx.NodeProto, given: Sequence[Layout | None]
    ) -> Sequence[Layout | None]:
        """The layouts of a node's outputs."""
        count = len(node.output)
        shapes = [self._shape(name) if name else None for name in node.input]
        forms = [_form(layout, shape) for layout, shape in zip(given, shapes, strict=True)]
        view = View(node, self._versions.get(node.domain, 1), forms, shapes, self._elements)
        mixed = next((layout for layout in given if isinstance(layout, Mixed)), None)
        try:
            if node.domain == "" and node.op_type in values.OF_SHAPES:
                return [_common(values.OF_SHAPES[node.op_type](view), counted=True)] * count
            if mixed is None and not any(isinstance(layout, Along) for layout in given):
                return [self._of_common(node, view)] * count
            if mixed is None:
                return _ruled(node, view, rule_of(node.domain, node.op_type))
        except Mixes as verdict:
            mixed = _mixed(node, str(verdict))
        except _DAMAGED:
            mixed = _mixed(node, "has inputs that do not fit together")
        assert mixed is not None
        # What is in it is lost; how it grows may still be told.
        rule = GROWING.get(node.op_type) or rule_of(node.domain, node.op_type)
        try:
            grown = _ruled(node, view, rule)
        except Mixes:
            return [Mixed(mixed.why)] * count
        return [Mixed(mixed.why, each if isinstance(each, Along) else None) for each in grown]

    def _of_common(self, node: onnx.NodeProto, view: View) -> Layout:
        """What a node makes of what is the same for all images."""
        if not is_known(node.domain, node.op_type):
            return _mixed(node, "is not known to give the same every time")
        counted = any(isinstance(layout, Common) and layout.counted for layout in view.layouts)
        shape = self._shape(node.output[0])
        if node.domain == "" and shape is not None and len(shape.one) <= 1:
            found = _tried(values.RULES.get(node.op_type), view)
            if found is not None:
                return _common(found, counted)
        if node.domain == "" and counted:
            return _tried(OF_CONSTANTS.get(node.op_type), view) or Common(counted)
        return Common(counted)

    def _elements(self, name: str) -> tuple[float, ...] | None:
        weight = self._weights.get(name)
        if (
            weight is None
            or weight.data_type not in ONNX_TO_NUMPY
            or math.prod(weight.dims) > values.MOST
        ):
            return None
        return tuple(weight.array().reshape(-1).astype(np.float64).tolist())


_DAMAGED = (IndexError, ValueError)
"""What rules raise for nodes that no engine would run."""

_Found = TypeVar("_Found")


def _tried(rule: Callable[[View], _Found] | None, view: View) -> _Found | None:
    """What a rule says; None where it says nothing."""
    try:
        return None if rule is None else rule(view)
    except (Mixes, *_DAMAGED):
        return None


def _ruled(node: onnx.NodeProto, view: View, rule: Rule | None) -> Sequence[Layout | None]:
    """What the rule says of a node's outputs. Raises :class:`Mixes`, for what does not fit
    together too."""
    if rule is None:
        raise Mixes(MIXERS.get(node.op_type, "is not known to treat images one by one"))
    try:
        made = rule(view)
    except _DAMAGED:
        raise Mixes("has inputs that do not fit together") from None
    return [made] * len(node.output) if isinstance(made, Along | Common | Mixed) else made


def _form(layout: Layout | None, shape: Extent | None) -> Layout | None:
    """What stands for a layout where only shapes are told."""
    if not isinstance(layout, Mixed):
        return layout
    if layout.form is not None:
        return layout.form
    return Common(counted=shape is None or any(size is None or size.each for size in shape.sizes))


def _fits(form: Along, shape: Extent) -> bool:
    """Whether a tensor of this shape can hold images in this way."""
    others = [size for axis, size in enumerate(shape.sizes) if axis != form.axis]
    return (
        0 <= form.axis < len(shape.one)
        and shape.one[form.axis] == form.rows
        and not any(size is not None and size.each for size in others)
    )


def _common(found: Values, counted: bool = False) -> Common:
    known = None not in found
    depends = any(value is not None and value.each for value in found)
    return Common(counted=depends or (counted and not known), values=found)


def _mixed(node: onnx.NodeProto, why: str) -> Mixed:
    return Mixed(f"{node.op_type} {node.name or node.output[0]!r} {why}")


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
