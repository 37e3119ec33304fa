"""What is known of the shapes of tensors before anything is run."""

import numpy as np
import onnx
import pytest
from tests.model.nets import node

from shoal.errors import ModelFileError, UnsupportedModelError
from shoal.model.graph import Graph
from shoal.model.shapes import NO_TENSOR, UNKNOWN, infer
from shoal.model.spec import TensorSpec
from shoal.model.weights import Weight

FLOAT, INT64, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL


def graph(nodes, inputs, outputs=("y",), **weights):
    specs = tuple(TensorSpec(name, "float32", shape) for name, shape in inputs.items())
    held = {name: Weight.of(np.asarray(value)) for name, value in weights.items()}
    return Graph("g", 8, (("", 17),), list(nodes), held, specs, outputs)


def test_the_batch_and_numbers_are_known_and_the_rest_is_said_to_be_unknown():
    kinds = infer(
        graph(
            [node("Relu", "x", "a"), node("NonZero", "a", "where"), node("Shape", "x", "y")],
            {"x": (None, 3, 8)},
        )
    )
    assert kinds["x"] == kinds["a"] == (FLOAT, (None, 3, 8))
    assert kinds["where"] == (INT64, (3, UNKNOWN))
    assert kinds["y"] == (INT64, (3,))


def test_what_is_no_tensor_is_no_tensor():
    kinds = infer(
        graph(
            [node("SequenceConstruct", "x x", "list"), node("SequenceLength", "list", "y")],
            {"x": (None, 3)},
        )
    )
    assert kinds["list"] == (NO_TENSOR, None)
    assert kinds["y"] == (INT64, ())


def test_small_weights_are_looked_into_and_all_of_them_have_shapes():
    wide = np.zeros((3, 64 * 1024), np.float32)
    kinds = infer(
        graph(
            [node("Reshape", "x to", "a"), node("MatMul", "a wide", "y")],
            {"x": (None, 3, 1)},
            to=np.array([-1, 3], np.int64),
            wide=wide,
        )
    )
    assert kinds["a"][1][1] == 3
    assert kinds["y"][1][1] == 64 * 1024
    assert kinds["wide"] == (FLOAT, wide.shape)


@pytest.mark.parametrize(("limit", "fits"), [(4 * 24, True), (4 * 24 - 1, False)])
def test_a_tensor_may_be_just_as_large_as_the_limit_for_one_image(limit, fits):
    large = graph([node("Concat", "x x", "y", axis=1)], {"x": (None, 3, 4)}, w=np.zeros(99))
    if fits:
        assert infer(large, limit)["y"] == (FLOAT, (None, 6, 4))
    else:
        with pytest.raises(UnsupportedModelError, match=r"'y' of shape \[None, 6, 4\] has 96"):
            infer(large, limit)


@pytest.mark.parametrize(("rank", "fits"), [(16, True), (17, False)])
def test_a_tensor_may_have_just_so_many_dimensions(rank, fits):
    shaped = graph([node("Relu", "x", "y")], {"x": (None, *(1,) * (rank - 1))})
    if fits:
        assert len(infer(shaped)["y"][1]) == rank
    else:
        with pytest.raises(UnsupportedModelError, match="16 dimensions"):
            infer(shaped)


def test_shapes_that_do_not_fit_together_are_refused():
    with pytest.raises(ModelFileError, match="do not fit together"):
        infer(graph([node("Conv", "x w", "y")], {"x": (None, 1, 2)}, w=np.zeros((1, 1, 5), "f")))


@pytest.mark.parametrize(
    ("equation", "row", "known"),
    [
        ("bqd,bkd->bqk", (1, 2, 3), False),
        ("bqd,bkd->bqk", (None, 2, 3), True),
        ("qd,bkd->bqk", (2, 3), True),
        ("b...d,b...d->b...", (1, 2, 3), False),
        ("...qd,...kd->...qk", (None, 2, 3), True),
        ("bqd,bkd->bqk", (None, 2, 1), False),
        ("b q d , b k d -> b q k", (1, 2, 3), False),
    ],
)
def test_an_einsum_that_repeats_a_row_is_left_to_the_engine(equation, row, known):
    """Inference would take the one row for all that come of it."""
    kinds = infer(
        graph(
            [node("Einsum", "q x", "a", equation=equation), node("Relu", "a", "y")],
            {"q": row, "x": (None, 2 if "..." in equation else 5, 3)},
        )
    )
    assert ("a" in kinds) == ("y" in kinds) == known


def test_of_what_comes_after_it_nothing_is_known_and_of_the_rest_all():
    made = graph(
        [
            node("Einsum", "q x", "a", equation="bd,bd->bd"),
            node("Relu", "x", "b"),
            node("Add", "a b", "y"),
        ],
        {"q": (1, 3), "x": (None, 3)},
    )
    kinds = infer(made)
    assert kinds["b"] == (FLOAT, (None, 3))
    assert "a" not in kinds
    assert [each.op_type for each in made.nodes] == ["Einsum", "Relu", "Add"]
    assert all(each.domain == "" for each in made.nodes), "the graph itself is as it was"
