"""What hangs by a near tie is told from what is clear."""

import numpy as np
import pytest
from tests.model import nets
from tests.model.nets import node, random, tensor

from shoal.model.accept import accept
from shoal.model.choices import behind, choices, pushed
from shoal.model.engine import Engine
from shoal.model.graph import whole
from shoal.model.resolved import resolve
from shoal.model.source import read

CLASSES = tensor("x", ["n", 4, 5])


def graph(nodes, inputs, outputs, weights=None, **options):
    came = read(nets.model(nodes, inputs, outputs, weights, **options))
    return accept(came.model, came.beside, {})


def study(found):
    specs = {name: each.spec for name, each in resolve(found).tensors.items()}
    nodes = choices(found, specs)
    return specs, nodes, behind(found, nodes)


def others(found, feeds, amount, runs=2):
    """Where each output becomes another one when choices are pushed by ``amount``."""
    specs, nodes, _ = study(found)
    push = pushed(found, nodes, specs)
    assert push.random == (runs > 2)
    session = Engine().load(*whole(push.graph))
    plain = Engine().load(*whole(found)).run(feeds)
    changed = {name: np.zeros(array.shape, bool) for name, array in plain.items()}
    for run in range(runs):
        sides = {push.amount: amount, push.side: 1 - 2 * (run % 2)}
        made = session.run({**feeds, **{k: np.array(v, np.float32) for k, v in sides.items()}})
        for name, array in plain.items():
            changed[name] |= array != made[name]
    return changed


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_labels_are_unclear_where_two_scores_are_nearly_the_same(op, opset):
    found = graph([node(op, "x", "y", axis=1, keepdims=0)], [CLASSES], ["y"], opset=opset)
    scores = np.zeros((1, 4, 5), np.float32)
    scores[0, 1] = 10 if op == "ArgMax" else -10
    scores[0, 2, 3] = 9.99 if op == "ArgMax" else -9.99
    assert not others(found, {"x": scores}, 0.0)["y"].any()
    assert others(found, {"x": scores}, 1e-3)["y"].tolist() == [[False] * 3 + [True, False]]
    assert others(found, {"x": scores}, 0.6)["y"].all()


def test_a_label_stays_clear_through_what_comes_after_it():
    found = graph(
        [
            node("ArgMax", "x", "a", axis=1, keepdims=1),
            node("Cast", "a", "b", to=1),
            node("Transpose", "b", "y", perm=[0, 2, 1]),
            node("Relu", "x", "z"),
        ],
        [CLASSES],
        ["y", "z"],
    )
    _, nodes, hanging = study(found)
    assert [each.op_type for each in nodes] == ["ArgMax"]
    assert hanging == {"a", "b", "y"}
    scores = np.zeros((1, 4, 5), np.float32)
    scores[0, 1], scores[0, 0, 2] = 10, 10
    changed = others(found, {"x": scores}, 1e-4)
    assert changed["y"][0, :, 0].tolist() == [False, False, True, False, False]
    assert not changed["z"].any()


def test_a_threshold_is_clear_where_the_score_is_far_from_it():
    found = graph(
        [node("Greater", "x c", "m"), node("Cast", "x", "whole", to=7)],
        [tensor("x", [5])],
        ["m", "whole"],
        {"c": np.float32(0.5)},
    )
    feeds = {"x": np.array([0.0, 0.49999, 0.50001, 1.00001, 2.5], np.float32)}
    changed = others(found, feeds, 1e-4)
    assert changed["m"].tolist() == [False, True, True, False, False]
    assert changed["whole"].tolist() == [False, False, False, True, False]


def test_the_order_of_what_is_nearly_the_same_is_unclear_and_its_values_are_not():
    found = graph(
        [node("TopK", "x k", "v i", axis=1), node("GatherElements", "boxes i", "b", axis=1)],
        [tensor("x", [1, 6]), tensor("boxes", [1, 6])],
        ["v", "i", "b"],
        {"k": np.array([3])},
    )
    feeds = {
        "x": np.array([[9, 5, 5.00001, 1, 0, -3]], np.float32),
        "boxes": np.arange(6, dtype=np.float32)[None],
    }
    changed = others(found, feeds, 1e-4, runs=12)
    assert changed["i"].tolist() == [[False, True, True]]
    assert changed["b"].tolist() == [[False, True, True]]


def test_what_follows_from_shapes_or_indices_is_no_choice():
    found = graph(
        [
            node("Shape", "x", "s"),
            node("Equal", "s five", "e"),
            node("Cast", "i", "f", to=1),
            node("ArgMax", "i", "top", axis=0),
            node("MaxPool", "image", "p", kernel_shape=[2, 2]),
        ],
        [tensor("x", [2, 5]), tensor("i", [3], "int64"), tensor("image", [1, 1, 4, 4])],
        ["e", "f", "top", "p"],
        {"five": np.array([5, 5])},
    )
    assert study(found)[1] == ()


def test_the_places_of_maxima_are_a_choice_and_their_values_are_not():
    found = graph(
        [
            node("MaxPool", "x", "v i", kernel_shape=[2, 2], strides=[2, 2]),
            node("MaxUnpool", "v i", "y", kernel_shape=[2, 2], strides=[2, 2]),
        ],
        [tensor("x", [1, 1, 4, 4])],
        ["y", "v"],
    )
    assert study(found)[2] == {"i", "y"}
    image = random(1, 1, 4, 4)
    image[0, 0, :2, :2] = [[3, 3.000001], [0, 0]]
    changed = others(found, {"x": image}, 1e-4, runs=12)
    assert changed["y"][0, 0].tolist()[0] == [True, True, False, False]
    assert not changed["v"].any()


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8"])
def test_scores_of_other_types_keep_theirs(dtype):
    found = graph([node("ArgMax", "x", "y", axis=1)], [tensor("x", ["n", 4, 5], dtype)], ["y"])
    scores = np.zeros((1, 4, 5), dtype)
    scores[0, 1], scores[0, 2, 3] = 200, 199
    changed = others(found, {"x": scores}, 1e-2)["y"]
    assert changed.sum() == 1
