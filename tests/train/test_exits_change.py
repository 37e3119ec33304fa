"""Networks that are changed for their exits: trained together with them, or narrowed at cuts."""

import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.model import nets
from tests.train import tiny
from tests.train.test_exits import arrays, at_home, classifier  # noqa: F401  # at_home is a fixture

import shoal
from shoal.cli.entry import run
from shoal.errors import CutError, UnsupportedModelError, UsageError
from shoal.model.network import Network
from shoal_train import cli
from shoal_train.exits import change, together
from shoal_train.exits import job as working
from shoal_train.exits.bottleneck import Scatter, inserted, widths
from shoal_train.exits.change import checked
from shoal_train.exits.together import Learned, Together, train
from shoal_train.graph import PartModule, onnx_bytes
from shoal_train.loop import Settings
from shoal_train.material import Material
from shoal_train.tuning import module_of


def quiet(*_: object) -> None:
    """Tell nobody."""


def cut_of(network: Network, name: str):
    return next(cut for cut in network.cuts if cut.names == (name,))


def asked(home: Path, *words: str, data: str = "fashion-mnist", net: str = "net.onnx") -> list[str]:
    given = ["train", "exits", str(home / net), "--data", data, "-o", str(home / "out.onnx")]
    return [*given, *words]


# -- a narrow codec


def rotated(count: int, channels: int, kept: int, seed: int = 0) -> np.ndarray:
    """Rows (count, channels, 2, 3) around a mean, which vary along ``kept`` directions only."""
    chance = np.random.default_rng(seed)
    rows = chance.normal(size=(count, 2, 3, kept)) @ chance.normal(size=(kept, channels))
    return np.moveaxis(rows + chance.normal(size=channels), -1, 1).astype(np.float32)


def test_directions_are_those_along_which_channels_vary_most() -> None:
    rows = rotated(40, 5, 3)
    scatter = Scatter(5)
    for start in range(0, 40, 7):
        scatter.add(rows[start : start + 7])
    flat = np.moveaxis(rows, 1, -1).reshape(-1, 5)
    np.testing.assert_allclose(scatter.mean, flat.mean(axis=0), atol=1e-5)
    three, two = scatter.components(3), scatter.components(2)
    np.testing.assert_allclose(three @ three.T, np.eye(3), atol=1e-9)
    apart = flat - scatter.mean
    np.testing.assert_allclose(apart @ three.T @ three, apart, atol=1e-4)
    lost = np.square(apart - apart @ two.T @ two).sum()
    least = np.linalg.svd(apart, compute_uv=False)[2] ** 2
    assert lost == pytest.approx(least, rel=1e-3)


def low_rank(rectified: bool) -> Network:
    """A network whose tensor ``t`` has six channels that vary along two directions."""
    pair = nets.random(6, 2, seed=1) @ nets.random(2, 1, seed=2)
    nodes = [
        nets.node("Conv", "x w1 b1", "s" if rectified else "t"),
        *([nets.node("Clip", "s low high", "t")] if rectified else []),
        nets.node("GlobalAveragePool", "t", "e"),
        nets.node("Flatten", "e", "f"),
        nets.node("Gemm", "f w2", "y"),
    ]
    weights = {
        "w1": pair.reshape(6, 1, 1, 1),
        "b1": nets.random(6, seed=3),
        "w2": nets.random(6, 4, seed=4),
        "low": np.float32(-0.5),
        "high": np.float32(0.5),
    }
    return shoal.load(nets.model(nodes, [nets.tensor("x", ["n", 1, 4, 4])], ["y"], weights))


def narrowed(network: Network, left: int) -> tuple[Network, str]:
    """With the codec that follows from made-up images, not trained."""
    cut = cut_of(network, "t")
    scatter = Scatter(6)
    feeds = network.probe(batch=50)
    before, _ = network.split([cut])
    scatter.add(before.run(feeds)["t"])
    graph = network.graph.copy()
    (codec,) = inserted(graph, network, [cut], [left], [scatter])
    return shoal.load(onnx_bytes(graph)), codec.narrow


def test_a_codec_loses_nothing_where_few_channels_say_all() -> None:
    network = low_rank(rectified=False)
    made, narrow = narrowed(network, 2)
    feeds = network.probe(3, batch=4)
    np.testing.assert_allclose(made.run(feeds)["y"], network.run(feeds)["y"], atol=1e-4)
    assert cut_of(made, narrow).tensors[0].shape == (None, 2, 4, 4)
    assert cut_of(made, narrow).bytes * 3 == cut_of(network, "t").bytes


