"""The normal form: what is folded, what is removed, and what is left alone."""

import numpy as np
import onnx
import pytest
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.errors import UnsupportedModelError
from shoal.model.accept import accept
from shoal.model.affine import fold_affine
from shoal.model.normalise import normalise, reshaped
from shoal.model.shapes import UNKNOWN
from shoal.model.weights import Weight

X = tensor("x", ["n", 4, 6, 6])
NORM = {
    "s": np.float32([1, 2, 0.5, 1]),
    "b": np.float32([0, 1, 2, 3]),
    "m": np.float32([0.1, 0.2, 0.3, 0.4]),
    "v": np.float32([1, 2, 3, 4]),
}
CONV = {"w": random(4, 4, 3, 3)}


def operators(nodes, outputs=("y",), weights=None, inputs=(X,), **more):
    """What is left of a network; loading it proves that it still gives the same."""
    network = model.load(nets.model(nodes, inputs, outputs, weights, **more))
    return [node.op for node in network.nodes]


def test_batch_norm_is_folded_into_the_layer_before():
    norm = node("BatchNormalization", "a s b m v", "y")
    assert operators([node("Conv", "x w", "a"), norm], weights=CONV | NORM) == ["Conv"]
    assert operators([node("ConvTranspose", "x w", "a"), norm], weights=CONV | NORM) == [
        "ConvTranspose"
    ]


def test_batch_norm_is_folded_into_a_linear_layer():
    for transposed, shape in ((0, (6, 4)), (1, (4, 6))):
        nodes = [
            node("Gemm", "x w c", "a", transB=transposed),
            node("BatchNormalization", "a s b m v", "y"),
        ]
        weights = {"w": random(*shape), "c": random(4)} | NORM
        assert operators(nodes, weights=weights, inputs=[tensor("x", ["n", 6])]) == ["Gemm"]


def test_constant_scales_and_shifts_are_folded():
    nodes = [
        node("Conv", "x w", "a"),
        node("Mul", "a scale", "b"),
        node("Add", "shift b", "c"),
        node("Sub", "c three", "d"),
        node("Div", "d three", "y"),
    ]
    weights = {
        "scale": random(4, 1, 1),
        "shift": random(1, 4, 1, 1, seed=1),
        "three": np.float32(3),
    }
    assert operators(nodes, weights=CONV | weights) == ["Conv"]


def test_batch_norm_and_a_scale_become_one_batch_norm():
    nodes = [
        node("BatchNormalization", "x s b m v", "a"),
        node("Mul", "a scale", "c"),
        node("Relu", "c", "y"),
    ]
    assert operators(nodes, weights=NORM | {"scale": random(4, 1, 1)}) == [
        "BatchNormalization",
        "Relu",
    ]


def test_batch_norm_stays_where_something_else_reads_what_lies_before():
    nodes = [
        node("Conv", "x w", "a"),
        node("BatchNormalization", "a s b m v", "c"),
        node("Add", "a c", "y"),
    ]
    assert "BatchNormalization" in operators(nodes, weights=CONV | NORM)
    assert "BatchNormalization" in operators(nodes[:2], ["a", "c"], CONV | NORM)


def test_what_is_no_scale_per_channel_stays():
    for shape in [(6,), (6, 1), (1, 4, 6, 6), (1, 1, 4, 1, 1)]:
        nodes = [node("Conv", "x w", "a", pads=[1] * 4), node("Mul", "a c", "y")]
        kept = operators(nodes, weights=CONV | {"c": random(*shape)})
        assert kept == ["Conv", "Mul"], shape
    nodes = [node("Conv", "x w", "a"), node("Div", "one a", "y")]
    assert operators(nodes, weights=CONV | {"one": np.float32(1)}) == ["Conv", "Div"]


def test_a_fold_that_would_overflow_is_left_alone():
    weights = {"w": np.full((4, 4, 1, 1), 3e4, np.float16), "c": np.float16(3e4)}
    data = nets.model(
        [node("Conv", "x w", "a"), node("Mul", "a c", "y")],
        [tensor("x", [1, 4, 6, 6], "float16")],
        ["y"],
        weights,
    )
    graph = accept(onnx.ModelProto.FromString(data), None, {})
    assert not fold_affine(graph)
    assert [node.op_type for node in graph.nodes] == ["Conv", "Mul"]
    graph.weights["c"] = Weight.of(np.float16(0.5))
    assert fold_affine(graph)


