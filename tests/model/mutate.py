"""Small networks, damaged or made hostile in many ways: for tests that load whatever comes."""

import contextlib
from collections.abc import Callable
from random import Random

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tests.model import nets
from tests.model.nets import node, random, tensor

Mutation = Callable[[onnx.ModelProto, Random], None]

ODD_INTEGERS = [0, 1, -1, 2, 3, 255, -(2**31), 2**31, 2**33, 2**62, -(2**63), 2**63 - 1]
ODD_NAMES = ["", "x", "y", "a", "\x00", "../../etc/passwd", "n" * 5000, "ä"]


def corpus() -> list[bytes]:
    """Valid files of a few kinds: with residuals, shapes, constants, several inputs, integers."""
    shapes = nets.model(
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n"),
            node("Concat", "n rest", "target", axis=0),
            node("Reshape", "x target", "flat"),
            node("MatMul", "flat w", "y"),
        ],
        [tensor("x", ["n", 2, 3])],
        ["y"],
        {"zero": np.array([0]), "rest": np.array([6]), "w": random(6, 4)},
    )
    constants = nets.model(
        [
            node("ConstantOfShape", "s", "c"),
            node("Expand", "c e", "wide"),
            node("Tile", "x r", "t"),
            node("Slice", "t from to", "part"),
            node("Add", "part wide", "sum"),
            node("Pad", "sum p", "y"),
        ],
        [tensor("x", [1, 4])],
        ["y"],
        {"s": np.array([1, 4]), "e": np.array([2, 4]), "r": np.array([3, 1]),
         "from": np.array([0]), "to": np.array([2]), "p": np.array([0, 1, 0, 1])},
    )  # fmt: skip
    several = nets.model(
        [
            node("Cast", "i", "f", to=1),
            node("Mul", "x f", "a"),
            node("Split", "a", "l r", axis=1, num_outputs=2),
            node("BatchNormalization", "l g b m v", "n"),
            node("Resize", "n _ k", "big"),
            node("Concat", "l r", "z", axis=1),
        ],
        [tensor("x", ["n", 4, 2, 2]), tensor("i", ["n", 4, 2, 2], "int32")],
        ["big", "z"],
        {"g": random(2), "b": random(2), "m": random(2), "v": abs(random(2)),
         "k": np.array([1, 1, 2, 2], np.float32)},
        opset=18,
    )  # fmt: skip
    plus, times = (
        helper.make_graph(
            [node(op, "x w", "r"), node("Relu", "r", "o")],
            "inside",
            [],
            [onnx.ValueInfoProto(name="o")],
            [numpy_helper.from_array(random(4), "w")],
        )
        for op in ("Add", "Mul")
    )
    branches = nets.model(
        [
            node("Shape", "x", "s"),
            node("Gather", "s at", "n"),
            node("Greater", "n least", "c"),
            node("If", "c", "y", then_branch=plus, else_branch=times),
        ],
        [tensor("x", ["n", 4])],
        ["y"],
        {"at": np.array(1), "least": np.array(3)},
    )
    return [nets.residual(), shapes, constants, several, branches]


def truncated(data: bytes, dice: Random) -> bytes:
    return data[: dice.randrange(len(data))]


