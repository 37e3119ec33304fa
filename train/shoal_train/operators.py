"""What ONNX operators compute, in PyTorch: those that image classifiers are made of."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import onnx
import torch
from torch import Tensor
from torch.nn import functional

from shoal.errors import UnsupportedModelError
from shoal.model.graph import attribute

Given: TypeAlias = Sequence[Tensor | None]
"""What a node reads; None for what is left out."""
Operator: TypeAlias = Callable[[onnx.NodeProto, Given], Tensor]

DTYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.BOOL: torch.bool,
}


def apply(node: onnx.NodeProto, given: Given) -> Tensor:
    """What a node makes. UnsupportedModelError for an operator, or a way to use one, that is not
    there."""
    found = OPERATORS.get(node.op_type) if not node.domain else None
    if found is None or len(node.output) != 1:
        raise refused(node, "is not trained through")
    return found(node, given)


def refused(node: onnx.NodeProto, words: str) -> UnsupportedModelError:
    """The error about a node."""
    name = node.name or node.output[0]
    return UnsupportedModelError(
        f"{node.op_type} {name!r} {words}: train the network where it comes from"
    )


def _of(made: Callable[..., Tensor]) -> Operator:
    """An operator without attributes."""
    return lambda node, given: made(*given)


def _folded(made: Callable[[Any, Any], Any]) -> Operator:
    """An operator of any number of inputs."""
    return lambda node, given: functools.reduce(made, given)


def _numbers(node: onnx.NodeProto, given: Given, index: int, name: str) -> list[int] | None:
    """Numbers that are an attribute or, in later opsets, an input."""
    found = attribute(node, name, None)
    if found is None and index < len(given) and (tensor := given[index]) is not None:
        found = tensor.reshape(-1).tolist()
    return None if found is None else list(map(int, found))


def _padded(node: onnx.NodeProto, x: Tensor, value: float) -> Tensor:
    """What a window moves over, with its borders."""
    if attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise refused(node, "pads by itself, which is not trained through")
    return _bordered(x, list(attribute(node, "pads", [])), value)


def _bordered(x: Tensor, pads: Sequence[int], value: float) -> Tensor:
    """With so many entries before, and then after, each of the last axes."""
    half = len(pads) // 2
    turned = [side for axis in reversed(range(half)) for side in (pads[axis], pads[half + axis])]
    return functional.pad(x, turned, value=value) if any(pads) else x


def _conv(node: onnx.NodeProto, given: Given) -> Tensor:
    x = _tensor(given)
    rank = x.ndim - 2
    if rank not in (1, 2):
        raise refused(node, f"has {rank} axes, which is not trained through")
    conv = functional.conv1d if rank == 1 else functional.conv2d
    pads = list(attribute(node, "pads", [0] * 2 * rank))
    even = pads[:rank] == pads[rank:] and attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
    return conv(
        x if even else _padded(node, x, 0.0),
        _tensor(given, 1),
        given[2] if len(given) > 2 else None,
        attribute(node, "strides", 1),
        pads[:rank] if even else 0,
        attribute(node, "dilations", 1),
        attribute(node, "group", 1),
    )


def _gemm(node: onnx.NodeProto, given: Given) -> Tensor:
    a, b = _tensor(given), _tensor(given, 1)
    a = a.T if attribute(node, "transA", 0) else a
    b = b.T if attribute(node, "transB", 0) else b
    made = attribute(node, "alpha", 1.0) * (a @ b)
    if len(given) > 2 and given[2] is not None:
        made = made + attribute(node, "beta", 1.0) * given[2]
    return made


def _clip(node: onnx.NodeProto, given: Given) -> Tensor:
    low, high = (
        attribute(node, name, given[index] if index < len(given) else None)
        for index, name in ((1, "min"), (2, "max"))
    )
    return torch.clamp(given[0], low, high)


def _max_pool(node: onnx.NodeProto, given: Given) -> Tensor:
    if len(attribute(node, "kernel_shape", [])) != 2:
        raise refused(node, "is not of two axes, which is not trained through")
    return functional.max_pool2d(
        _padded(node, _tensor(given), float("-inf")),
        attribute(node, "kernel_shape", None),
        attribute(node, "strides", 1),
        0,
        attribute(node, "dilations", 1),
        bool(attribute(node, "ceil_mode", 0)),
    )


def _average_pool(node: onnx.NodeProto, given: Given) -> Tensor:
    size, strides = attribute(node, "kernel_shape", []), attribute(node, "strides", 1)
    pads = list(attribute(node, "pads", [0] * 4))
    if len(size) != 2 or attribute(node, "ceil_mode", 0):
        raise refused(node, "is not of two axes or rounds up, which is not trained through")
    x = _tensor(given)
    made = functional.avg_pool2d(_padded(node, x, 0.0), size, strides)
    if any(pads) and not attribute(node, "count_include_pad", 0):
        inside = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
        made = made / functional.avg_pool2d(_padded(node, inside, 0.0), size, strides)
    return made


def _global(made: Callable[..., Tensor]) -> Operator:
    return lambda node, given: made(_tensor(given), tuple(range(2, _tensor(given).ndim)), True)


def _reduce(made: Callable[..., Tensor]) -> Operator:
    def apply_to(node: onnx.NodeProto, given: Given) -> Tensor:
        x = _tensor(given)
        axes = _numbers(node, given, 1, "axes") or []
        if not axes and attribute(node, "noop_with_empty_axes", 0):
            return x
        return made(x, axes or list(range(x.ndim)), bool(attribute(node, "keepdims", 1)))

    return apply_to


def _reshape(node: onnx.NodeProto, given: Given) -> Tensor:
    x, wanted = _tensor(given), _numbers(node, given, 1, "shape") or []
    keeps = not attribute(node, "allowzero", 0)
    return x.reshape([x.shape[k] if keeps and not n else n for k, n in enumerate(wanted)])


def _flatten(node: onnx.NodeProto, given: Given) -> Tensor:
    x, axis = _tensor(given), attribute(node, "axis", 1)
    rows = functools.reduce(operator.mul, x.shape[:axis], 1)
    return x.reshape(rows, -1)


def _squeeze(node: onnx.NodeProto, given: Given) -> Tensor:
    axes = _numbers(node, given, 1, "axes")
    return _tensor(given).squeeze() if axes is None else _tensor(given).squeeze(tuple(axes))


def _unsqueeze(node: onnx.NodeProto, given: Given) -> Tensor:
    x, axes = _tensor(given), _numbers(node, given, 1, "axes") or []
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _pad(node: onnx.NodeProto, given: Given) -> Tensor:
    x, pads = _tensor(given), _numbers(node, given, 1, "pads")
    mode = attribute(node, "mode", b"constant")
    if pads is None or len(pads) != 2 * x.ndim or len(given) > 3 or mode != b"constant":
        raise refused(node, "does not pad all axes with a number, which is not trained through")
    value = given[2] if len(given) > 2 and given[2] is not None else attribute(node, "value", 0.0)
    return _bordered(x, pads, float(value))


def _batch_norm(node: onnx.NodeProto, given: Given) -> Tensor:
    x, scale, bias, mean, variance = given
    epsilon = attribute(node, "epsilon", 1e-5)
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)


def _cast(node: onnx.NodeProto, given: Given) -> Tensor:
    wanted = DTYPES.get(attribute(node, "to", 0))
    if wanted is None:
        raise refused(node, "casts to a type that is not trained through")
    return _tensor(given).to(wanted)


def _tensor(given: Given, index: int = 0) -> Tensor:
    found = given[index]
    assert found is not None, "this input is never left out"
    return found


OPERATORS: Mapping[str, Operator] = {
    "Abs": _of(torch.abs),
    "Add": _of(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda node, given: torch.cat(list(given), attribute(node, "axis", 1)),
    "Conv": _conv,
    "Div": _of(torch.div),
    "Erf": _of(torch.erf),
    "Exp": _of(torch.exp),
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
    "HardSigmoid": lambda node, given: torch.clamp(
        attribute(node, "alpha", 0.2) * _tensor(given) + attribute(node, "beta", 0.5), 0, 1
    ),
    "HardSwish": _of(functional.hardswish),
    "Identity": _of(lambda x: x),
    "LeakyRelu": lambda node, given: functional.leaky_relu(
        given[0], attribute(node, "alpha", 0.01)
    ),
    "MatMul": _of(torch.matmul),
    "Max": _folded(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _folded(torch.minimum),
    "Mul": _of(torch.mul),
    "Neg": _of(torch.neg),
    "Pad": _pad,
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _of(torch.relu),
    "Reshape": _reshape,
    "Sigmoid": _of(torch.sigmoid),
    "Softmax": lambda node, given: torch.softmax(given[0], attribute(node, "axis", -1)),
    "Sqrt": _of(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _of(torch.sub),
    "Sum": _folded(torch.add),
    "Tanh": _of(torch.tanh),
    "Transpose": lambda node, given: _tensor(given).permute(
        attribute(node, "perm", list(reversed(range(_tensor(given).ndim))))
    ),
    "Unsqueeze": _unsqueeze,
}