def test_what_was_in_bounds_is_so_behind_the_codec() -> None:
    network = low_rank(rectified=True)
    made, narrow = narrowed(network, 1)
    assert [node.op for node in made.nodes][:5] == ["Conv", "Clip", "Conv", "Conv", "Clip"]
    (_, after) = made.split([cut_of(made, narrow)])
    graph = made.graph.copy()
    (back,) = [node.output[0] for node in graph.nodes if node.op_type == "Clip"][1:]
    graph.outputs = (back,)
    found = Network(graph, "back").run(made.probe(1, batch=5))[back]
    assert np.abs(found).max() <= 0.5
    assert after.run({narrow: np.ones((1, 1, 4, 4), np.float32)})["y"].shape == (1, 4)


def test_a_quarter_of_the_channels_is_left_unless_it_is_said() -> None:
    network = shoal.load(classifier())
    cuts = [cut_of(network, "b"), cut_of(network, "d")]
    assert widths(network, cuts, "auto") == [1, 2]
    assert widths(network, cuts, "5") == [5, 5]
    assert widths(network, [cuts[1]], "7") == [7]


@pytest.mark.parametrize("words", ["0", "-1", "2.5", "some", "", "٣", "9" * 5000])
def test_no_number_of_channels_is_refused(words: str) -> None:
    network = shoal.load(classifier())
    with pytest.raises(UsageError, match=r"--bottleneck"):
        widths(network, [cut_of(network, "b")], words)


def test_as_many_channels_as_there_are_narrow_nothing() -> None:
    network = shoal.load(classifier())
    cuts = [cut_of(network, "b"), cut_of(network, "d")]
    with pytest.raises(UsageError, match=r"'b' at 2 .* fewer than 6 are possible"):
        widths(network, cuts, "6")
    first = next(cut for cut in network.cuts if cut.tensors[0].shape[1] == 6)
    one = replace_shape(first, (None, 1, 12, 12))
    with pytest.raises(UsageError, match="fewer than 1 are possible"):
        widths(network, [one], "auto")


def replace_shape(cut, shape):
    (spec,) = cut.tensors
    return type(cut)(cut.at, (type(spec)(spec.name, spec.dtype, shape),), cut.bytes)


def test_a_tensor_without_channels_first_is_refused() -> None:
    network = shoal.load(classifier())
    with pytest.raises(CutError, match=r"'f' at 6 has the shape \[None, 8\]"):
        widths(network, [cut_of(network, "f")], "2")
    tokens = [nets.node("MatMul", "x w", "t"), nets.node("Relu", "t", "u")]
    tokens += [nets.node("ReduceMean", "u", "f", axes=[1], keepdims=0)]
    tokens += [nets.node("Gemm", "f v", "y")]
    weights = {"w": nets.random(6, 5), "v": nets.random(5, 3)}
    made = nets.model(tokens, [nets.tensor("x", ["n", 7, 6])], ["y"], weights)
    network = shoal.load(made)
    with pytest.raises(CutError, match="channels first"):
        widths(network, [cut_of(network, "u")], "2")


# -- what is learned


def of_numbers(exits: int, labelled: bool) -> Together:
    teacher = PartModule(shoal.load(classifier()).split((), prove=False)[0])
    return Together(teacher, "x", 1.0, exits, labelled)


class Made(torch.nn.Module):
    """A module that gives what it was made with."""

    def __init__(self, *outputs: torch.Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, given):
        return self.outputs


def test_the_loss_is_the_sum_over_exits_and_the_end() -> None:
    chance = torch.Generator().manual_seed(1)
    end, first, wide = (torch.randn(3, 4, generator=chance) for _ in range(3))
    images, labels = torch.rand(3, 1, 12, 12), torch.tensor([0, 1, 3])
    objective = of_numbers(1, labelled=True)
    (own,) = objective.teacher({"x": images})
    shares = own.detach().softmax(1)
    wanted = together.OWN * shares + (1 - together.OWN) * torch.eye(4)[labels]
    entropies = [-(wanted * each.log_softmax(1)).sum(1).mean() for each in (end, first)]
    found = objective(Made(end, first), images, labels)
    assert float(found) == pytest.approx(float(entropies[0] + together.EXIT * entropies[1]), 1e-5)
    # Without labels it is the network's own answers alone.
    alone = replace(objective, labelled=False, exits=0)(Made(end), images, labels)
    assert float(alone) == pytest.approx(float(-(shares * end.log_softmax(1)).sum(1).mean()), 1e-5)
    # A codec that gives back half of what it was given has lost a quarter of its square.
    codec = objective(Made(end, first, wide, wide / 2), images, labels)
    assert float(codec - found) == pytest.approx(together.KEPT * 0.25, rel=1e-4)


