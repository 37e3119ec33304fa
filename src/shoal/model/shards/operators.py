"""What a node says of itself: attributes, constants, and its weights if it is a layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy.typing as npt
import onnx

from shoal.model.graph import makes
from shoal.model.network import Network
from shoal.model.spec import TensorSpec

Array: TypeAlias = npt.NDArray[Any]

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""What multiplies by weights."""

_FLOATS = frozenset({"float16", "float32", "float64"})


@dataclass(frozen=True)
class Layer:
    """A node that multiplies by constant weights: ``outputs`` and ``inputs`` are the axes of
    ``weight`` that belong to what it makes and reads, ``axis`` is that of the tensors."""

    weight: Array
    outputs: int
    inputs: int
    groups: int
    axis: int

    @property
    def makes(self) -> int:
        """Channels that it makes."""
        return int(self.weight.shape[self.outputs])

    @property
    def reads(self) -> int:
        """Channels that it reads."""
        return int(self.weight.shape[self.inputs]) * self.groups


class Look:
    """A node of a network, by its number."""

    def __init__(self, network: Network, number: int) -> None:
        self.network = network
        self.number = number
        self.proto: onnx.NodeProto = network.operators[number]
        self.node = network.nodes[number]
        self.op: str = self.proto.op_type if not self.proto.domain else "?"
        self.reads: tuple[str, ...] = tuple(self.proto.input)
        self.made: str = self.proto.output[0]

    @property
    def title(self) -> str:
        """What it is called in a sentence."""
        return f"{self.node.op} {self.node.name or self.made!r}"

    @property
    def single(self) -> bool:
        """Whether it makes one tensor."""
        return len(makes(self.proto)) == 1

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or ``default``."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                return onnx.helper.get_attribute_value(attribute)
        return default

    def fed(self) -> tuple[str, ...]:
        """The tensors it reads that are not constant."""
        return self.node.reads

    def constant(self, index: int) -> Array | None:
        """The weight that is its input ``index``; None if that is none."""
        name = self.reads[index] if index < len(self.reads) else ""
        weight = self.network.graph.weights.get(name)
        return None if weight is None else weight.array()

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """The shape of a tensor, weights included; None where it is not known."""
        weight = self.network.graph.weights.get(name)
        if weight is not None:
            return weight.dims
        spec = self.network.spec(name)
        return None if spec is None else spec.shape

    @property
    def result(self) -> TensorSpec | None:
        """What it makes, if that is known and made of numbers with fractions."""
        spec = self.network.spec(self.made)
        return spec if spec is not None and spec.dtype in _FLOATS else None

    def numbers(self, index: int, name: str) -> Sequence[int] | None:
        """A list of numbers that is the attribute ``name`` or, in later opsets, an input."""
        given = self.attribute(name)
        if given is None and (found := self.constant(index)) is not None:
            given = found.reshape(-1).tolist()
        return None if given is None else list(given)

    @cached_property
    def layer(self) -> Layer | str:
        """Its weights; or why they cannot be taken apart: what it is or has, in words."""
        if self.op not in LAYERS:
            return "has no weights"
        weight = self.constant(1)
        if weight is None or weight.dtype.name not in _FLOATS:
            return "has weights that are computed while it runs"
        if (
            any(name and name not in self.network.graph.weights for name in self.reads[2:])
            or self.result is None
        ):
            return "has a bias or a result that is not known before it runs"
        rank = len(self.result.shape)
        groups = self.attribute("group", 1)
        if self.op == "Conv":
            found = Layer(weight, 0, 1, groups, 1)
        elif self.op == "ConvTranspose":
            if groups > 1:
                return "is a transposed convolution in groups"
            found = Layer(weight, 1, 0, 1, 1)
        elif self.op == "Gemm":
            across = bool(self.attribute("transB", 0))
            found = Layer(weight, 0 if across else 1, 1 if across else 0, 1, 1)
            bias = self.constant(2)
            if self.attribute("transA", 0) or (bias is not None and not _flat(bias)):
                return "reads what is turned, or has a bias for each image"
        elif weight.ndim == 2 and rank > 1:
            found = Layer(weight, 1, 0, 1, rank - 1)
        else:
            return "has weights that are no matrix"
        if self.result.shape[found.axis] != found.makes:
            return "has a result that is not known before it runs"
        return found

    @cached_property
    def macs(self) -> int:
        """Multiplications of a layer for one image; 0 for others."""
        layer, result = self.layer, self.result
        if isinstance(layer, str) or result is None:
            return 0
        shape = result.shape
        if self.op == "ConvTranspose":
            shape = self.shape(self.reads[0]) or shape
        return int(layer.weight.size) * math.prod(
            size or 1 for axis, size in enumerate(shape) if axis not in (0, layer.axis)
        )


def looks(network: Network) -> tuple[Look, ...]:
    """All nodes of a network."""
    return tuple(Look(network, number) for number in range(len(network.nodes)))


def after(axes: Iterable[int] | None, rank: int, axis: int) -> bool:
    """Whether ``axes`` of a tensor of this rank are known and all come after ``axis``."""
    return axes is not None and all((each + rank if each < 0 else each) > axis for each in axes)


def _flat(bias: Array) -> bool:
    return bias.size == (bias.shape[-1] if bias.ndim else 1)
