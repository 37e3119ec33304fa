"""Steps as ONNX nodes, for one device and one stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from shoal.errors import UnsupportedModelError
from shoal_train.fluid.groups import SubNetwork
from shoal_train.fluid.layers import Axis, Mix, Norm
from shoal_train.fluid.model import FluidModel
from shoal_train.fluid.steps import (
    Constant,
    Flat,
    Joined,
    Local,
    Pair,
    Step,
    Value,
    Weighted,
    reads,
)
from shoal_train.fluid.trace import Mean

OPSET, IR_VERSION = 17, 8


@dataclass
class Held:
    """A tensor inside the graph, and the groups whose channels it holds, in this order."""

    name: str
    groups: tuple[int, ...]
    """Empty where the tensor is not divided."""


@dataclass
class Emitter:
    """Writes the graph of what one device does for ``sub``: the channels of its ``own`` groups.

    The weights are written as blocks from group to group, which nodes put together: so every part
    that needs a block names the same bytes. Whoever loads the graph folds these nodes away.
    """

    model: FluidModel
    sub: SubNetwork
    own: tuple[int, ...]
    first: bool
    """Whether this device adds the bias of the logits; one device does."""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, onnx.TensorProto] = field(default_factory=dict)
    known: dict[str, Held] = field(default_factory=dict)

    def run(self, steps: Iterable[Step]) -> None:
        """Write ``steps``; their inputs must be known."""
        steps = list(steps)
        folded, done = foldable(self.model, steps, self.sub)
        for step in steps:
            match step:
                case Weighted(output, source, layer):
                    module = self.model.layer(layer)
                    if isinstance(module, Mix):
                        norm = folded.get(output.name)
                        held = self._mix(module, self.known[source.name], norm)
                    elif output.name in done:
                        held = self.known[source.name]
                    else:
                        held = self._norm(module, self._mine(source))
                case Local(_, source, module):
                    mine = self._mine(source)
                    held = Held(self._local(module, mine.name, source), mine.groups)
                case Flat(_, source):
                    mine = self._mine(source)
                    held = Held(self.node("Flatten", mine.name, axis=1), mine.groups)
                case Pair(_, source, other, op):
                    one, two = self._mine(source), self._mine(other)
                    kind = "Add" if op == "add" else "Mul"
                    held = Held(self.node(kind, one.name, two.name), one.groups)
                case Constant(_, source, op, buffer):
                    kind = {"add": "Add", "subtract": "Sub", "multiply": "Mul"}.get(op, "Div")
                    value = self.weight(getattr(self.model, buffer))
                    held = Held(self.node(kind, self.known[source.name].name, value), ())
                case Joined(_, inputs):
                    held = Held(self._joined(inputs), self.own)
            self.known[step.output.name] = held

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        """Add a node with one output; returns the output's name."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def weight(self, value: Tensor | NDArray[np.generic]) -> str:
        """Add a constant; returns its name."""
        array = value.detach().cpu().contiguous().numpy() if isinstance(value, Tensor) else value
        name = f"w{len(self.weights)}"
        self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def take(self, held: Held, axis: Axis | None, groups: Sequence[int]) -> Held:
        """The channels of ``groups`` of a tensor that holds those and others."""
        if axis is None or held.groups == tuple(groups):
            return held
        sizes = axis.sizes
        edges = np.cumsum([0, *(sizes[group] for group in held.groups)])
        pieces = [
            self.slice(held.name, int(edges[place]), int(edges[place + 1]))
            for place in (held.groups.index(group) for group in groups)
        ]
        return Held(self.concat(pieces, 1), tuple(groups))

    def concat(self, names: Sequence[str], axis: int) -> str:
        """Tensors side by side; one alone stays as it is."""
        return names[0] if len(names) == 1 else self.node("Concat", *names, axis=axis)

    def slice(self, name: str, start: int, end: int) -> str:
        """Channels ``start`` up to ``end``."""
        ends = [np.array([number], np.int64) for number in (start, end, 1)]
        return self.node("Slice", name, *(self.weight(number) for number in ends))

    def _mine(self, value: Value) -> Held:
        return self.take(self.known[value.name], value.axis, self.own)

    def _mix(self, layer: Mix, given: Held, norm: Norm | None) -> Held:
        shift = layer.shift(self.sub, self.own)
        scale: Tensor | None = None
        if norm is not None:
            scale, added = norm.affine(self.sub, self.own)
            shift = added if shift is None else shift * scale + added
        rows = self.own if layer.rows is not None else (-1,)
        columns = given.groups if layer.columns is not None else (-1,)
        if layer.rows is None and layer.columns is not None:
            # The logits: each device adds what its own groups say, and one of them the bias.
            given = self.take(given, layer.columns, self.own)
            columns = given.groups
            if not self.first:
                shift = None
        weight = self.concat(
            [
                self.concat([self.weight(layer.part((row,), (column,))) for column in columns], 1)
                for row in rows
            ],
            0,
        )
        if scale is not None:
            weight = self.node("Mul", weight, self.weight(_tall(scale, layer.weight.dim())))
        name = (
            self._dense(weight, given.name, shift)
            if layer.stride is None
            else self._convolve(layer, weight, given, shift)
        )
        return Held(name, self.own if layer.rows is not None else ())

    def _dense(self, weight: str, x: str, shift: Tensor | None) -> str:
        inputs = [x, weight] if shift is None else [x, weight, self.weight(shift)]
        return self.node("Gemm", *inputs, transB=1)

    def _convolve(self, layer: Mix, weight: str, given: Held, shift: Tensor | None) -> str:
        high, wide = layer.padding
        inputs = [given.name, weight] if shift is None else [given.name, weight, self.weight(shift)]
        channels = 1
        if layer.depthwise and layer.rows is not None:
            channels = sum(layer.rows.sizes[group] for group in self.own) // layer.multiplier
        return self.node(
            "Conv",
            *inputs,
            kernel_shape=list(layer.weight.shape[2:]),
            strides=list(layer.stride or (1, 1)),
            dilations=list(layer.dilation),
            pads=[high, wide, high, wide],
            group=channels,
        )

    def _norm(self, layer: Norm, given: Held) -> Held:
        scale, shift = layer.affine(self.sub, self.own)
        scaled = self.node("Mul", given.name, self.weight(_tall(scale, 3)[None]))
        return Held(self.node("Add", scaled, self.weight(_tall(shift, 3)[None])), given.groups)

    def _joined(self, inputs: Sequence[Value]) -> str:
        mine = [(value, self._mine(value)) for value in inputs]
        pieces = [
            self.take(held, value.axis, (group,)).name for group in self.own for value, held in mine
        ]
        return self.concat(pieces, 1)

    def _local(self, module: nn.Module, x: str, value: Value) -> str:
        match module:
            case nn.ReLU():
                return self.node("Relu", x)
            case nn.ReLU6():
                return self.node("Clip", x, *(self.weight(np.float32(n)) for n in (0, 6)))
            case nn.LeakyReLU():
                return self.node("LeakyRelu", x, alpha=float(module.negative_slope))
            case nn.ELU():
                return self.node("Elu", x, alpha=float(module.alpha))
            case nn.Sigmoid():
                return self.node("Sigmoid", x)
            case nn.Tanh():
                return self.node("Tanh", x)
            case nn.Hardswish():
                return self.node("HardSwish", x)
            case nn.Hardsigmoid():
                return self.node("HardSigmoid", x, alpha=1 / 6, beta=0.5)
            case nn.SiLU():
                return self.node("Mul", x, self.node("Sigmoid", x))
            case nn.Identity() | nn.Dropout() | nn.Dropout2d():
                return x
            case nn.MaxPool2d() | nn.AvgPool2d():
                return self._pool(module, x)
            case nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d():
                return self._adaptive(module, x, value)
            case Mean():
                mean = self.node("GlobalAveragePool", x)
                return mean if module.keep else self.node("Flatten", mean, axis=1)
        raise UnsupportedModelError(f"{type(module).__name__} has no form in ONNX here")

    def _pool(self, module: nn.MaxPool2d | nn.AvgPool2d, x: str) -> str:
        high, wide = _two(module.padding)
        common = {
            "kernel_shape": _two(module.kernel_size),
            "strides": _two(module.stride),
            "pads": [high, wide, high, wide],
            "ceil_mode": int(module.ceil_mode),
        }
        if isinstance(module, nn.MaxPool2d):
            return self.node("MaxPool", x, dilations=_two(module.dilation), **common)
        return self.node(
            "AveragePool", x, count_include_pad=int(module.count_include_pad), **common
        )

    def _adaptive(
        self, module: nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d, x: str, value: Value
    ) -> str:
        average = isinstance(module, nn.AdaptiveAvgPool2d)
        sizes = [
            before if wanted is None else wanted
            for before, wanted in zip(value.shape[1:], _two(module.output_size), strict=True)
        ]
        if sizes == [1, 1]:
            return self.node("GlobalAveragePool" if average else "GlobalMaxPool", x)
        kernel = [before // after for before, after in zip(value.shape[1:], sizes, strict=True)]
        return self.node(
            "AveragePool" if average else "MaxPool", x, kernel_shape=kernel, strides=kernel
        )


def foldable(
    model: FluidModel, steps: Sequence[Step], sub: SubNetwork
) -> tuple[dict[str, Norm], set[str]]:
    """Batch norms that can be part of a layer before them.

    Returns them by the name of that layer's output, and the names of their own outputs. Between
    the two may be pooling that takes the largest, as long as ``sub`` has no negative factor.
    """
    read: dict[str, int] = {}
    for step in model.steps:
        for value in reads(step):
            read[value.name] = read.get(value.name, 0) + 1
    made = {step.output.name: step for step in steps}
    folded: dict[str, Norm] = {}
    done: set[str] = set()
    for step in steps:
        layer = model.layer(step.layer) if isinstance(step, Weighted) else None
        if not isinstance(layer, Norm):
            continue
        rising = bool((layer.affine(sub, sub.groups)[0] > 0).all())
        before = made.get(reads(step)[0].name)
        while before is not None and read[before.output.name] == 1:
            if isinstance(before, Weighted):
                if isinstance(model.layer(before.layer), Mix):
                    folded[before.output.name] = layer
                    done.add(step.output.name)
                break
            if not (isinstance(before, Local) and isinstance(before.module, nn.MaxPool2d)):
                break
            before = made.get(before.input.name) if rising else None
    return folded, done


def graph(
    emitter: Emitter,
    given: tuple[str, tuple[int, ...]],
    output: tuple[str, tuple[int, ...]],
    source: str,
) -> bytes:
    """The ONNX model of what was written; ``source`` is the tensor that becomes ``output``."""
    name, shape = output
    emitter.nodes.append(helper.make_node("Identity", [source], [name]))
    if len(emitter.nodes) > 1 and emitter.nodes[-2].output[0] == source:
        emitter.nodes.pop()
        emitter.nodes[-1].output[0] = name
    made = helper.make_graph(
        emitter.nodes,
        "part",
        [_info(*given)],
        [_info(name, shape)],
        list(emitter.weights.values()),
    )
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _info(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", *shape])


def _tall(values: Tensor, rank: int) -> Tensor:
    """A vector over the first dimension of ``rank``."""
    return values.reshape(-1, *([1] * (rank - 1)))


def _two(size: int | Sequence[int]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)