def test_dropout_and_identity_vanish():
    nodes = [
        node("Identity", "x", "a"),
        node("Relu", "a", "b"),
        node("Dropout", "b", "c mask"),
        node("Identity", "c", "d"),
        node("Neg", "d", "e"),
        node("Identity", "e", "y"),
    ]
    assert operators(nodes) == ["Relu", "Neg"]
    off = node("Dropout", "x ratio mode", "a")
    weights = {"ratio": np.float32(0.5), "mode": np.False_}
    assert operators([off, node("Relu", "a", "y")], weights=weights) == ["Relu"]


def test_the_mode_of_a_dropout_may_be_computed_from_weights():
    nodes = [
        node("Not", "on", "mode"),
        node("Dropout", "x ratio mode", "a"),
        node("Relu", "a", "y"),
    ]
    weights = {"ratio": np.float32(0.5), "on": np.True_}
    assert operators(nodes, weights=weights) == ["Relu"]
    with pytest.raises(UnsupportedModelError, match="training mode"):
        operators(nodes, weights=weights | {"on": np.False_})


def test_a_dropout_of_constants_is_not_computed_in_training_mode():
    nodes = [
        node("Not", "off", "mode"),
        node("Dropout", "w ratio mode", "a"),
        node("Add", "x a", "y"),
    ]
    weights = {"ratio": np.float32(0.5), "off": np.False_, "w": random(1, 4, 6, 6)}
    with pytest.raises(UnsupportedModelError, match="training mode"):
        operators(nodes, weights=weights)


def test_a_mode_that_depends_on_the_input_is_refused():
    nodes = [
        node("ReduceSum", "x", "sum", keepdims=0),
        node("Greater", "sum zero", "mode"),
        node("Dropout", "x ratio mode", "y"),
    ]
    weights = {"ratio": np.float32(0.5), "zero": np.float32(0)}
    with pytest.raises(UnsupportedModelError, match="depends on the inputs"):
        operators(nodes, weights=weights)


def test_dropout_whose_mask_is_used_stays():
    nodes = [
        node("Dropout", "x", "a mask"),
        node("Cast", "mask", "b", to=1),
        node("Add", "a b", "y"),
    ]
    assert "Dropout" in operators(nodes)


def test_an_identity_between_two_outputs_stays():
    nodes = [node("Relu", "x", "y"), node("Identity", "y", "z"), node("Identity", "z", "again")]
    network = model.load(nets.model(nodes, [X], ["y", "z", "again"]))
    found = network.run(network.probe())
    np.testing.assert_array_equal(found["y"], found["z"])
    np.testing.assert_array_equal(found["y"], found["again"])


def test_constants_are_folded_through_chains():
    nodes = [
        node("Constant", "", "two", value_float=2.0),
        node("Constant", "", "ints", value_ints=[4, 1, 1]),
        node("ConstantOfShape", "ints", "zeros"),
        node("Exp", "zeros", "ones"),
        node("Add", "ones two", "three"),
        node("Range", "start limit delta", "range"),
        node("Cast", "range", "real", to=1),
        node("ReduceSum", "real", "sum", keepdims=0),
        node("Mul", "three sum", "factor"),
        node("Sigmoid", "x", "a"),
        node("Mul", "a factor", "y"),
    ]
    weights = {"start": np.array(0), "limit": np.array(5), "delta": np.array(1)}
    assert operators(nodes, weights=weights) == ["Sigmoid", "Mul"]
    network = model.load(nets.model(nodes, [X], ["y"], weights))
    feeds = network.probe()
    expected = 30 / (1 + np.exp(-feeds["x"]))
    np.testing.assert_allclose(network.run(feeds)["y"], expected, rtol=1e-5)


def test_dead_nodes_and_weights_vanish():
    nodes = [node("Relu", "x", "y"), node("Conv", "x w", "unused")]
    network = model.load(nets.model(nodes, [X], ["y"], CONV))
    assert [node.op for node in network.nodes] == ["Relu"]
    assert network.weight_bytes == 0


