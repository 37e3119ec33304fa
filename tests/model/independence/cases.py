"""Nodes, where images lie in what they read, and where they lie in what they make.

A shape is written as ``"n 3 4"`` (images along the first axis), ``"3 2n4"`` (along the second, on
two outer rows and four inner ones), ``"3 4"`` (the same for all images) or ``"count 3 4"`` (the
same for all, another for another number of them), with the type behind a colon where it is not
float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from tests.model.nets import node, random

from shoal.model.independence import Along, Common, Layout

MIXED = "mixed"
OPSET = 22


@dataclass(frozen=True)
class Case:
    """``node`` with inputs of these shapes makes ``expected`` (one for each output)."""

    node: onnx.NodeProto
    inputs: dict[str, str]
    expected: tuple[str, ...]
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    opset: int = OPSET
    high: int = 2

    @property
    def id(self) -> str:
        given = ",".join(self.inputs.values())
        return f"{self.node.op_type} {given} -> {','.join(self.expected)} ({self.opset})"


def parsed(shape: str) -> tuple[tuple[int, ...], Layout, str]:
    """The shape for one image, the layout and the type of a written one."""
    text, _, dtype = shape.partition(":")
    dims: list[int] = []
    layout: Layout = Common(counted="count" in text)
    for axis, token in enumerate(text.replace("count", "").split()):
        if "n" in token:
            outer, inner = (int(part or 1) for part in token.split("n"))
            layout = Along(axis, outer, inner)
            dims.append(outer * inner)
        else:
            dims.append(int(token))
    return tuple(dims), layout, dtype or "float32"


def case(
    op: str,
    inputs: dict[str, str],
    expected: str,
    weights: dict[str, Any] | None = None,
    *,
    reads: str = "",
    opset: int = OPSET,
    domain: str = "",
    high: int = 2,
    attributes: Mapping[str, Any] | None = None,
    **more: Any,
) -> Case:
    """Of an operator that reads its ``inputs`` and then its ``weights``, or ``reads``."""
    held = {name: np.asarray(value) for name, value in (weights or {}).items()}
    outputs = expected.split(", ")
    made = node(
        op,
        reads or " ".join([*inputs, *held]),
        " ".join(f"y{index}" for index in range(len(outputs))),
        domain=domain,
        **more,
        **(attributes or {}),
    )
    return Case(made, inputs, tuple(outputs), held, opset, high)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*shape: int) -> np.ndarray:
    return random(*shape, seed=7)


def u8(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, shape).astype(np.uint8)


SCALE, ZERO = np.float32(0.1), np.uint8(128)
TINY = {"s": SCALE, "z": ZERO}
ML = "ai.onnx.ml"

X4 = {"x": "n 3 6 6"}
X3 = {"x": "n 5 4"}
X2 = {"x": "n 4"}

UNARY = """
    Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid
    HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Reciprocal Relu Round Selu Shrink
    Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh ThresholdedRelu
