"""What an output is put together of, and that each piece is proved for itself."""

import numpy as np
import onnx
import pytest
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.errors import ProofError
from shoal.model.accept import accept
from shoal.model.pieces import MOST, Piece, pieces
from shoal.model.resolved import resolve
from shoal_benchmarks.trust.mutants import count

X = tensor("x", ["n", 6, 4])
WEIGHTS = {
    "five": np.float32(5),
    "last": np.array([-1]),
    "rows": np.array([0, -1]),
    "scale": np.float32(0.1),
    "zero": np.uint8(0),
}


def of(*nodes, output="y"):
    data = nets.model(nodes, [X], [output], WEIGHTS)
    graph = accept(onnx.load_from_string(data), None, {})
    specs = {name: each.spec for name, each in resolve(graph).tensors.items()}
    return [(piece.named("y"), piece.fed) for piece in pieces(graph, specs)[output]]


JOINED = (
    node("Mul", "x five", "boxes"),
    node("Sigmoid", "x", "scores"),
    node("Concat", "boxes scores", "c", axis=1),
)


def test_what_is_joined_is_told_apart():
    assert of(*JOINED, output="c") == [("y[:, 0:6]", True), ("y[:, 6:12]", True)]


def test_what_is_computed_in_place_or_moved_behind_it_is_followed():
    nodes = [
        *JOINED,
        node("Add", "five c", "d"),
        node("QuantizeLinear", "d scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "e"),
        node("Unsqueeze", "e last", "u"),
        node("Transpose", "u", "y", perm=[0, 2, 3, 1]),
    ]
    assert [name for name, _ in of(*nodes)] == ["y[:, :, :, 0:6]", "y[:, :, :, 6:12]"]


def test_levels_of_boxes_and_scores_are_blocks():
    """As in YOLOv5: columns joined for each level, and then the levels."""
    nodes = [
        *JOINED,
        node("Concat", "scores boxes", "d", axis=1),
        node("Concat", "c d", "y", axis=2),
    ]
    assert [name for name, _ in of(*nodes)] == [
        "y[:, 0:6, 0:4]",
        "y[:, 6:12, 0:4]",
        "y[:, 0:6, 4:8]",
        "y[:, 6:12, 4:8]",
    ]


@pytest.mark.parametrize(
    "behind",
    [
        [node("Reshape", "c rows", "y")],
        [node("Softmax", "c", "y", axis=1)],
        [node("Neg", "c", "d"), node("Mul", "c d", "y")],
        [node("MatMul", "c c2", "y"), node("Transpose", "c", "c2", perm=[0, 2, 1])],
    ],
)
def test_what_is_folded_or_computed_together_is_one_piece(behind):
    assert of(*JOINED, *behind) == [("y", True)]


def test_images_one_after_the_other_are_one_piece():
    assert of(node("Concat", "x x2", "y", axis=0), node("Neg", "x", "x2")) == [("y", True)]


def test_many_pieces_are_one():
    nodes = [node("Relu", "x", "a"), node("Concat", " ".join(["a"] * (MOST + 1)), "y", axis=1)]
    assert of(*nodes) == [("y", True)]


def test_a_long_chain_ends_in_no_recursion():
    nodes = [*JOINED, *(node("Relu", f"r{k}" if k else "c", f"r{k + 1}") for k in range(3000))]
    assert len(of(*nodes, output="r3000")) == 2


def test_a_piece_that_hangs_by_no_input_is_told():
    nodes = [
        node("Shape", "x", "s"),
        node("Expand", "five s", "grid2"),
        node("Concat", "x grid2", "y", axis=1),
    ]
    assert of(*nodes) == [("y[:, 0:6]", True), ("y[:, 6:12]", False)]


def test_a_piece_is_a_block_of_an_array():
    array = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(Piece(((1, 1, 3), (2, 0, 2)), True).of(array), array[:, 1:3, :2])
    assert np.array_equal(Piece((), True).of(array), array)


def detector(scores_of="c"):
    """Boxes of some hundred pixels and scores near 0, in one tensor."""
    nodes = [
        node("Conv", "x w1", "a", strides=[2, 2]),
        node("Relu", "a", "b"),
        node("Conv", "b wb bb", "box"),
        node("Mul", "box hundred", "boxes"),
        node("Conv", f"{'b' if scores_of == 'c' else 'none'} wc bc", "c"),
        node("Sigmoid", "c", "scores"),
        node("Concat", "boxes scores", "y", axis=1),
    ]
    if scores_of != "c":
        nodes.insert(4, node("Mul", "b nothing", "none"))
    weights = {
        "w1": random(8, 3, 3, 3),
        "wb": random(4, 8, 1, 1, seed=1),
        "bb": random(4, seed=2),
        "hundred": np.float32(100),
        "wc": 0.1 * random(5, 8, 1, 1, seed=3),
        "bc": np.full(5, -9, np.float32),
        "nothing": np.float32(0),
    }
    return model.load(
        nets.model(nodes, [tensor("x", ["n", 3, 16, 16])], ["y"], weights), name="detector"
    )


def test_scores_beside_boxes_are_proved_too():
    network = detector()
    assert not network.strength().weak
    found = count(network)
    assert found.missed == []
    assert {"w1", "wc", "bc"} <= set(found.caught)


def test_a_piece_that_is_the_same_for_all_makes_the_proof_weak():
    strength = detector("nothing").strength()
    assert strength.weak
    assert "output 'y[:, 4:9]' is the same for all of them" in strength.why


def test_what_follows_from_shapes_alone_is_held_to_what_the_network_gave_as_it_came():
    """The engine's optimiser takes the one row that an Einsum repeats for all that come of it. What
    comes without it is no rounding."""
    nodes = [
        node("ReduceSum", "x axes", "q", keepdims=1),
        node("Einsum", "q x", "s", equation="abc,bad->ab"),
        node("Shape", "s", "y"),
    ]
    data = nets.model(nodes, [tensor("x", ["n", 2, 6])], ["y"], {"axes": np.array([0, 1])})
    with pytest.raises(ProofError, match="'y' differs"):
        model.load(data)
