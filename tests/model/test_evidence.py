"""What a network is proved on, and when that proves anything."""

import logging

import numpy as np
import pytest
from tests.model import nets
from tests.model.nets import node, random, tensor

import shoal.model as model
from shoal.errors import ProofError
from shoal.model import proof
from shoal.model.part import Part

IMAGE = tensor("x", ["n", 3, 16, 16])


def blurred(then, weights=None, image=IMAGE):
    """The image, averaged over places and colours, and what is done with that."""
    return nets.model(
        [node("Conv", "x blur", "blurred", pads=[1, 1, 1, 1]), *then],
        [image],
        ["y"],
        {"blur": np.full((1, 3, 3, 3), 1 / 27, np.float32), **(weights or {})},
    )


def bright(level):
    """Says something of images brighter than ``level`` only."""
    return blurred(
        [node("Sub", "blurred level", "above"), node("Relu", "above", "seen"),
         node("Conv", "seen w", "y")],
        {"level": np.float32(level), "w": random(4, 1, 1, 1)},
    )  # fmt: skip


def wrong(monkeypatch, factor=0.0):
    """Every part but the whole gives ``factor`` of what it should."""
    honest = Part.run_on

    def spoilt(part, session, feeds):
        made = honest(part, session, feeds)
        return {name: (factor * array).astype(array.dtype) for name, array in made.items()}

    monkeypatch.setattr(Part, "run_on", spoilt)


def test_inputs_are_tried_kind_by_kind_until_the_outputs_tell(monkeypatch):
    """On noise this network is silent, as detectors are: everything equals everything there."""
    network = model.load(bright(40))
    assert network.strength().inputs == "photo-like, 0 to 255"
    assert not network.strength().weak
    (spec,) = network.outputs
    assert network.run(network.probe())[spec.name].any()
    wrong(monkeypatch)
    with pytest.raises(ProofError, match="output 'y' differs"):
        network.split([1])


def test_where_nothing_tells_the_proof_says_that_it_is_weak(caplog):
    with caplog.at_level(logging.WARNING):
        network = model.load(bright(1e6))
    strength = network.strength()
    assert strength.weak
    assert "output 'y' is the same for all of them" in strength.why
    assert "example={name: array}" in strength.why
    assert "--input" in strength.why
    assert strength.why in caplog.text
    assert network.split([1])


def test_the_example_is_what_it_is_proved_on(caplog, monkeypatch):
    images = (1e6 + 1e5 * np.abs(random(2, 3, 16, 16))).astype(np.float32)
    for example in ({"x": images}, images, [images], {"x": images[:1]}):
        network = model.load(bright(1e6), example=example)
        strength = network.strength()
        assert (strength.inputs, strength.weak) == ("the example", False)
        assert np.array_equal(network.probe(batch=1)["x"], images[:1])
        assert network.probe(seed=1)["x"].mean() > 1e6
    assert not caplog.text
    wrong(monkeypatch)
    with pytest.raises(ProofError, match="differs"):
        network.split([1])


def test_an_example_of_some_inputs_is_used_with_the_others_made_up():
    images = (1e6 + 1e5 * np.abs(random(2, 3, 16, 16))).astype(np.float32)
    gain = tensor("gain", ["n", 1, 1, 1])
    data = nets.model(
        [node("Conv", "x blur", "blurred", pads=[1, 1, 1, 1]), node("Sub", "blurred level", "a"),
         node("Relu", "a", "seen"), node("Mul", "seen gain", "y")],
        [IMAGE, gain],
        ["y"],
        {"blur": np.full((1, 3, 3, 3), 1 / 27, np.float32), "level": np.float32(1e6)},
    )  # fmt: skip
    assert model.load(data).strength().weak
    network = model.load(data, example={"x": images})
    strength = network.strength()
    assert (strength.inputs, strength.weak) == ("the example (and made-up 'gain')", False)
    feeds = network.probe(batch=2)
    assert np.array_equal(feeds["x"], images)
    assert feeds["gain"].shape == (2, 1, 1, 1)


def test_an_example_that_says_nothing_is_not_relied_on():
    """Zeros are what people write for a shape."""
    zeros = np.zeros((1, 3, 8, 8), np.float32)
    for example in (zeros, {"x": zeros}):
        strength = model.load(nets.residual(), example=example).strength()
        assert (strength.weak, strength.inputs) == (False, "photo-like, -1 to 1")


def test_numbers_that_are_none_are_no_proof(caplog):
    """NaN equals NaN at every cut, whatever the parts do."""
    network = model.load(
        nets.model(
            [node("Abs", "x", "a"), node("Neg", "a", "b"), node("Sub", "b one", "c"),
             node("Sqrt", "c", "d"), node("Conv", "d w", "y")],
            [IMAGE],
            ["y"],
            {"one": np.float32(1), "w": random(4, 3, 1, 1)},
        )
    )  # fmt: skip
    assert network.strength().weak
    assert "not a number" in network.strength().why
    assert "weak" in caplog.text