""".split()  # noqa: SIM905
COMPARE = "Equal Greater GreaterOrEqual Less LessOrEqual".split()  # noqa: SIM905
ARITHMETIC = "Add Div Max Mean Min Mul Pow Sub Sum".split()  # noqa: SIM905

ELEMENTWISE = [
    *(case(op, {"x": "3 n2 4"}, "3 n2 4") for op in UNARY),
    *(case(op, {"a": "n 4", "b": "n 4"}, "n 4") for op in ARITHMETIC),
    *(case(op, {"a": "n 4", "b": "n 4"}, "n 4") for op in COMPARE),
    *(case(op, {"a": "n 4:bool", "b": "n 4:bool"}, "n 4") for op in ("And", "Or", "Xor")),
    *(
        case(op, {"a": "n 4:int32", "b": "n 4:int32"}, "n 4")
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
    ),
    case("BitShift", {"a": "n 4:uint8", "b": "n 4:uint8"}, "n 4", direction="LEFT"),
    case("BitwiseNot", {"a": "n 4:int32"}, "n 4"),
    case("BitCast", X2, "n 4", opset=26, to=6),
    case("Not", {"a": "n 4:bool"}, "n 4"),
    case("Mod", {"a": "n 4:int64"}, "n 4", {"b": np.int64(3)}, high=9),
    case("Swish", X2, "n 4", opset=24),
    case("PRelu", X3, "n 5 4", {"slope": floats(4)}),
    case("Clip", X2, "n 4", {"low": np.float32(-0.1), "high": np.float32(0.1)}),
    case("Cast", X2, "n 4", to=6),
    case("CastLike", X2, "n 4", {"like": ints(1)}),
    case("Dropout", X2, "n 4"),
    case("Dropout", X2, "n 4", {"ratio": np.float32(0.5), "mode": np.array(False)}),
    case("Dropout", X2, MIXED, {"ratio": np.float32(0.5), "mode": np.array(True)}),
    case("Where", {"c": "n 4:bool", "a": "n 4"}, "n 4", {"b": np.float32(7)}),
    # Broadcasting
    case("Add", {"a": "n 5 4", "b": "5 4"}, "n 5 4"),
    case("Add", {"a": "n 5 4", "b": "1 1 4"}, "n 5 4"),
    case("Add", {"a": "n 4", "b": "3 1 1"}, "3 n 4"),
    case("Add", {"a": "5 n", "b": "n"}, "5 n"),
    case("Add", {"a": "2n3 4", "b": "2n3 1"}, "2n3 4"),
    case("Add", {"a": "n 4", "b": "7 4"}, MIXED),
    case("Add", {"a": "n 5", "b": "n"}, MIXED),
    case("Mul", {"a": "n 1", "b": "n"}, MIXED),
    case("Add", {"a": "2n3 4", "b": "n6 4"}, MIXED),
    case("Add", {"a": "n 1 4", "b": "1 n 4"}, MIXED),
    case("Dropout", {"x": "n 4", "r": "n"}, MIXED),
    case("Clip", {"x": "n 4", "low": "n"}, MIXED),
    case("Add", {"x": "n 4", "c": "count 4"}, MIXED),
]

ROWS = [
    case("Reshape", {"x": "n 6 4"}, "n6 4", {"to": ints(-1, 4)}),
    case("Reshape", {"x": "n6 4"}, "n 6 4", {"to": ints(-1, 6, 4)}),
    case("Reshape", {"x": "n 6 4"}, "n 24", {"to": ints(0, -1)}),
    case("Reshape", {"x": "n 6 4"}, "n 2 12", {"to": ints(0, 2, 12)}),
    case("Reshape", {"x": "5 n 4"}, "5n 4", {"to": ints(-1, 4)}),
    case("Reshape", {"x": "5n 4"}, "5 n 4", {"to": ints(5, -1, 4)}),
    case("Reshape", {"x": "n 4"}, "1 n 4", {"to": ints(1, -1, 4)}),
    case("Reshape", {"x": "n 6"}, "1 n6", {"to": ints(1, -1)}),
    case("Reshape", {"x": "n 6"}, "n2 3", {"to": ints(-1, 3)}),
    case("Reshape", {"x": "5 n 4"}, MIXED, {"to": ints(-1, 5, 4)}),
    case("Reshape", {"x": "n 6"}, MIXED, {"to": ints(3, -1)}),
    case("Reshape", {"x": "n2 3"}, MIXED, {"to": ints(-1, 4)}),
    case("Reshape", {"x": "n 3"}, MIXED, {"to": ints(1, 3)}),
    case("Flatten", {"x": "n 3 4"}, "n 12"),
    case("Flatten", {"x": "n 3 4"}, "n3 4", axis=-1),
    case("Flatten", {"x": "3 n 4"}, "3n 4", axis=2),
    case("Flatten", {"x": "3 n 4"}, "3 n4"),
    case("Transpose", {"x": "n 3 4"}, "3 4 n", perm=[1, 2, 0]),
    case("Transpose", {"x": "n 3 4"}, "4 3 n"),
    case("Squeeze", {"x": "1 n 1 4"}, "n 4", {"axes": ints(0, -2)}),
    case("Squeeze", {"x": "n 1 4"}, "n 4", opset=12, axes=[1]),
    case("Squeeze", {"x": "n 1 4"}, MIXED),
    case("Squeeze", {"x": "n 1 4"}, MIXED, {"axes": ints(0)}),
    case("Unsqueeze", {"x": "n 4"}, "1 n 4 1", {"axes": ints(-1, 0)}),
    case("Unsqueeze", {"x": "n 4"}, "n 1 4", opset=12, axes=[1]),
    case("Expand", {"x": "n 1 4"}, "n 5 4", {"to": ints(1, 5, 4)}),
    case("Expand", {"x": "n 4"}, "3 n 4", {"to": ints(3, 1, 1)}),
    case("Expand", {"x": "n 1"}, MIXED, {"to": ints(3, 4)}),
    case("Tile", {"x": "n 4"}, "n 8", {"times": ints(1, 2)}),
    case("Tile", {"x": "n2 4"}, "3n2 4", {"times": ints(3, 1)}),
    case("Concat", {"a": "n 3", "b": "n 2"}, "n 5", axis=-1),
    case("Concat", {"a": "n 3", "b": "n 3"}, "2n 3", axis=0),
    case("Concat", {"a": "2n3 4", "b": "n3 4"}, "3n3 4", axis=0),
    case("Concat", {"a": "n3 4", "b": "n2 4"}, MIXED, axis=0),
    case("Concat", {"a": "n 3", "b": "1 3"}, MIXED, axis=0),
    case("Concat", {"a": "n 1", "b": "1 n"}, MIXED, axis=0),
    case("Concat", {"a": "n 1 3", "b": "1 n 3"}, MIXED, axis=2),
    case("Split", {"x": "n 6"}, "n 3, n 3", axis=1, num_outputs=2),
    case("Split", {"x": "n 6"}, "n 2, n 4", {"sizes": ints(2, 4)}, axis=-1),
    case("Split", {"x": "n 6"}, "n 2, n 4", opset=11, axis=-1, split=[2, 4]),
    case("Split", {"x": "2n3 4"}, "n3 4, n3 4", axis=0, num_outputs=2),
    case("Split", {"x": "3n 4"}, "mixed, mixed", axis=0, num_outputs=2),
    case("Split", {"x": "n2 4"}, "mixed, mixed", axis=0, num_outputs=2),
    case("Slice", {"x": "n 6"}, "n 2", {"a": ints(1), "b": ints(3), "axes": ints(1)}),
    case("Slice", {"x": "n 6"}, "n 3", {"a": ints(-1), "b": ints(-9), "c": ints(1), "d": ints(-2)}),
    case("Slice", {"x": "n 6"}, "n 2", opset=9, starts=[1], ends=[3], axes=[1]),
    case("Slice", {"x": "n 6"}, "n 2", {"a": ints(0, 1), "b": ints(2**63 - 1, 3)}),
    case("Slice", {"x": "n 6"}, MIXED, {"a": ints(0), "b": ints(1), "axes": ints(0)}),
    case("Slice", {"x": "n 6"}, MIXED, {"a": ints(1), "b": ints(2**31), "axes": ints(0)}),
    case("Slice", {"x": "n 6"}, MIXED, {"a": ints(0), "b": ints(2)}),
    case(
        "Slice",
        {"x": "n 6"},
        MIXED,
        {"a": ints(-1), "b": ints(-(2**62)), "axes": ints(0), "steps": ints(-1)},
    ),
    case("Pad", {"x": "n 3 4"}, "n 3 6", {"pads": ints(0, 0, 1, 0, 0, 1)}),
    case("Pad", {"x": "n 3 4"}, "n 3 6", opset=10, pads=[0, 0, 1, 0, 0, 1]),
    case(
        "Pad",
        {"x": "n 3 4"},
        "n 3 6",
        {"pads": ints(1, 1), "v": np.float32(2), "axes": ints(-1)},
    ),
    case("Pad", {"x": "n 3"}, MIXED, {"pads": ints(0, 1, 1, 0)}),
    case("Pad", {"x": "n 3"}, MIXED, {"pads": ints(1, 0, 0, 0)}, mode="edge"),
    case("CenterCropPad", {"x": "n 3 6"}, "n 3 4", {"to": ints(4)}, axes=[2]),
    case("CenterCropPad", {"x": "n 3"}, MIXED, {"to": ints(2, 3)}),
    case(
        "Resize",
        X4,
        "n 3 12 12",
        {"s": np.array([1, 1, 2, 2], np.float32)},
        reads="x _ s",
        mode="linear",
    ),
    case("Resize", X4, "n 3 9 9", {"s": ints(9, 9)}, reads="x _ _ s", axes=[2, 3]),
    case(
        "Resize",
        X4,
        "n 3 12 12",
        {"s": np.array([1, 1, 2, 2], np.float32)},
        opset=10,
    ),
    case(
        "Resize",
        {"x": "n 3"},
        MIXED,
        {"s": np.array([2, 1], np.float32)},
        reads="x _ s",
    ),
    case("Resize", {"x": "n 3"}, MIXED, {"s": ints(1, 6)}, reads="x _ _ s"),
    case(
        "Resize",
        {"x": "n 3"},
        MIXED,
        {"s": np.array([1, 1], np.float32)},
        reads="x _ s",
        coordinate_transformation_mode="tf_half_pixel_for_nn",
        nearest_mode="ceil",
    ),
    case("Upsample", X4, "n 3 12 12", {"s": np.array([1, 1, 2, 2], np.float32)}, opset=9),
    case("Upsample", X4, "n 3 12 12", opset=7, scales=[1.0, 1.0, 2.0, 2.0]),
    case("Upsample", {"x": "n 3 4 4"}, MIXED, opset=7, scales=[2.0, 1.0, 1.0, 1.0]),
    case("DepthToSpace", {"x": "n2 4 3 3"}, "n2 1 6 6", blocksize=2),
    case("SpaceToDepth", X4, "n 12 3 3", blocksize=2),
    case("SpaceToDepth", {"x": "2 2n 6 6"}, MIXED, blocksize=2),
    case("Trilu", {"x": "n 3 3"}, "n 3 3"),
    case("Trilu", {"x": "n 3"}, MIXED),
    case(
        "ReverseSequence",
        {"x": "5 n 2", "l": "n:int64"},
        "5 n 2",
        high=5,
    ),
    case("ReverseSequence", {"x": "n 5 2", "l": "n:int64"}, MIXED, high=1),
    case(
        "ReverseSequence",
        {"x": "n 5 2", "l": "n:int64"},
        "n 5 2",
        batch_axis=0,
        time_axis=1,
        high=5,
    ),
    case("Flatten", {"x": "n 3 4"}, "1 n12", axis=0),
    case("Unsqueeze", {"x": "n 4"}, MIXED),
    case("Split", {"x": "n 6", "s": "count 2:int64"}, "mixed, mixed", axis=1),
    case("Split", {"x": "2n 4"}, "mixed, mixed", {"s": ints(1, 1)}, axis=0),
    case("Pad", {"x": "n 3", "v": "n"}, MIXED, {"p": ints(0, 0, 0, 1)}, reads="x p v"),
    case("Pad", {"x": "n 3"}, MIXED, {"p": ints(0, 0)}),
    case("CenterCropPad", {"x": "n 3 6", "to": "count 1:int64"}, MIXED, axes=[2]),
    case(
        "Resize",
        X4,
        "n 3 12 12",
        {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 2], np.float32)},
        opset=11,
    ),
    case(
        "Resize",
        X4 | {"r": "n"},
        MIXED,
        {"s": np.array([1, 1, 2, 2], np.float32)},
    ),
    case("Resize", X4 | {"s": "count 4"}, MIXED, reads="x _ s"),
    case("Trilu", {"x": "n 3 3", "k": "count :int64"}, MIXED),
    case("ReverseSequence", {"x": "5 n 2", "l": "n2:int64"}, MIXED),
]

PICKING = [
    case("Gather", {"i": "n 3:int64"}, "n 3 4", {"t": floats(5, 4)}, reads="t i", high=5),
    case("Gather", {"i": "n 3:int64"}, "4 n 3", {"t": floats(4, 5)}, reads="t i", axis=1, high=5),
    case("Gather", {"x": "n 5 4"}, "n 3 4", {"i": ints(0, 2, -1)}, axis=1),
    case("Gather", {"x": "5 n 4"}, "n 4", {"i": np.int64(2)}),
    case("Gather", {"x": "5 n 4"}, "1 2 n 4", {"i": ints(2, 3)[None]}),
    case("Gather", {"x": "n 4"}, MIXED, {"i": ints(0)}),
    case("Gather", {"x": "n 4", "i": "n:int64"}, MIXED, axis=1),
    case("GatherElements", {"x": "n 4", "i": "n 4:int64"}, "n 4", axis=1),
    case("GatherElements", {"x": "n 4", "i": "n 4:int64"}, MIXED, axis=0, high=1),
    case("GatherElements", {"x": "n 4"}, MIXED, {"i": np.zeros((1, 4), np.int64)}, axis=1),
    case("GatherND", {"x": "n 4", "i": "n 1:int64"}, "n", batch_dims=1),
    case("GatherND", {"i": "n 3 1:int64"}, "n 3 4", {"t": floats(5, 4)}, reads="t i"),
    case("GatherND", {"x": "n 4", "i": "n 1:int64"}, MIXED, high=1),
    case("GatherND", {"i": "3 n:int64"}, MIXED, {"t": floats(5, 4)}, reads="t i"),
    case(
        "ScatterElements",
        {"x": "n 4", "i": "n 1:int64", "u": "n 1"},
        "n 4",
        axis=1,
    ),
    case("ScatterElements", {"x": "n 4", "i": "n 4:int64", "u": "n 4"}, MIXED, axis=0, high=1),
    case("Scatter", {"x": "n 4", "i": "n 1:int64", "u": "n 1"}, "n 4", opset=9, axis=1),
    case(
        "ScatterND",
        {"x": "5 n 4", "u": "2 n 4"},
        "5 n 4",
        {"i": ints(0, 3)[:, None]},
        reads="x i u",
    ),
    case("ScatterND", {"x": "n 4"}, MIXED, {"i": ints(0)[:, None], "u": floats(1, 4)}),
    case("OneHot", {"i": "n 3:int64"}, "n 3 5", {"d": ints(5), "v": floats(2)}, high=5),
    case("OneHot", {"i": "n 3:int64"}, "5 n 3", {"d": ints(5), "v": floats(2)}, axis=0, high=5),
    case("Gather", {"t": "count 5 4", "i": "n 3:int64"}, MIXED),
    case("GatherElements", {"x": "n 4", "i": "4 n:int64"}, MIXED, axis=1),
    case("GatherND", {"t": "count 5 4", "i": "n 3 1:int64"}, MIXED),
    case("GatherND", {"i": "n 1:int64"}, MIXED, {"t": floats(7, 4)}, reads="t i", batch_dims=1),
    case("ScatterElements", {"x": "n 4", "i": "n 4:int64", "u": "4 n"}, MIXED, axis=1),
    case("ScatterElements", {"x": "n 4", "i": "4 n:int64", "u": "n 4"}, MIXED, axis=1),
    case("ScatterND", {"x": "5 n 4", "i": "n 1:int64", "u": "2 n 4"}, MIXED),
    case("ScatterND", {"x": "n 4", "u": "n 4"}, MIXED, {"i": ints(0)[:, None]}, reads="x i u"),
    case("ScatterND", {"x": "5 n 4", "u": "n 2 4"}, MIXED, {"i": ints(0)[:, None]}, reads="x i u"),
    case("OneHot", {"i": "n 3:int64", "d": "count 1:int64"}, MIXED, {"v": floats(2)}),
]

REDUCES = [
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
]
REDUCING = [
    *(case(op, {"x": "5 n 4"}, "n 4", {"a": ints(0)}, keepdims=0) for op in REDUCES),
    *(case(op, {"x": "n 5 4"}, "n 1 1", {"a": ints(-1, 1)}) for op in REDUCES),
    *(case(op, {"x": "n 5"}, MIXED) for op in REDUCES),
    *(case(op, {"x": "n 5"}, MIXED, {"a": ints(-2)}) for op in REDUCES),
    case("ReduceMax", X3, "n 4", opset=11, axes=[1], keepdims=0),
    case("ReduceMax", X3, "n 5 4", {"a": ints()}, noop_with_empty_axes=1),
    case("ArgMax", X3, "n 4", axis=1, keepdims=0),
    case("ArgMin", {"x": "5 n 4"}, "1 n 4"),
    case("ArgMax", X2, MIXED),
    case("TopK", X2, "n 2, n 2", {"k": ints(2)}),
    case("TopK", X2, "mixed, mixed", {"k": ints(1)}, axis=0),
    case("Softmax", X3, "n 5 4", axis=1),
    case("Softmax", {"x": "5 n 4"}, MIXED, axis=1),
    case("Softmax", X3, "n 5 4", opset=11),
    case("Softmax", {"x": "5 n 4"}, MIXED, opset=11, axis=0),
    case("LogSoftmax", X3, "n 5 4"),
    case("LogSoftmax", X2, MIXED, axis=-2),
    case("Hardmax", X3, "n 5 4"),
    case("Hardmax", X2, MIXED, axis=0),
    case("LpNormalization", X3, "n 5 4"),
    case("LpNormalization", X2, MIXED, axis=0),
    case("CumSum", X3, "n 5 4", {"a": np.int64(1)}),
    case("CumSum", X2, MIXED, {"a": np.int64(-2)}),
    case("CumProd", X3, "n 5 4", {"a": np.int64(1)}, opset=26),
    case("LRN", X4, "n 3 6 6", size=3),
    case("LRN", {"x": "2 n 4 4"}, MIXED, size=3),
    case("MeanVarianceNormalization", X4, MIXED),
    case("MeanVarianceNormalization", X4, "n 3 6 6", axes=[1, 2, 3]),
    case("LayerNormalization", X3, "n 5 4, n 5 1", {"s": floats(4), "b": floats(4)}),
    case("LayerNormalization", X3, "n 5 4", {"s": floats(5, 4)}, axis=1),
    case("LayerNormalization", X3, "n 5 4", {"s": floats(1, 5, 1)}),
    case("LayerNormalization", {"x": "5 n"}, MIXED, {"s": floats(1)}),
    case("RMSNormalization", X3, "n 5 4", {"s": floats(4)}, opset=23),
    case("SimplifiedLayerNormalization", X3, "n 5 4", {"s": floats(4)}),
    case(
        "BatchNormalization",
        X4,
        "n 3 6 6",
        {"s": floats(3), "b": floats(3), "m": floats(3), "v": np.abs(floats(3))},
    ),
    case(
        "BatchNormalization",
        X4,
        "mixed, mixed, mixed",
        {"s": floats(3), "b": floats(3), "m": floats(3), "v": np.abs(floats(3))},
        training_mode=1,
    ),
    case("InstanceNormalization", X4, "n 3 6 6", {"s": floats(3), "b": floats(3)}),
    case(
        "GroupNormalization",
        {"x": "n 4 6 6"},
        "n 4 6 6",
        {"s": floats(4), "b": floats(4)},
        num_groups=2,
    ),
    case("DFT", {"x": "n 8 1"}, "n 8 2", {"l": np.int64(8), "a": np.int64(1)}),
    case("DFT", {"x": "n 8 1"}, "n 8 2", opset=17, axis=1),
    case("DFT", {"x": "n 8 1"}, MIXED, {"a": np.int64(0)}, reads="x _ a"),
    case("STFT", {"x": "n 16 1"}, "n 3 5 2", {"s": np.int64(4), "w": floats(8)}),
    case("Det", {"x": "n 3 3"}, "n"),
    case("TopK", {"x": "n 4", "k": "count 1:int64"}, "mixed, mixed"),
    case("Softmax", {"x": "3 n"}, "3 n", opset=13, axis=0),
    case("Softmax", {"x": "3 n"}, MIXED, opset=12, axis=0),
    case("LayerNormalization", X3 | {"s": "n 1 1"}, MIXED),
    case(
        "BatchNormalization",
        X4 | {"s": "n"},
        MIXED,
        {"b": floats(3), "m": floats(3), "v": np.abs(floats(3))},
    ),
    case(
        "BatchNormalization",
        {"x": "2 n 4"},
        MIXED,
        {"s": floats(1), "b": floats(1), "m": floats(1), "v": np.abs(floats(1))},
    ),
    case("InstanceNormalization", X4 | {"s": "n"}, MIXED, {"b": floats(3)}),
    case("DFT", {"x": "8 n"}, MIXED, opset=17, axis=0),
    case("DFT", {"x": "8 n 1"}, MIXED, opset=17, axis=1),
    case("DFT", {"x": "n 8 1", "l": "count :int64"}, MIXED, {"a": np.int64(1)}),
    case("DFT", {"x": "8 n 1"}, "8 n 2", {"l": np.int64(8), "a": np.int64(0)}, opset=20),
]

PRODUCTS = [
    case("MatMul", {"a": "n 4"}, "n 5", {"b": floats(4, 5)}),
    case("MatMul", {"a": "n 3 4"}, "n 3 5", {"b": floats(4, 5)}),
    case("MatMul", {"a": "7 n 3 4"}, "7 n 3 5", {"b": floats(1, 4, 5)}),
    case("MatMul", {"a": "n 3 4", "b": "n 4 5"}, "n 3 5"),
    case("MatMul", {"a": "2n3 3 4", "b": "2n3 4 5"}, "2n3 3 5"),
    case("MatMul", {"a": "n 4"}, "7 n 5", {"b": floats(7, 4, 5)}),
    case("MatMul", {"b": "4 n"}, "5 n", {"a": floats(5, 4)}, reads="a b"),
    case("MatMul", {"b": "n 4 5"}, "n 3 5", {"a": floats(3, 4)}, reads="a b"),
    case("MatMul", {"b": "n 4 5"}, "n 5", {"a": floats(4)}, reads="a b"),
    case("MatMul", {"b": "3 4 n"}, "3 n", {"a": floats(4)}, reads="a b"),
    case("MatMul", {"a": "n 3 4"}, "n 3", {"b": floats(4)}),
    case("MatMul", {"a": "n 3 4"}, MIXED, {"b": floats(7, 4, 5)}),
    case("MatMul", {"a": "4 n", "b": "n 5"}, MIXED),
    case("MatMul", {"a": "n 4", "b": "4 n"}, MIXED),
    case("MatMul", {"a": "4 n"}, MIXED, {"b": floats(1, 5)}),
    case("MatMul", {"b": "n 4"}, MIXED, {"a": floats(5, 1)}, reads="a b"),
    case("MatMul", {"a": "n"}, MIXED, {"b": floats(1, 5)}),
    case("Gemm", {"a": "n 4"}, "n 5", {"b": floats(4, 5), "c": floats(5)}),
    case("Gemm", {"a": "4 n"}, "n 5", {"b": floats(5, 4)}, transA=1, transB=1),
    case("Gemm", {"a": "n 4", "c": "n 1"}, "n 5", {"b": floats(4, 5)}, reads="a b c"),
    case("Gemm", {"a": "n 4"}, MIXED, {"b": floats(4, 5), "c": floats(7, 5)}),
    case("Gemm", {"a": "n 4", "c": "n"}, MIXED, {"b": floats(4, 1)}, reads="a b c"),
    case("Gemm", {"a": "n 4", "b": "4 n"}, MIXED),
    case("Gemm", {"a": "4 n"}, MIXED, {"b": floats(1, 5)}),
    case("MatMulInteger", {"a": "n 4:uint8"}, "n 5", {"b": u8(4, 5), "za": ZERO, "zb": u8(5)}),
    case("MatMulInteger", {"a": "n 4:uint8"}, MIXED, {"b": u8(4, 5), "za": u8(7)}),
    case(
        "QLinearMatMul",
        {"a": "n 4:uint8"},
        "n 5",
        {
            "sa": SCALE,
            "za": ZERO,
            "b": u8(4, 5),
            "sb": np.abs(floats(5)),
            "zb": u8(5),
            "sy": np.float32(9),
            "zy": ZERO,
        },
    ),
    case("Einsum", {"a": "n 3 4", "b": "n 4 5"}, "n 3 5", equation="bij,bjk->bik"),
    case("Einsum", {"a": "n 3 4"}, "3 n 5", {"b": floats(4, 5)}, equation="bij,jk->ibk"),
    case("Einsum", {"a": "n 3 4"}, "n 3 5", {"b": floats(4, 5)}, equation="...j,jk->...k"),
    case("Einsum", {"a": "n 3 4", "b": "n 4"}, "n 3", equation="...ij,...j->...i"),
    case("Einsum", {"a": "n 3 4", "b": "n 4"}, MIXED, equation="bij,cj->bci"),
    case("Einsum", {"a": "n 3", "b": "n 3"}, MIXED, equation="bi,bj->ij"),
    case("Einsum", {"a": "n 3"}, MIXED, equation="bi->i"),
    case("Einsum", {"a": "n 3"}, "n 3 3", {"b": floats(1, 3)}, equation="bi,bj->bij"),
    case("Einsum", {"a": "n 3"}, MIXED, {"b": floats(1, 1)}, equation="bi,bb->bi"),
    case("MatMul", {"a": "n 1 3 4", "b": "1 n 4 5"}, MIXED),
    case("MatMul", {"a": "n 4", "b": "count 4 5"}, MIXED),
    case("MatMul", {"b": "n"}, MIXED, {"a": floats(5, 1)}, reads="a b"),
    case(
        "MatMulInteger",
        {"a": "n 4:uint8", "zb": "n:uint8"},
        MIXED,
        {"b": u8(4, 1)},
        reads="a b _ zb",
    ),
    *(
        case(
            "QLinearMatMul",
            {"a": "n 4:uint8", given: f"n:{dtype}"},
            MIXED,
            {
                name: value
                for name, value in {
                    "sa": SCALE,
                    "za": ZERO,
                    "b": u8(4, 1),
                    "sb": SCALE,
                    "zb": ZERO,
                    "sy": SCALE,
                    "zy": ZERO,
                }.items()
                if name != given
            },
            reads="a sa za b sb zb sy zy",
        )
        for given, dtype in (
            ("sa", "float32"),
            ("za", "uint8"),
            ("sb", "float32"),
            ("sy", "float32"),
        )
    ),
    case("Gemm", {"a": "n 4", "c": "count 5"}, MIXED, {"b": floats(4, 5)}, reads="a b c"),
    case("Einsum", {"a": "n 3 4", "b": "n 4 5"}, MIXED, equation="bij,bjk"),
    case("Einsum", {"a": "n 3 4"}, MIXED, {"b": floats(4)}, equation="bij->bi"),
    case("Einsum", {"a": "n 3", "b": "count 3"}, MIXED, equation="bi,i->bi"),
    case("Einsum", {"a": "2n 3", "b": "n2 3"}, MIXED, equation="bi,bi->bi"),
    case("Einsum", {"a": "n 3 4"}, MIXED, equation="bijk->bik"),
    case("Einsum", {"a": "n 3 4"}, MIXED, equation="bi->bi"),
    case("Einsum", {"a": "n 3", "b": "3 n"}, "n 3", equation="bi,ib->bi"),
]

W = {"w": floats(2, 3, 3, 3)}
ROUNDED = {"sx": SCALE, "zx": ZERO, "w": u8(2, 3, 3, 3), "sw": SCALE, "zw": ZERO}
CELL = {"w": floats(1, 8, 2), "r": floats(1, 8, 2)}
QKV = {"q": "n 3 8", "k": "n 3 8", "v": "n 3 8"}
HEADS = {"q_num_heads": 2, "kv_num_heads": 2}

LAYERS = [
    case("Conv", X4, "n 2 4 4", W),
    case("Conv", {"x": "2n3 3 6 6"}, "2n3 2 4 4", W | {"b": floats(2)}),
    case("Conv", {"x": "1 n3 6 6"}, MIXED, W),
    case("Conv", {"x": "1 3 6 6", "w": "n 3 3 3"}, MIXED),
    case("ConvTranspose", X4, "n 2 8 8", {"w": floats(3, 2, 3, 3)}),
    case("ConvInteger", {"x": "n 3 6 6:uint8"}, "n 2 4 4", {"w": u8(2, 3, 3, 3), "z": ZERO}),
    case(
        "QLinearConv",
        {"x": "n 3 6 6:uint8"},
        "n 2 4 4",
        ROUNDED | {"sy": np.float32(9), "zy": ZERO},
    ),
    case("DeformConv", X4 | {"o": "n 18 4 4"}, "n 2 4 4", W, reads="x w o"),
    *(case(op, X4, "n 3 4 4", kernel_shape=[3, 3]) for op in ("AveragePool", "MaxPool", "LpPool")),
    *(case(op, {"x": "2 n 4 4"}, "2 n 1 1") for op in ("GlobalAveragePool", "GlobalMaxPool")),
    case("GlobalLpPool", {"x": "2 n 4 4"}, "2 n 1 1", opset=21),
    case("MaxPool", X4, "mixed, mixed", kernel_shape=[3, 3]),
    case("MaxPool", {"x": "1 2 n 4"}, MIXED, kernel_shape=[1, 3]),
    case("LSTM", {"x": "5 n 2"}, "5 1 n 2, 1 n 2, 1 n 2", CELL, hidden_size=2),
    case(
        "LSTM",
        {"x": "5 n 2", "l": "n:int32", "h": "1 n 2", "c": "1 n 2"},
        "5 1 n 2",
        CELL | {"b": floats(1, 16)},
        reads="x w r b l h c",
        hidden_size=2,
        high=5,
    ),
    case("LSTM", {"x": "n 3 2"}, MIXED, CELL, hidden_size=2),
    case(
        "GRU",
        {"x": "5 n 2"},
        "5 1 n 2, 1 n 2",
        {"w": floats(1, 6, 2), "r": floats(1, 6, 2)},
        hidden_size=2,
    ),
    case(
        "RNN",
        {"x": "5 n 2"},
        "5 1 n 2, 1 n 2",
        {"w": floats(1, 2, 2), "r": floats(1, 2, 2)},
        hidden_size=2,
    ),
    case("Attention", QKV, "n 3 8", opset=23, **HEADS),
    case("Attention", QKV, "n 3 8", {"m": floats(3, 3)}, opset=23, **HEADS),
    case("Attention", QKV | {"m": "n 2 3 3"}, "n 3 8", opset=23, **HEADS),
    case("Attention", QKV, MIXED, {"m": floats(7, 2, 3, 3)}, opset=23, **HEADS),
    case(
        "RotaryEmbedding",
        {"x": "n 2 3 8", "p": "n 3:int64"},
        "n 2 3 8",
        {"c": floats(5, 4), "s": floats(5, 4)},
        reads="x c s p",
        opset=23,
        high=5,
    ),
    case("GridSample", X4 | {"g": "n 2 2 2"}, "n 3 2 2"),
    case("GridSample", X4, MIXED, {"g": floats(1, 2, 2, 2)}),
    case("AffineGrid", {"x": "n 2 3"}, MIXED, {"size": ints(1, 2, 4, 4)}),
    case("Col2Im", {"x": "n 12 4"}, "n 3 4 4", {"i": ints(4, 4), "b": ints(2, 2)}, strides=[2, 2]),
    case("QuantizeLinear", X4, "n 3 6 6", TINY),
    case("QuantizeLinear", X4, "n 3 6 6", {"s": np.abs(floats(3)), "z": u8(3)}),
    case("QuantizeLinear", {"x": "n 3"}, MIXED, {"s": np.abs(floats(7)), "z": u8(7)}, axis=0),
    case("DequantizeLinear", {"x": "n 3 6:uint8"}, "n 3 6", TINY),
    case("DynamicQuantizeLinear", X2, "mixed, mixed, mixed"),
    case("Conv", X4 | {"w": "n 3 3 3"}, MIXED),
    case("DeformConv", X4 | {"w": "n 3 3 3", "o": "n 18 4 4"}, MIXED),
    case("GridSample", X4 | {"g": "2 n 2 2"}, MIXED),
    case("LSTM", {"x": "5 n 2", "w": "n 8 2"}, MIXED, {"r": floats(1, 8, 2)}, hidden_size=2),
    case("LSTM", {"x": "5 n 2", "l": "n2:int32"}, MIXED, CELL, reads="x w r _ l", hidden_size=2),
    case("LSTM", {"x": "5 n 2", "h": "n 1 2"}, MIXED, CELL, reads="x w r _ _ h", hidden_size=2),
    case("LSTM", {"x": "5 n 2", "c": "n 1 2"}, MIXED, CELL, reads="x w r _ _ _ c", hidden_size=2),
    case("Attention", QKV | {"m": "count 3 3"}, MIXED, opset=23, **HEADS),
    case("Attention", QKV | {"m": "n 3"}, MIXED, opset=23, **HEADS),
    case("Attention", QKV | {"m": "1 n 3 3"}, MIXED, opset=23, **HEADS),
    case(
        "RotaryEmbedding",
        {"x": "n 2 3 8", "c": "n 4", "p": "n 3:int64"},
        MIXED,
        {"s": floats(5, 4)},
        reads="x c s p",
        opset=23,
    ),
    case(
        "RotaryEmbedding",
        {"x": "n 2 3 8", "c": "n 3 4", "s": "n 3 4"},
        "n 2 3 8",
        opset=23,
    ),
    case("Col2Im", {"x": "n 12 4", "i": "n:int64"}, MIXED, {"b": ints(2, 2)}),
    case("Col2Im", {"x": "n 12 4", "b": "n:int64"}, MIXED, {"i": ints(4, 4)}, reads="x i b"),
    case("QuantizeLinear", {"x": "n 4", "s": "n 1"}, MIXED),
    case("QuantizeLinear", {"x": "n 4"}, MIXED, {"s": np.abs(floats(7, 2))}, block_size=2),
]

CLASSIC = [
    case("Scaler", X2, "n 4", domain=ML, offset=[1.0] * 4, scale=[2.0] * 4),
    case("Normalizer", X2, "n 4", domain=ML, norm="MAX"),
    case("Normalizer", {"x": "n"}, MIXED, domain=ML, norm="MAX"),
    case("Binarizer", X2, "n 4", domain=ML, threshold=0.5),
    case("Imputer", X2, "n 4", domain=ML, imputed_value_floats=[1.0], replaced_value_float=0.0),
    case("OneHotEncoder", {"x": "n 2:int64"}, "n 2 3", domain=ML, cats_int64s=[0, 1, 2]),
    case(
        "LabelEncoder",
        {"x": "n 2:int64"},
        "n 2",
        domain=ML,
        keys_int64s=[0, 1],
        values_int64s=[5, 6],
    ),
    case("ArrayFeatureExtractor", X2, "n 2", {"i": ints(0, 3)}, domain=ML),
    case(
        "LinearRegressor",
        X2,
        "n 2",
        domain=ML,
        coefficients=[0.5] * 8,
        intercepts=[1.0, 2.0],
        targets=2,
    ),
    case(
        "LinearClassifier",
        X2,
        "n, n 2",
        domain=ML,
        coefficients=[0.5] * 4 + [-0.5] * 4,
        intercepts=[1.0, 2.0],
        classlabels_ints=[0, 1],
        multi_class=0,
        post_transform="SOFTMAX",
    ),
    case(
        "SVMRegressor",
        X2,
        "n 1",
        domain=ML,
        coefficients=[0.5, -0.5],
        kernel_params=[0.1, 0.0, 3.0],
        kernel_type="RBF",
        n_supports=2,
        rho=[0.3],
        support_vectors=[0.1, 0.2, 0.3, 0.4, -0.1, -0.2, -0.3, -0.4],
    ),
    case(
        "TreeEnsembleRegressor",
        X2,
        "n 1",
        domain=ML,
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[1, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.1, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_ids=[0, 0],
        target_nodeids=[1, 2],
        target_treeids=[0, 0],
        target_weights=[1.0, 2.0],
    ),
    case(
        "TreeEnsembleClassifier",
        X2,
        "n, n 2",
        domain=ML,
        classlabels_int64s=[0, 1],
        class_ids=[0, 1],
        class_nodeids=[1, 2],
        class_treeids=[0, 0],
        class_weights=[1.0, 2.0],
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[1, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.1, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
    ),
    case("ArrayFeatureExtractor", X2 | {"i": "n:int64"}, MIXED, domain=ML),
]

CASES = [*ELEMENTWISE, *ROWS, *PICKING, *REDUCING, *PRODUCTS, *LAYERS, *CLASSIC]
