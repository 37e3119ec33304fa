"""A piece of the network as a PyTorch module, made from its ONNX file: same nodes, same weights.

Only for the networks that are benched: UnsupportedModelError for a node that they do not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional

from shoal.errors import UnsupportedModelError
from shoal.model.dtypes import ONNX_TO_NUMPY
from shoal_benchmarks.rivals.job import Piece

Values = list[Any]
Made = Callable[[Values, dict[str, Any]], torch.Tensor]


class TorchPiece(torch.nn.Module):  # type: ignore[misc]
    """Takes and gives the tensors of a piece in their order. Images lie channels last, which is
    the quicker order for convolutions on a CPU."""

    def __init__(self, piece: Piece) -> None:
        super().__init__()
        graph = onnx.load(piece.file).graph
        self._reads = [spec.name for spec in piece.inputs]
        self._gives = [spec.name for spec in piece.outputs]
        self._weights: dict[str, torch.Tensor] = {
            weight.name: _laid(torch.from_numpy(numpy_helper.to_array(weight).copy()))
            for weight in graph.initializer
        }
        self._steps: list[tuple[Made, list[str], dict[str, Any], str]] = []
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                value = numpy_helper.to_array(attributes["value"]).copy()
                self._weights[node.output[0]] = torch.from_numpy(value)
                continue
            if node.op_type not in OPERATORS:
                raise UnsupportedModelError(f"the PyTorch rival has no operator {node.op_type}")
            made = OPERATORS[node.op_type]
            self._steps.append((made, list(node.input), attributes, node.output[0]))

    def forward(self, *given: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """What leaves the piece: a tensor, or a tuple of several."""
        known = dict(self._weights)
        known.update(zip(self._reads, given, strict=True))
        for made, reads, attributes, name in self._steps:
            known[name] = made([known[n] if n else None for n in reads], attributes)
        out = tuple(known[name].contiguous() for name in self._gives)
        return out[0] if len(out) == 1 else out


def _laid(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _conv(values: Values, given: dict[str, Any]) -> torch.Tensor:
    image, weight = values[:2]
    pads = given.get("pads", [0, 0, 0, 0])
    padding: Any = pads[:2]
    if pads[:2] != pads[2:]:
        image = functional.pad(image, (pads[1], pads[3], pads[0], pads[2]))
        padding = 0
    return functional.conv2d(
        _laid(image),
        weight,
        values[2] if len(values) > 2 else None,
        stride=given.get("strides", 1),
        padding=padding,
        dilation=given.get("dilations", 1),
        groups=given.get("group", 1),
    )


def _clip(values: Values, given: dict[str, Any]) -> torch.Tensor:
    low, high = ([*values[1:], None, None])[:2]
    number = [None if bound is None else bound.item() for bound in (low, high)]
    return torch.clamp(values[0], *number)


def _gemm(values: Values, given: dict[str, Any]) -> torch.Tensor:
    weight = values[1] if given.get("transB") else values[1].T
    return functional.linear(values[0], weight, values[2] if len(values) > 2 else None)


def _pool(values: Values, given: dict[str, Any]) -> torch.Tensor:
    pads = given.get("pads", [0, 0, 0, 0])
    return functional.max_pool2d(values[0], given["kernel_shape"], given["strides"], pads[:2])


def _mean(values: Values, given: dict[str, Any]) -> torch.Tensor:
    return values[0].mean(dim=values[1].tolist(), keepdim=bool(given.get("keepdims", 1)))


OPERATORS: dict[str, Made] = {
    "Add": lambda values, given: values[0] + values[1],
    "Cast": lambda values, given: values[0].to(
        getattr(torch, str(ONNX_TO_NUMPY[int(given["to"])]))
    ),
    "Clip": _clip,
    "Conv": _conv,
    "Div": lambda values, given: values[0] / values[1],
    "Flatten": lambda values, given: values[0].flatten(given.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda values, given: values[0].mean(dim=(2, 3), keepdim=True),
    "MaxPool": _pool,
    "ReduceMean": _mean,
    "Relu": lambda values, given: torch.relu(values[0]),
    "Reshape": lambda values, given: values[0].reshape(values[1].tolist()),
    "Sub": lambda values, given: values[0] - values[1],
}