def test_shapes_that_are_known_are_folded():
    nodes = [
        node("Shape", "x", "s", start=1),
        node("Size", "x", "k"),
        node("Cast", "k", "real", to=1),
        node("Relu", "x", "a"),
        node("Div", "a real", "b"),
        node("Reshape", "b s", "y"),
    ]
    x = tensor("x", [1, 4, 6, 6])
    assert operators(nodes, weights={}, inputs=[x]) == ["Relu", "Div", "Reshape"]


def test_weights_of_a_quantised_network_stay_small_and_go_where_they_are_needed():
    weight = np.arange(4096, dtype=np.int8).reshape(64, 64)
    nodes = [
        node("DequantizeLinear", "w scale", "real"),
        node("MatMul", "x real", "a"),
        node("Relu", "a", "b"),
        node("MatMul", "b real", "y"),
    ]
    data = nets.model(
        nodes, [tensor("x", ["n", 64])], ["y"], {"w": weight, "scale": np.float32(0.1)}
    )
    network = model.load(data)
    assert [node.op for node in network.nodes] == ["MatMul", "Relu", "MatMul"]
    first, second = network.split([2])
    assert list(first.blobs) == list(second.blobs)
    assert first.weight_bytes == weight.nbytes


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((2, 3, 4), (6, UNKNOWN), (6, 4)),
        ((None, 3, 4), (None, UNKNOWN), (None, 12)),
        ((None, 3, 4), (UNKNOWN, 12), (None, 12)),
        ((None, 3, 4), (UNKNOWN, 4), None),
        ((2, 3, 4), (5, UNKNOWN), None),
        ((2, 3, 4), (UNKNOWN, UNKNOWN), None),
        ((None, 3), (None, 3), (None, 3)),
        ((UNKNOWN, 3), (3, UNKNOWN), None),
        ((0, 3), (UNKNOWN, 3), None),
        (None, (3, UNKNOWN), None),
        ((2, 3), None, None),
    ],
)
def test_the_unknown_dimension_of_a_reshape_is_found(before, after, expected):
    assert reshaped(before, after) == expected


@pytest.mark.parametrize(
    ("target", "folded"),
    [
        ([node("Mul", "n two", "k"), node("Concat", "k three", "to", axis=0)], [-1, 3]),
        ([node("Mul", "n six", "k"), node("Concat", "one k", "to", axis=0)], [1, -1]),
        ([node("Concat", "two n three", "to", axis=0)], [2, -1, 3]),
    ],
)
def test_a_target_that_holds_a_multiple_of_the_images_becomes_constant(target, folded):
    """Else each cut between the first node and this one would have to carry it."""
    nodes = [
        node("Shape", "x", "s"),
        node("Slice", "s zero one", "n"),
        node("Relu", "x", "a"),
        *target,
        node("Reshape", "a to", "b"),
        node("Neg", "b", "y"),
    ]
    weights = {
        name: np.array([number])
        for number, name in enumerate(["zero", "one", "two", "three", "", "", "six"])
        if name
    }
    network = model.load(nets.model(nodes, [tensor("x", ["n", 6])], ["y"], weights))
    assert [each.op for each in network.nodes] == ["Relu", "Reshape", "Neg"]
    (reshape,) = [each for each in network._graph.nodes if each.op_type == "Reshape"]
    assert network._graph.weights[reshape.input[1]].array().tolist() == folded
    assert [cut.names for cut in network.cuts] == [("a",), ("b",)]


@pytest.mark.parametrize(
    "target",
    [
        [node("Div", "n two", "k"), node("Concat", "k minus", "to", axis=0)],
        [node("Mul", "n n", "k"), node("Concat", "k minus", "to", axis=0)],
        [node("Min", "n two", "k"), node("Concat", "minus k", "to", axis=0)],
        [node("Sub", "n n", "k"), node("Concat", "k minus", "to", axis=0)],
    ],
)
def test_a_target_that_is_no_multiple_of_the_images_stays(target):
    nodes = [
        node("Shape", "x", "s"),
        node("Slice", "s zero one", "n"),
        *target,
        node("Reshape", "x to", "y"),
    ]
    weights = {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}
    data = nets.model(nodes, [tensor("x", ["n", 6])], ["y"], weights | {"minus": np.array([-1])})
    graph = accept(onnx.load_from_string(data), None, {})
    normalise(graph)
    assert not any(
        each.op_type == "Reshape" and each.input[1] in graph.weights for each in graph.nodes
    )
