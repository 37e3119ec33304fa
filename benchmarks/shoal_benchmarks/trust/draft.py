"""A network while it is written down, with the shape of each tensor (None: as many as images)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

OPSET = 18
T = TypeVar("T")
Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Value:
    """A tensor; images lie along its first axis unless a block says otherwise."""

    name: str
    shape: tuple[int | None, ...]

    @property
    def size(self) -> int:
        """Its elements for one image."""
        return int(np.prod([1 if dim is None else dim for dim in self.shape]))


class Draft:
    """Nodes and weights as they are written down, drawn by ``random``."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.inputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def take(self, name: str, shape: Sequence[int], dtype: str = "float32") -> Value:
        """An input for any number of images of this shape."""
        number = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, number, ["images", *shape]))
        return Value(name, (None, *shape))

    def add(self, op: str, *inputs: Value | str, outputs: int = 1, **attributes: Any) -> str:
        """A node; the name of its first output (the others have a number behind it)."""
        name = f"{op.lower()}_{len(self._nodes)}"
        made = [name, *(f"{name}_{index}" for index in range(1, outputs))]
        given = [value.name if isinstance(value, Value) else value for value in inputs]
        self._nodes.append(helper.make_node(op, given, made, name, **attributes))
        return name

    def made(
        self, shape: Sequence[int | None], op: str, *inputs: Value | str, **more: Any
    ) -> Value:
        """The first output of a node, whose shape is known."""
        return Value(self.add(op, *inputs, **more), tuple(shape))

    def like(self, value: Value, op: str, *inputs: Value | str, **more: Any) -> Value:
        """The first output of a node, which has the shape of ``value``."""
        return self.made(value.shape, op, *inputs, **more)

    def constant(self, value: object, dtype: str = "float32") -> str:
        """A weight that is known; its name."""
        name = f"weight_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, *shape: int, fan_in: int = 1) -> str:
        """A weight that is drawn; its name."""
        drawn = self.random.standard_normal(shape) * (1.5 / fan_in) ** 0.5
        return self.constant(drawn)

    def ints(self, *values: int) -> str:
        """A list of whole numbers; its name."""
        return self.constant(values, "int64")

    def count(self, value: Value) -> str:
        """The number of images, a list of one number."""
        return self.add("Slice", self.add("Shape", value), self.ints(0), self.ints(1))

    def reshaped(self, value: Value, shape: Sequence[int | None]) -> Value:
        """The same elements in another shape with images in front, written in one of the ways
        of exporters: by 0 or -1, or by a shape that is computed."""
        rest = [dim for dim in shape[1:] if dim is not None]
        way = self.random.integers(3)
        if way == 0 and len(shape) <= len(value.shape):
            target = self.ints(0, *rest)
        elif way == 1:
            target = self.ints(-1, *rest)
        else:
            target = self.add("Concat", self.count(value), self.ints(*rest), axis=0)
        return self.made(shape, "Reshape", value, target)

    def flat(self, value: Value) -> Value:
        """A row for each image."""
        return self.reshaped(value, (None, value.size))

    def one_of(self, choices: Sequence[T]) -> T:
        """One of several."""
        return choices[int(self.random.integers(len(choices)))]

    def model(self, *outputs: Value) -> onnx.ModelProto:
        """The network."""
        graph = helper.make_graph(
            self._nodes,
            "generated",
            self.inputs,
            [onnx.ValueInfoProto(name=value.name) for value in outputs],
            self._weights,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)
