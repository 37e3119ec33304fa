"""Inputs are made up by the kind of the input."""

import numpy as np
import pytest
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.model.accept import accept
from shoal.model.normalise import normalise
from shoal.model.probe import DIM, Inventor, Use, mirrored, probe, stacked, uses
from shoal.model.source import read
from shoal.model.spec import TensorSpec


def graph(nodes, inputs, outputs, weights=None, **options):
    came = read(nets.model(nodes, inputs, outputs, weights, **options))
    return accept(came.model, came.beside, {})


def drawn(spec, use=None, kind=0, seeds=(0,)):
    inventor = Inventor([spec], {spec.name: use or Use()})
    return stacked([spec], [inventor.image(kind, seed) for seed in seeds])[spec.name]


def test_ids_stay_within_the_table_that_they_index():
    found = graph(
        [
            node("Cast", "ids", "wide", to=7),
            node("Unsqueeze", "wide axes", "more"),
            node("Gather", "words more", "a"),
            node("Gather", "kinds segments", "b"),
            node("Gather", "places segments", "c"),
            node("Add", "a b", "d"),
            node("Add", "d c", "y"),
        ],
        [tensor("ids", ["n", 12], "int32"), tensor("segments", ["n", 12], "int64")],
        ["y"],
        {"axes": np.array([0]), "words": random(3000, 4), "kinds": random(2, 4),
         "places": random(512, 4)},
    )  # fmt: skip
    assert uses(found) == {"ids": Use(entries=3000), "segments": Use(entries=2)}
    inventor = Inventor(found.inputs, uses(found))
    made = stacked(found.inputs, [inventor.image(0, seed) for seed in (0, 1)])
    assert made["ids"].dtype == np.int32
    assert 1000 < made["ids"].max() < 3000
    assert set(np.unique(made["segments"])) == {0, 1}


def test_a_network_of_tokens_is_proved_on_tokens():
    network = model.load(
        nets.model(
            [node("Gather", "words ids", "a"), node("ReduceMean", "a", "b", axes=[1], keepdims=0),
             node("MatMul", "b w", "y")],
            [tensor("ids", ["n", 6], "int64")],
            ["y"],
            {"words": random(100, 8), "w": random(8, 4)},
        )
    )  # fmt: skip
    assert "indices below 100" in network.strength().inputs
    assert network.probe(4)["ids"].max() < 100
    assert not network.strength().weak


