"""How many wrong parts a proof catches: a fast part of ``shoal bench trust.proofs``."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.model import nets

import shoal.model as model
from shoal import zoo
from shoal.errors import ProofError
from shoal_benchmarks.trust import proofs
from shoal_benchmarks.trust.mutants import Count, count, mutants, places

NAME = "fashion-resnet"
GOAL = 95.0


@pytest.fixture(scope="module")
def images():
    samples = zoo.samples(NAME)
    return [samples.feed(index) for index in range(4)]


@pytest.fixture(scope="module")
def forms(images):
    whole = zoo.path(NAME).read_bytes()
    made = proofs.variants(whole, images)
    some = ("16-bit floats", "quantised (QDQ)", "quantised (dynamic)", "segmenter, 16-bit floats")
    return {"as it is": whole, "small": nets.residual(), **{name: made[name] for name in some}}


def test_a_mutant_is_the_part_with_one_weight_set_to_zero():
    network = model.load(nets.residual())
    first, _ = network.split([3])
    found = dict(mutants(first))
    weights = {tensor.name for tensor in onnx.ModelProto.FromString(first.graph).graph.initializer}
    assert set(found) == weights == {"w1", "b1", "w2"}
    feeds = network.probe()
    right = first.run(feeds)
    dark = found["w1"].run(feeds)
    model_ = onnx.ModelProto.FromString(first.graph)
    bias = next(numpy_helper.to_array(t) for t in model_.graph.initializer if t.name == "b1")
    assert np.allclose(dark["b"][0, :, 4, 4], np.maximum(bias, 0))
    assert not np.allclose(dark["b"], right["b"])
    assert np.array_equal(found["w2"].run(feeds)["b"], right["b"])


def test_a_weight_that_changes_nothing_is_idle_and_one_that_is_zero_is_left_out():
    """A bias that a rectifier hides, and one of zeros."""
    data = nets.model(
        [
            nets.node("Conv", "x w b", "a"),
            nets.node("Abs", "a", "h"),
            nets.node("Add", "h far", "i"),
            nets.node("Min", "i low", "j"),
            nets.node("Sum", "h j z", "y"),
        ],
        [nets.tensor("x", ["n", 2, 8, 8])],
        ["y"],
        {
            "w": nets.random(3, 2, 1, 1),
            "b": nets.random(3),
            "far": np.full((3, 8, 8), 1e6, np.float32),
            "low": np.full((3, 8, 8), -1.0, np.float32),
            "z": np.zeros((3, 8, 8), np.float32),
        },
    )
    found = count(model.load(data))
    assert set(found.caught) == {"w", "b", "low"}
    assert found.missed == found.idle == ["far"]
    assert found.share == 100


def test_parts_that_are_wrong_as_they_are_are_no_basis(monkeypatch):
    network = model.load(nets.residual())
    case = network.cases()[0]
    monkeypatch.setitem(case.expected, "y", case.expected["y"] + 1)
    with pytest.raises(ProofError):
        count(network)


def test_the_cuts_make_parts_of_about_as_many_nodes():
    network = model.load(zoo.path(NAME))
    assert places(network) == [8, 17, 25]


def test_a_proof_catches_nearly_all_weights_set_to_zero(forms, images):
    """A trained network in five forms, and a small one: every weight of every part. The bench has
    more forms and more networks."""
    total = Count()
    for name, data in forms.items():
        network = model.load(data, name=name)
        assert not network.strength().weak, name
        found = count(network, () if name in ("small", "16-bit floats") else images)
        assert found.share >= 85, (name, found.missed)
        total.caught += found.caught
        total.missed += found.missed
        total.idle += found.idle
    assert total.tried > 200
    assert total.share >= GOAL