def test_weights_without_bounds_are_an_error() -> None:
    bad = torch.full((2, 4), float("nan"))
    with pytest.raises(UsageError, match="ask for a lower --learning-rate"):
        of_numbers(0, labelled=False)(Made(bad), torch.rand(2, 1, 12, 12), torch.zeros(2).long())


def test_a_codec_learns_and_the_rest_of_the_network_stays() -> None:
    network = shoal.load(classifier())
    cut = cut_of(network, "d")
    images = tiny.split(160, 5).images
    own = network.run({"x": images / np.float32(255)})["y"].argmax(axis=1)
    noise = Scatter(8)
    noise.add(np.random.default_rng(0).normal(1, 1, (9, 8, 2, 2)))
    graph = network.graph.copy()
    codecs = inserted(graph, network, [cut], [4], [noise])
    learned = Learned(graph, (), codecs, codecs[0].weights)
    settings = Settings(8, 1, batch=16, learning_rate=0.01)
    some, answers = torch.from_numpy(images), torch.from_numpy(own)
    material = Material(some[:120], answers[:120], some[120:], answers[120:])

    def agreed(weights) -> float:
        graph.weights |= weights
        made = Network(graph.copy(), "narrow")
        return float((made.run({"x": images / np.float32(255)})["y"].argmax(axis=1) == own).mean())

    before = agreed({})
    found = train(network, learned, material, False, settings, quiet)
    assert found.keys() == set(codecs[0].weights)
    assert before < 0.6
    assert agreed(found) > 0.9


def test_weights_stay_where_training_only_harms(caplog) -> None:
    network = shoal.load(classifier())
    images = torch.from_numpy(tiny.split(80, 5).images)
    own = network.run({"x": images.numpy() / np.float32(255)})["y"].argmax(axis=1)
    learned = Learned(network.graph.copy(), (), (), None)
    settings = Settings(1, 1, batch=16, learning_rate=2.0)
    answers = torch.from_numpy(own)
    material = Material(images, answers, images, answers)
    found = train(network, learned, material, False, settings, quiet)
    assert {name: weight.hash for name, weight in found.items()} == {
        name: network.graph.weights[name].hash for name in found
    }
    assert "so weights stay; ask for a lower --learning-rate" in caplog.text


# -- the command


def test_a_network_learns_together_with_its_exits(at_home: Path, capsys) -> None:  # noqa: F811
    words = asked(at_home, "--at", "2,4", "--joint", "--learning-rate", "0.01", "--epochs", "6")
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    made, plain = shoal.load(at_home / "out.onnx"), shoal.load(classifier())
    assert found["before"] < 0.8 < min(found["accuracy"], *(e["accuracy"] for e in found["exits"]))
    assert found["against"] == made.exits.against == "labels"
    assert made.exits.afters == ("b", "d")
    assert [node.op for node in made.nodes] == [node.op for node in plain.nodes]
    assert made.hash != plain.hash
    assert [each["bytes"] for each in found["exits"]] == [
        each["wide_bytes"] for each in found["exits"]
    ]


def test_without_labels_it_is_held_against_what_it_answered_before(at_home: Path, capsys) -> None:  # noqa: F811
    folder = arrays(at_home / "some", 300)
    words = asked(at_home, "--at", "4", "--joint", "--epochs", "4", data=f"images:{folder}")
    assert run(words) == 0
    assert "the network answered 100.00 % rightly before" in " ".join(
        capsys.readouterr().out.split()
    )
    made = shoal.load(at_home / "out.onnx")
    assert made.exits.against == "original"
    assert "trained from" in made.exits.truth
    plain = shoal.load(classifier())
    images = {"x": tiny.split(120, 8).images / np.float32(255)}
    same = made.run(images)["y"].argmax(axis=1) == plain.run(images)["y"].argmax(axis=1)
    assert same.mean() > 0.9


