"""Which networks compute with few bits, so that one step of rounding is large."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from shoal.model.spec import TensorSpec

_STEPS = frozenset({"Round", "Floor", "Ceil"})
"""How networks are quantised that were trained to be, where they still compute with floats."""


def is_rough(nodes: Iterable[onnx.NodeProto], specs: Iterable[TensorSpec]) -> bool:
    """Whether ``nodes`` round to 16-bit floats or to integers on the way, or ``specs``, of their
    tensors, say so."""
    return any(spec.dtype == "float16" for spec in specs) or any(
        node.op_type in _STEPS
        or "Quantize" in node.op_type
        or "Integer" in node.op_type
        or node.op_type.startswith("QLinear")
        for node in nodes
    )
