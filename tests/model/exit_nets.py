"""Small networks with exits for tests."""

import numpy as np
import onnx
from tests.model import nets

from shoal.model.exits import ExitHead, Exits, tell

CLASSES = 5
HEADS = (ExitHead("b", "early", "y", "margin", 2.0), ExitHead("e", "late", "y"))
TABLE = ((900, -300, 400), (950, 200, -500), (990, 700, -600))

TRUNK = (
    nets.node("Conv", "x w1", "a0", pads=[1, 1, 1, 1]),
    nets.node("BatchNormalization", "a0 s t m v", "a"),
    nets.node("Relu", "a", "b"),
    nets.node("Conv", "b w2", "c0", pads=[1, 1, 1, 1]),
    nets.node("Add", "b c0", "d"),
    nets.node("Identity", "d", "e"),
    nets.node("Relu", "e", "f0"),
    nets.node("Conv", "f0 w3", "f"),
    nets.node("GlobalAveragePool", "f", "g"),
    nets.node("Flatten", "g", "h"),
    nets.node("Gemm", "h w4 b4", "y"),
)
"""An exit stands after ``e``, whose name the normal form would drop; one reads ``b``."""


def _head(source: str, name: str) -> tuple[onnx.NodeProto, ...]:
    return (
        nets.node("GlobalAveragePool", source, f"{name}_g"),
        nets.node("Flatten", f"{name}_g", f"{name}_h"),
        nets.node("Gemm", f"{name}_h {name}_w", name),
    )


WEIGHTS = {
    "w1": nets.random(8, 3, 3, 3),
    "s": np.abs(nets.random(8, seed=1)),
    "t": nets.random(8, seed=2),
    "m": nets.random(8, seed=3) / 9,
    "v": np.abs(nets.random(8, seed=4)) + np.float32(0.1),
    "w2": nets.random(8, 8, 3, 3, seed=5) / 9,
    "w3": nets.random(12, 8, 1, 1, seed=6),
    "w4": nets.random(12, CLASSES, seed=7),
    "b4": nets.random(CLASSES, seed=8),
    "early_w": nets.random(8, CLASSES, seed=9),
    "late_w": nets.random(8, CLASSES, seed=10),
}


def plain() -> bytes:
    """The network without exits."""
    return nets.model(TRUNK, [nets.tensor("x", ["n", 3, 8, 8])], ["y"], WEIGHTS)


def bare(late: str = "f0") -> onnx.ModelProto:
    """The network with two exits that nothing is told of. The later one shares a node with it."""
    nodes = (*TRUNK[:3], *_head("b", "early"), *TRUNK[3:], *_head(late, "late"))
    inputs = [nets.tensor("x", ["n", 3, 8, 8])]
    return onnx.ModelProto.FromString(nets.model(nodes, inputs, ["early", "y", "late"], WEIGHTS))


def exits() -> Exits:
    return Exits(HEADS, TABLE)


def with_exits() -> bytes:
    made = bare()
    tell(made, exits())
    return made.SerializeToString()


AGREEING = (
    ExitHead("b", "first", "y", "agreement"),
    ExitHead("e", "second", "y", "agreement"),
)


def agreeing() -> bytes:
    """The network with two exits that say themselves how sure they are. What the later one says
    takes the logits of the earlier."""
    made = bare()
    made.graph.node.extend(
        [
            nets.node("Softmax", "early", "early_s", axis=1),
            *_shifted("early", "early_s", "first"),
            nets.node("Softmax", "first", "first_s", axis=1),
            nets.node("Softmax", "late", "late_s", axis=1),
            nets.node("Min", "first_s late_s", "both"),
            *_shifted("late", "both", "second"),
        ]
    )
    outputs = [onnx.ValueInfoProto(name=name) for name in ("first", "y", "second")]
    del made.graph.output[:]
    made.graph.output.extend(outputs)
    tell(made, Exits(AGREEING, TABLE))
    return made.SerializeToString()


def _shifted(logits: str, shares: str, name: str) -> tuple[onnx.NodeProto, ...]:
    """``logits`` of which the largest is the logarithm of the largest of ``shares``."""
    return (
        nets.node("ReduceMax", shares, f"{name}_most", axes=[1]),
        nets.node("Log", f"{name}_most", f"{name}_sure"),
        nets.node("ReduceMax", logits, f"{name}_top", axes=[1]),
        nets.node("Sub", f"{name}_sure {name}_top", f"{name}_by"),
        nets.node("Add", f"{logits} {name}_by", name),
    )