@pytest.mark.parametrize("joint", [False, True])
def test_what_crosses_is_narrow(joint: bool, at_home: Path, capsys) -> None:  # noqa: F811
    words = asked(at_home, "--at", "2,4", "--bottleneck", "auto", "--epochs", "3")
    assert run([*words, *(["--joint"] if joint else []), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    made, plain = shoal.load(at_home / "out.onnx"), shoal.load(classifier())
    first, second = found["exits"]
    assert (first["channels"], first["wide_channels"]) == (1, 6)
    assert (second["channels"], second["wide_channels"]) == (2, 8)
    assert (6 * first["bytes"], 4 * second["bytes"]) == (
        cut_of(plain, "b").bytes,
        cut_of(plain, "d").bytes,
    )
    for each in found["exits"]:
        cut = cut_of(made, each["after"])
        assert (cut.at, cut.bytes) == (each["at"], each["bytes"])
    shared = plain.graph.weights.keys() & made.graph.weights.keys()
    changed = {n for n in shared if plain.graph.weights[n].hash != made.graph.weights[n].hash}
    assert shared == plain.graph.weights.keys()
    assert bool(changed) == joint
    assert run(["inspect", str(at_home / "out.onnx"), "--cuts"]) == 0
    assert "b_narrow_0" in capsys.readouterr().out


def test_the_tables_tell_what_crosses_and_what_became_of_the_end(at_home: Path, capsys) -> None:  # noqa: F811
    assert run(asked(at_home, "--at", "4", "--bottleneck", "2", "--epochs", "1")) == 0
    said = capsys.readouterr().out
    assert "what crosses for an image" in said
    assert "rightly before, now" in " ".join(said.split())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--bottleneck", "0"], 2, "a number of channels from 1, or auto"),
        (["--bottleneck", "many"], 2, "a number of channels from 1, or auto"),
        (["--bottleneck", "6"], 2, "fewer than 6 are possible"),
        (["--bottleneck", "2", "--at", "6"], 13, "channels first"),
        (["--joint", "--learning-rate", "0"], 2, "above 0"),
    ],
)
def test_bad_input_is_one_line(words, code, said, at_home: Path, capsys) -> None:  # noqa: F811
    words = words if "--at" in words else [*words, "--at", "2"]
    assert run(asked(at_home, *words)) == code
    err = capsys.readouterr().err
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert not (at_home / "out.onnx").exists()


def test_a_network_that_is_not_trained_here_is_refused_before_data_is_read(
    at_home: Path,  # noqa: F811
    monkeypatch,
) -> None:
    monkeypatch.setattr(working, "gather", lambda *_: pytest.fail("it was read"))
    nodes = [nets.node("Conv", "x w", "a"), nets.node("Softsign", "a", "b")]
    nodes += [nets.node("GlobalAveragePool", "b", "c"), nets.node("Flatten", "c", "d")]
    nodes += [nets.node("Gemm", "d v", "y")]
    weights = {"w": nets.random(4, 1, 3, 3), "v": nets.random(4, 3)}
    other = nets.model(nodes, [nets.tensor("x", ["n", 1, 8, 8])], ["y"], weights)
    for changes in ({"joint": True}, {"bottleneck": "2"}):
        job = working.Job(shoal.load(other), at_home / "out.onnx", "mnist", "2", **changes)
        with pytest.raises(UnsupportedModelError, match="is not trained through"):
            working.run(job, quiet)
    job = working.Job(shoal.load(classifier(batch=1)), at_home / "o", "mnist", "2", joint=True)
    with pytest.raises(UnsupportedModelError, match="export it with a free batch"):
        working.run(job, quiet)


def test_a_head_that_is_not_trained_through_is_refused_too() -> None:
    nodes = [nets.node("Conv", "x w", "t"), nets.node("Flatten", "t", "f")]
    nodes += [nets.node("Gemm", "f v", "y")]
    weights = {"w": nets.random(5, 3, 2), "v": nets.random(50, 4)}
    network = shoal.load(nets.model(nodes, [nets.tensor("x", ["n", 3, 11])], ["y"], weights))
    module_of(network)
    with pytest.raises(UnsupportedModelError, match=r"AveragePool .* is not of two axes"):
        checked(network, [cut_of(network, "t")], True, 2, None)
    assert checked(network, [cut_of(network, "t")], False, 2, "3") == (3,)


def test_few_images_begin_a_codec(at_home: Path, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr(change, "SAMPLED", 2)
    job = working.Job(
        shoal.load(classifier()), at_home / "o.onnx", "fashion-mnist", "4", epochs=1,
        bottleneck="7",
    )  # fmt: skip
    trained = working.run(job, quiet)
    assert trained.place.cuts[0].tensors[0].shape[1] == 7


def test_the_page_names_every_option() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "exits.md").read_text(encoding="utf-8")
    names = inspect.signature(cli.exits).parameters.keys() - {"model", "out", "inputs", "fixed"}
    assert [name for name in names if f"`--{name.replace('_', '-')}" not in page] == []
