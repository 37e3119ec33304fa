"""What a graph shows of what a network is for, on small ones of each kind."""

from __future__ import annotations

import numpy as np
import pytest
from tests.model.nets import model, node, random, tensor

from shoal import zoo
from shoal.errors import PlanError
from shoal.model.network import load
from shoal.task import check_task, guess, task_of

IMAGE = tensor("x", ["n", 3, 32, 32])
POOLED = [node("GlobalAveragePool", "x", "g"), node("Flatten", "g", "f")]


def rows(width, *more, outputs=("y",)):
    """A row of so many numbers for each image, and what follows."""
    return load(
        model(
            [*POOLED, node("Gemm", "f w b", "r"), *more],
            [IMAGE],
            outputs,
            {"w": random(3, width), "b": random(width, seed=1)},
        )
    )


def pixels(classes, *more, kernel=1, outputs=("y",)):
    """So many numbers for each pixel, and what follows."""
    weights = {"w": random(classes, 3, kernel, kernel)}
    return load(model([node("Conv", "x w", "r"), *more], [IMAGE], outputs, weights))


def cells(*shape):
    """A constant table of so many cells, moved a little by the image."""
    return load(
        model(
            [
                *POOLED,
                node("MatMul", "f w", "m"),
                node("Reshape", "m one", "s"),
                node("Add", "s t", "y"),
            ],
            [tensor("x", [1, 3, 64, 64])],
            ["y"],
            {"w": random(3, 1), "t": random(*shape), "one": np.int64([1, 1, 1])},
        )
    )


def normed(last):
    return [
        node("ReduceL2", "r", "l", axes=[1], keepdims=1),
        node("Clip", "l low", "c"),
        node("Div", f"r {last}", "y"),
    ]


def embedding(*more, outputs=("y",)):
    weights = {"w": random(3, 10), "low": np.float32(1e-6), "scale": random(10, seed=1)}
    nodes = [*POOLED, node("Gemm", "f w", "r"), *normed("c"), *more]
    return load(model(nodes, [IMAGE], outputs, weights))


CASES = {
    "softmax": (lambda: rows(2, node("Softmax", "r", "y")), "classifier", "2 probabilities, after"),
    "scores": (lambda: rows(10, node("Identity", "r", "y")), "classifier", "a row of 10 scores"),
    "a wide row": (lambda: rows(128, node("Identity", "r", "y")), None, "a row of 128 numbers"),
    "a narrow row": (lambda: rows(4, node("Identity", "r", "y")), None, "a row of 4 numbers"),
    "a wide row of a name": (
        lambda: rows(128, node("Identity", "r", "logits"), outputs=["logits"]),
        "classifier",
        "by its name",
    ),
    "a row of values": (
        lambda: rows(10, node("Identity", "r", "landmarks"), outputs=["landmarks"]),
        None,
        "are no scores",
    ),
    "tags": (lambda: rows(10, node("Sigmoid", "r", "y")), None, "after Sigmoid"),
    "an embedding by its norm": (embedding, "embedding", "after a norm"),
    "an embedding that is scaled after its norm": (
        lambda: embedding(node("Mul", "y scale", "z"), outputs=["z"]),
        "embedding",
        "after a norm",
    ),
    "an embedding by its name": (
        lambda: rows(128, node("Identity", "r", "embeddings"), outputs=["embeddings"]),
        "embedding",
        "by name",
    ),
    "a mask": (lambda: pixels(1, node("Sigmoid", "r", "y")), "segmenter", "for each pixel"),
    "classes of pixels": (lambda: pixels(6, node("Identity", "r", "y")), "segmenter", "6 classes"),
    "probabilities of pixels": (
        lambda: pixels(2, node("Softmax", "r", "y", axis=1)),
        "segmenter",
        "2 classes",
    ),
    "a map of classes": (
        lambda: pixels(6, node("ArgMax", "r", "y", axis=1, keepdims=0)),
        "segmenter",
        "after ArgMax",
    ),
    "an image": (lambda: pixels(3, node("Sigmoid", "r", "y")), None, "after Sigmoid"),
    "features": (lambda: pixels(6, node("Relu", "r", "y"), kernel=20), None, "after Relu"),
    "cells of grids": (lambda: cells(1, 7, 84), "detector", "84 cells of grids"),
    "cells of grids with objectness": (lambda: cells(1, 252, 8), "detector", "252 cells"),
    "no cells": (lambda: cells(1, 7, 90), None, ""),
    "several kinds": (
        lambda: rows(10, node("Softmax", "r", "y"), node("Sigmoid", "r", "z"), outputs=["y", "z"]),
        None,
        "of several kinds",
    ),
    "two rows of classes": (
        lambda: rows(10, node("Softmax", "r", "y"), node("Softmax", "f", "z"), outputs=["y", "z"]),
        "classifier",
        "probabilities",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_a_graph_shows(case):
    make, name, words = CASES[case]
    network = make()
    found = guess(network)
    assert found.name == name, found.why
    assert words in found.why
    if name is None:
        with pytest.raises(PlanError, match=r"it is not clear what .* is for.*--task classifier"):
            task_of(network)
    else:
        assert task_of(network).name == name


def test_a_sequence_is_asked_for_its_blank():
    network = load(
        model(
            [node("MatMul", "x w", "r"), node("Softmax", "r", "y", axis=2)],
            [tensor("x", ["n", 9, 4])],
            ["y"],
            {"w": random(4, 12)},
        )
    )
    assert guess(network).name is None
    assert "which class is blank" in guess(network).why
    assert task_of(network, "sequence:0").key != task_of(network, "sequence").key
    with pytest.raises(PlanError, match="0 to 11"):
        task_of(network, "sequence:12")


def test_boxes_behind_a_choice_are_a_detector_and_others_are_not():
    weights = {"w": random(3, 18 * 6), "k": np.int64([3]), "shape": np.int64([-1, 18, 6])}
    plain = [*POOLED, node("MatMul", "f w", "r"), node("Reshape", "r shape", "s")]
    for last, name in (
        ([node("Relu", "s", "y")], None),
        ([node("TopK", "s k", "v i", axis=1), node("Relu", "v", "y")], "detector"),
    ):
        assert guess(load(model([*plain, *last], [IMAGE], ["y"], weights))).name == name


@pytest.mark.parametrize("name", ["fashion-resnet", "fashion-exits"])
def test_the_networks_that_ship_are_classifiers(name):
    assert guess(load(zoo.path(name))).name == "classifier"


@pytest.mark.parametrize(
    "name", ["beauty", "sequence:x", "sequence:", "classifier:1", "", "Detector"]
)
def test_a_name_that_is_no_task_is_refused_with_those_that_are(name):
    with pytest.raises(PlanError, match=r"there is no .*classifier, detector, segmenter"):
        check_task(name)


def test_a_task_that_the_outputs_do_not_fit_is_refused():
    with pytest.raises(PlanError, match="how boxes are read from"):
        task_of(rows(10, node("Identity", "r", "y")), "detector")