def flipped(data: bytes, dice: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


def moved(data: bytes, dice: Random) -> bytes:
    """A stretch of bytes stands elsewhere, or twice."""
    begin = dice.randrange(len(data))
    stretch = data[begin : begin + dice.randint(1, 200)]
    rest = data if dice.random() < 0.5 else data[:begin] + data[begin + len(stretch) :]
    place = dice.randrange(len(rest) + 1)
    return rest[:place] + stretch + rest[place:]


def mutated(data: bytes, dice: Random) -> bytes:
    """A few fields hold what belongs elsewhere, or nowhere."""
    model = onnx.ModelProto.FromString(data)
    for _ in range(dice.randint(1, 4)):
        change = dice.choice(MUTATIONS)
        inside = [a.g for each in model.graph.node for a in each.attribute if a.HasField("g")]
        if inside and dice.random() < 0.5:
            graph = dice.choice(inside)
            inner = onnx.ModelProto(graph=graph)
            with contextlib.suppress(IndexError):  # it has no inputs of its own
                change(inner, dice)
            graph.CopyFrom(inner.graph)
        else:
            change(model, dice)
    return model.SerializeToString()


KINDS = [truncated, flipped, moved, mutated, mutated, mutated]


def hostile(dice: Random, files: list[bytes]) -> bytes:
    """One of the files, damaged in some way."""
    return dice.choice(KINDS)(dice.choice(files), dice)


def _swap_inputs(model: onnx.ModelProto, dice: Random) -> None:
    one, other = dice.choice(model.graph.node), dice.choice(model.graph.node)
    if one.input and other.input:
        k, m = dice.randrange(len(one.input)), dice.randrange(len(other.input))
        one.input[k], other.input[m] = other.input[m], one.input[k]


def _swap_outputs(model: onnx.ModelProto, dice: Random) -> None:
    one, other = dice.choice(model.graph.node), dice.choice(model.graph.node)
    if one.output and other.output:
        one.output[0], other.output[0] = other.output[0], one.output[0]


def _swap_operators(model: onnx.ModelProto, dice: Random) -> None:
    one, other = dice.choice(model.graph.node), dice.choice(model.graph.node)
    one.op_type, other.op_type = other.op_type, one.op_type


def _swap_attributes(model: onnx.ModelProto, dice: Random) -> None:
    one, other = dice.choice(model.graph.node), dice.choice(model.graph.node)
    kept = list(one.attribute)
    del one.attribute[:]
    one.attribute.extend(other.attribute)
    del other.attribute[:]
    other.attribute.extend(kept)


def _odd_attribute(model: onnx.ModelProto, dice: Random) -> None:
    found = [attribute for one in model.graph.node for attribute in one.attribute]
    if found:
        attribute = dice.choice(found)
        attribute.i = dice.choice(ODD_INTEGERS)
        if attribute.ints:
            attribute.ints[dice.randrange(len(attribute.ints))] = dice.choice(ODD_INTEGERS)
        if dice.random() < 0.3:
            attribute.type = dice.choice([1, 2, 3, 4, 6, 7, 8])


def _odd_dimension(model: onnx.ModelProto, dice: Random) -> None:
    weight = dice.choice(model.graph.initializer)
    if weight.dims:
        weight.dims[dice.randrange(len(weight.dims))] = dice.choice(ODD_INTEGERS)


def _odd_type(model: onnx.ModelProto, dice: Random) -> None:
    dice.choice(model.graph.initializer).data_type = dice.randrange(30)


def _swap_weights(model: onnx.ModelProto, dice: Random) -> None:
    one, other = dice.choice(model.graph.initializer), dice.choice(model.graph.initializer)
    one.name, other.name = other.name, one.name


def _odd_values(model: onnx.ModelProto, dice: Random) -> None:
    """Integers are shapes, axes and counts: these decide what is allocated."""
    shapes = [weight for weight in model.graph.initializer if weight.data_type == 7]
    if shapes:
        weight = dice.choice(shapes)
        values = np.frombuffer(weight.raw_data, np.int64).copy()
        if values.size:
            values[dice.randrange(values.size)] = dice.choice(ODD_INTEGERS)
        weight.raw_data = values.tobytes()


def _odd_input(model: onnx.ModelProto, dice: Random) -> None:
    dims = dice.choice(model.graph.input).type.tensor_type.shape.dim
    if dims:
        dims[dice.randrange(len(dims))].dim_value = dice.choice(ODD_INTEGERS)


def _drop_or_repeat_node(model: onnx.ModelProto, dice: Random) -> None:
    place = dice.randrange(len(model.graph.node))
    if dice.random() < 0.5:
        model.graph.node.append(model.graph.node[place])
    elif len(model.graph.node) > 1:
        del model.graph.node[place]


def _odd_name(model: onnx.ModelProto, dice: Random) -> None:
    one = dice.choice(model.graph.node)
    if one.input:
        one.input[dice.randrange(len(one.input))] = dice.choice(ODD_NAMES)


def _odd_version(model: onnx.ModelProto, dice: Random) -> None:
    if model.opset_import:
        model.opset_import[0].version = dice.choice([*ODD_INTEGERS, 7, 9, 11, 13, 19, 21])


def _elsewhere(model: onnx.ModelProto, dice: Random) -> None:
    weight = dice.choice(model.graph.initializer)
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=dice.choice(ODD_NAMES))
    weight.external_data.add(key="length", value=str(dice.choice(ODD_INTEGERS)))


MUTATIONS: list[Mutation] = [
    _swap_inputs,
    _swap_outputs,
    _swap_operators,
    _swap_attributes,
    _odd_attribute,
    _odd_dimension,
    _odd_type,
    _swap_weights,
    _odd_values,
    _odd_input,
    _drop_or_repeat_node,
    _odd_name,
    _odd_version,
    _elsewhere,
]
