"""Which networks compute with few bits, so that one step of rounding is large."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx

from shoal.model.cuts import Tensor
from shoal.model.graph import operators

_STEPS = operators("Ceil Floor Round")
"""How networks are quantised that were trained to be, where they still compute with floats."""

MOST_BYTES = 64 << 20
"""Tensors of 16 bits are kept from vanishing up to this size of all of them, for one image."""


def is_quantised(nodes: Iterable[onnx.NodeProto]) -> bool:
    """Whether ``nodes`` round to integers on the way."""
    return any(
        node.op_type in _STEPS
        or "Quantize" in node.op_type
        or "Integer" in node.op_type
        or node.op_type.startswith("QLinear")
        for node in nodes
    )


def halves(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The tensors of 16-bit floats. The engine computes these in 32 bits, and leaves out what
    would round them in between; at a cut they are rounded."""
    return tuple(name for name, tensor in tensors.items() if tensor.spec.dtype == "float16")