def test_an_output_that_is_all_rounding_does_not_refuse_a_sound_network():
    """Two ways to the same sum: on noise nothing is left but their rounding, a millionth of what
    an image brings."""
    weights = random(8, 3, 3, 3)
    network = model.load(
        nets.model(
            [
                node("Conv", "x big", "u", pads=[1, 1, 1, 1]),
                node("Transpose", "x", "t", perm=[0, 1, 3, 2]),
                node("Conv", "t turned", "v", pads=[1, 1, 1, 1]),
                node("Transpose", "v", "w", perm=[0, 1, 3, 2]),
                node("Sub", "u w", "rounding"),
                node("Conv", "x blur", "b", pads=[1, 1, 1, 1]),
                node("Sub", "b level", "above"),
                node("Relu", "above", "seen"),
                node("Add", "seen rounding", "y"),
            ],
            [IMAGE],
            ["y"],
            {"big": weights, "turned": weights.transpose(0, 1, 3, 2).copy(),
             "blur": np.full((8, 3, 3, 3), 1 / 27, np.float32), "level": np.float32(40)},
        )
    )  # fmt: skip
    assert network.strength().inputs == "photo-like, 0 to 255"
    assert network.tolerance < 1e-3
    for cut in network.cuts:
        assert network.split([cut])


def test_an_output_that_no_input_has_a_part_in_need_not_change():
    network = model.load(
        nets.model(
            [node("Conv", "x w", "y"), node("Shape", "x", "s"), node("Abs", "c", "z")],
            [tensor("x", [1, 3, 16, 16])],
            ["y", "s", "z"],
            {"w": random(4, 3, 3, 3), "c": random(5)},
        )
    )
    assert not network.strength().weak


def segmenter(dtype, classes=6):
    """Names a class for each place; some scores are close."""
    weights = {
        "w": random(12, 3, 3, 3) / 4,
        "v": random(classes, 12, 1, 1, seed=1) / 4,
        "b": random(classes, seed=2) / 8,
    }
    return nets.model(
        [
            node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
            node("Relu", "a", "h"),
            node("Conv", "h v b", "scores"),
            node("ArgMax", "scores", "labels", axis=1, keepdims=0),
            node("Cast", "labels", "y", to=6),
        ],
        [tensor("x", ["n", 3, 96, 96], dtype)],
        ["y"],
        {name: value.astype(dtype) for name, value in weights.items()},
    )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_labels_are_held_to_where_they_are_clear(dtype, monkeypatch):
    """As magnitudes they would be off by all of their range wherever two scores are close."""
    network = model.load(segmenter(dtype))
    assert not network.strength().weak
    apart = 0.0
    for cut in network.cuts:
        parts = network.split([cut])
        for case in network.cases():
            tensors = case.feeds
            for part in parts:
                tensors = part.run(tensors)
            apart = max(apart, proof.difference(case.expected["y"], tensors["y"]))
            assert case.difference("y", tensors["y"]) <= network.tolerance
            unclear = case.unclear["y"].mean()
            assert (0 < unclear < 0.5) if dtype == "float16" else unclear < 0.01
    if dtype == "float16":
        assert apart > network.tolerance
    honest = Part.run_on

    def off_by_one(part, session, feeds):
        made = honest(part, session, feeds)
        return {k: a if k != "y" else (a + 1) % 6 for k, a in made.items()}

    network = model.load(segmenter(dtype))
    monkeypatch.setattr(Part, "run_on", off_by_one)
    with pytest.raises(ProofError, match="in a share of"):
        network.split([2])


def test_a_part_that_does_not_load_is_not_handed_out(monkeypatch):
    network = model.load(nets.residual())
    honest = Part.session

    def refused(part):
        if part.range[0]:
            raise model.network.UnsupportedModelError("no such operator")
        return honest(part)

    monkeypatch.setattr(Part, "session", refused)
    with pytest.raises(ProofError, match="does not run: no such operator"):
        network.split([3])


def test_images_at_hand_make_a_weak_proof_strong():
    network = model.load(bright(1e6))
    images = (1e6 + 1e5 * np.abs(random(2, 3, 16, 16))).astype(np.float32)
    given = network.given([{"x": images[:1]}, {"x": images[1:]}])
    assert network.strength().weak
    assert not network.strength(given).weak
    assert network.strength(given).inputs.startswith("images of the calibration")
    dark = network.given([{"x": 0 * images[:1]}, {"x": 0 * images[1:]}])
    assert network.strength(dark).weak


def test_another_seed_gives_other_cases(tmp_path):
    network = model.load(nets.residual())
    first, again, others = network.cases(), network.cases(0), network.cases(1)
    assert first is again
    assert [len(case.feeds["x"]) for case in others] == [2, 1]
    for case in others:
        expected = network.run(case.feeds)
        assert case.difference("y", expected["y"]) <= network.tolerance
        assert not any(np.array_equal(case.feeds["x"], known.feeds["x"]) for known in first)