def test_what_is_quantised_first_comes_in_the_range_of_its_steps():
    found = graph(
        [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")],
        [tensor("x", ["n", 3, 16, 16])],
        ["y"],
        {"s": np.float32(0.5), "z": np.uint8(100)},
    )
    assert uses(found)["x"].range == (-50.0, 77.5)
    made = drawn(found.inputs[0], uses(found)["x"])
    assert -50 <= made.min() < -20
    assert 40 < made.max() <= 77.5


@pytest.mark.parametrize(
    ("op", "value", "range"),
    [
        ("Sub", np.array([123.7, 116.3, 103.5], np.float32).reshape(3, 1, 1), (0.0, 255.0)),
        ("Div", np.float32(255), (0.0, 255.0)),
        ("Mul", np.float32(1 / 255), (0.0, 255.0)),
        ("Sub", np.float32(0.5), None),
        ("Sub", np.float32(np.inf), None),
    ],
)
def test_pixels_are_told_by_what_is_taken_from_them(op, value, range):
    found = graph([node(op, "x c", "y")], [tensor("x", ["n", 3, 16, 16])], ["y"], {"c": value})
    assert uses(found)["x"].range == range


def test_photos_are_smooth_and_have_edges_and_noise_is_not():
    photo = drawn(TensorSpec("x", "float32", (None, 3, 64, 64)))
    steps = np.abs(np.diff(photo, axis=3))
    assert np.median(steps) < 0.1
    assert steps.max() > 0.5
    assert photo.min() >= -1
    assert photo.max() <= 1
    channels = photo[0].reshape(3, -1)
    assert np.corrcoef(channels)[0, 1] > 0.3
    noise = drawn(TensorSpec("x", "float32", (None, 3, 64, 64)), kind=3)
    assert np.median(np.abs(np.diff(noise, axis=3))) > 0.5


def test_photos_lie_along_the_longest_sides_whatever_their_order():
    for shape in ((None, 64, 48, 3), (None, 3, 64, 48), (64, 48), (1, 64, 48)):
        made = drawn(TensorSpec("x", "float32", shape))
        assert made.shape == tuple(1 if side is None else side for side in shape)
        assert np.median(np.abs(np.diff(made, axis=shape.index(48)))) < 0.1


def test_every_third_image_is_faint():
    spec = TensorSpec("x", "float32", (None, 3, 32, 32))
    made = drawn(spec, seeds=(0, 2))
    assert np.abs(made[0]).max() > 0.7
    assert np.abs(made[1]).max() <= DIM


@pytest.mark.parametrize(
    ("spec", "kind", "check"),
    [
        (TensorSpec("m", "bool", (None, 9)), 0, lambda a: set(np.unique(a)) <= {False, True}),
        (TensorSpec("m", "int64", (None, 9)), 0, lambda a: (np.diff(a) <= 0).all() and a[0, 0]),
        (TensorSpec("n", "int64", (None,)), 0, lambda a: (a == 1).all()),
        (TensorSpec("n", "int64", ()), 0, lambda a: a == 1),
        (TensorSpec("f", "float32", ()), 0, lambda a: 0 < a < 2),
        (TensorSpec("s", "float32", (None, 4096)), 0, lambda a: np.abs(a).max() <= 1),
        (TensorSpec("p", "uint8", (None, 32, 32, 3)), 0, lambda a: a.max() - a.min() > 100),
        (TensorSpec("v", "float16", (None, 7)), 0, lambda a: a.min() < 0 < a.max()),
        (TensorSpec("t", "int8", (3, 3)), 0, lambda a: a.dtype == np.int8),
    ],
)
def test_other_kinds(spec, kind, check):
    made = drawn(spec, kind=kind, seeds=(0, 1))
    assert made.dtype == np.dtype(spec.dtype)
    assert made.ndim == len(spec.shape)
    assert check(made)


def test_a_length_is_that_of_the_other_input_at_most():
    specs = [TensorSpec("x", "float32", (None, 80, 300)), TensorSpec("n", "int64", (None,))]
    inventor = Inventor(specs, {})
    lengths = [inventor.image(1, seed)["n"][0] for seed in range(40)]
    assert 100 < max(lengths) <= 300
    assert min(lengths) >= 1


def test_the_same_seed_gives_the_same_and_another_others():
    spec = TensorSpec("x", "float32", (None, 3, 16, 16))
    assert np.array_equal(drawn(spec, seeds=(4,)), drawn(spec, seeds=(4,)))
    assert not np.array_equal(drawn(spec, seeds=(3,)), drawn(spec, seeds=(4,)))
    both = drawn(spec, seeds=(3, 4))
    assert np.array_equal(both[1:], drawn(spec, seeds=(4,)))
    assert np.array_equal(probe([spec], 4)["x"], probe([spec], 4)["x"])


def test_a_mirror_image_is_another_input_of_the_same_kind():
    turned = mirrored({"x": random(1, 3, 4, 9), "n": np.array([5])})
    assert np.array_equal(turned["x"], random(1, 3, 4, 9)[..., ::-1])
    assert turned["n"] == 5


def test_ids_stay_within_a_table_that_is_kept_in_bytes():
    for first in ("q scale", "scale q"):
        made = graph(
            [
                node("Cast", "table", "q", to=1),
                node("Mul", first, "wide"),
                node("Gather", "wide ids", "y", axis=0),
            ],
            [tensor("ids", ["n", 4], "int64")],
            ["y"],
            {"table": np.ones((70_000, 2), np.int8), "scale": np.ones((1, 2), np.float32)},
        )
        normalise(made)
        assert uses(made)["ids"].entries == 70_000
