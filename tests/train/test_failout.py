"""Training for the loss of devices: what is missing while it learns, and what comes of it."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.model.shards.families import Net, fixed
from tests.train import tiny

from shoal import zoo
from shoal.cli.entry import run
from shoal.errors import DataError, UnsupportedModelError, UsageError
from shoal.model.network import load
from shoal.plan.cluster import Cluster
from shoal.strategies.shards.prepare import ShardOptions
from shoal.strategies.shards.trials import holes
from shoal_train import cli, seeding
from shoal_train.failout import losses, pictures
from shoal_train.failout.job import table_rows
from shoal_train.failout.losses import Failing
from shoal_train.failout.risk import Holes, Risk
from shoal_train.failout.train import measure, tune
from shoal_train.folder import fed
from shoal_train.graph import PartModule, onnx_bytes
from shoal_train.loop import Settings
from shoal_train.models import build
from shoal_train.tuning import batch_for, logits

THREE = Cluster.from_yaml("devices: [{name: a}, {name: b}, {name: c}]")
FASHION = str(zoo.path("fashion-resnet"))


@pytest.fixture(scope="module")
def network():
    return load(FASHION)


@pytest.fixture(scope="module")
def samples():
    return zoo.samples("fashion-resnet")


@pytest.fixture(scope="module")
def risk(network, samples):
    return Risk.of(network, THREE, 1, ShardOptions(rho=0.25), samples.images[:32])


@pytest.fixture(scope="module")
def masked(risk):
    return PartModule(risk.masked().part).eval()


@pytest.fixture(scope="module")
def failing(network, risk, masked):
    (whole,) = network.split((), prove=False)
    chance = seeding.generator(1, "failures")
    return Failing(PartModule(whole).eval(), "image", 1.0, risk.holes(masked), chance)


def test_what_is_missing_is_what_the_plan_measures(risk, masked, failing, samples):
    images = samples.images[:8]
    deck = risk.deck(risk.network)
    dealings = risk.dealings(deck)
    trials = deck.trials
    answered = []
    for number, lost in enumerate(((), *risk.sets)):
        keep, fill = holes(trials.points, dealings, lost, deck.means)
        (expected,) = risk.masked().run({"image": images}, keep, fill).values()
        with torch.inference_mode():
            found = failing.answers(masked, torch.from_numpy(images), number).numpy()
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
        answered.append(found)
    assert np.abs(answered[0] - answered[1]).max() > 0.1


def test_devices_get_shares_by_their_speeds(network, samples):
    cluster = Cluster.from_yaml("devices: [{name: a, speed: 3}, {name: b}]")
    risk = Risk.of(network, cluster, 1, ShardOptions(deal="inner"), samples.images[:4])
    assert risk.shares == pytest.approx((0.75, 0.25))
    assert risk.sets == ((0,), (1,))
    assert {region.op.value for region in risk.regions} == {"sum"}


def test_each_image_has_a_set_of_its_own_and_some_have_none(failing):
    drawn = failing.drawn(4000)
    shares = torch.bincount(drawn, minlength=4) / 4000
    assert shares.tolist() == pytest.approx([losses.WHOLE, *[(1 - losses.WHOLE) / 3] * 3], abs=0.03)


def test_with_nobody_lost_only_the_labels_are_left_of_the_loss(failing, masked, samples):
    images, labels = torch.from_numpy(samples.images[:8]), torch.from_numpy(samples.labels[:8])
    labels = labels.to(torch.int64)
    whole = {name: torch.cat([rows[:1]] * 2) for name, rows in failing.holes.rows.items()}
    alone = replace(failing, holes=Holes(whole))
    with torch.inference_mode():
        plain = torch.nn.functional.cross_entropy(failing.answers(masked, images, 0), labels)
        assert float(alone(masked, images, labels)) == pytest.approx(float(plain), abs=1e-4)
        assert float(failing(masked, images, labels)) > float(plain) + 0.01


def test_weights_without_bounds_are_an_error(failing, masked, samples):
    images = torch.full((2, 1, 28, 28), float("nan"))
    with pytest.raises(UsageError, match="ask for a lower --learning-rate"):
        failing(masked, images, torch.zeros(2, dtype=torch.int64))


def test_probabilities_are_made_scores_again():
    scores = torch.tensor([[1.0, 3.0, -2.0], [0.0, 0.5, 9.0]])
    assert torch.equal(logits(scores), scores)
    back = logits(torch.softmax(scores, 1))
    assert torch.allclose(torch.softmax(back, 1), torch.softmax(scores, 1), atol=1e-6)
    assert not torch.allclose(back, torch.softmax(scores, 1))


@pytest.fixture(scope="module")
def surfaces():
    """A data set, and a network that has learned it, of which up to two thirds may be missing."""
    data = tiny.data()
    torch.manual_seed(0)
    module = build("resnet", data)
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    images = torch.from_numpy(data.train.images).to(torch.float32) / 255
    labels = torch.from_numpy(data.train.labels)
    for _ in range(25):
        loss = torch.nn.functional.cross_entropy(module(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network = load(module.eval(), example=torch.ones(1, 1, tiny.SIDE, tiny.SIDE))
    judged = fed(data.train.images[:64], network.inputs[0])
    return data, Risk.of(network, THREE, 2, ShardOptions(rho=0.0), judged)


def test_more_is_kept_after_it_than_before(surfaces):
    data, risk = surfaces
    before = measure(risk, risk.network, data.test)
    tuned = tune(risk, data, Settings(4, 3, batch=40, learning_rate=0.01, weight_decay=0.0))
    after = measure(risk, tuned.network, data.test)
    assert before["mean"]["worst"] < 0.8
    assert after["mean"]["worst"] > before["mean"]["worst"] + 0.1
    assert after["alive"] >= before["alive"] - 0.05
    assert [node.op for node in tuned.network.nodes] == [node.op for node in risk.network.nodes]


def test_the_same_seed_gives_the_same_weights(surfaces):
    data, risk = surfaces
    settings = Settings(1, 3, batch=40, learning_rate=0.01, weight_decay=0.0)
    hashes = [tune(risk, data, settings).network.hash for _ in range(2)]
    assert hashes[0] == hashes[1] != risk.network.hash


def test_fewer_large_images_are_learned_from_at_once(network, monkeypatch):
    assert batch_for(network) == 128
    made = 4 * sum(
        a - b for a, b in zip(network.node_peak_bytes, network.crossing_bytes, strict=False)
    )
    monkeypatch.setattr("shoal_train.tuning.MOST_BYTES", 10 * made)
    assert batch_for(network) == 10
    monkeypatch.setattr("shoal_train.tuning.MOST_BYTES", 1)
    assert batch_for(network) == 1


# -- what is learned from


def write_photos(folder, count, side=28):
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    for number in range(count):
        pixels = chance.integers(0, 256, (side, side), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def test_photos_without_classes_are_labelled_by_the_network(network, tmp_path):
    write_photos(tmp_path, 9)
    data, own = pictures.load(f"images:{tmp_path}", network, 7)
    assert own
    assert (len(data.train), len(data.test)) == (5, 4)
    scores = pictures.answers(network, data.test.images)
    assert scores.argmax(axis=1).tolist() == data.test.labels.tolist()


def test_photos_in_folders_of_classes_have_those(network, tmp_path):
    for label in range(10):
        write_photos(tmp_path / str(label), 2)
    data, own = pictures.load(f"images:{tmp_path}", network, 7)
    assert not own
    both = [*data.train.labels.tolist(), *data.test.labels.tolist()]
    assert sorted(both) == sorted([*range(10)] * 2)


def test_folders_that_are_other_classes_to_the_network_are_refused(network, tmp_path, samples):
    for label in range(10):
        folder = tmp_path / str((label + 1) % 10)
        folder.mkdir()
        chosen = samples.images[samples.labels == label][:6]
        np.save(folder / "some.npy", np.rint(chosen * 255).astype(np.uint8))
    with pytest.raises(DataError, match="class 0 is its 9"):
        pictures.load(f"images:{tmp_path}", network, 7)


def test_images_of_another_size_are_refused(network, monkeypatch):
    monkeypatch.setattr("shoal_train.datasets.load", lambda name: tiny.data())
    with pytest.raises(
        DataError, match=r"has images of \[1, 12, 12\], the network takes \[1, 28, 28"
    ):
        pictures.load("surfaces", network, 7)


def test_other_classes_are_refused(surfaces, monkeypatch):
    _, risk = surfaces
    data = tiny.data()
    more = replace(data, classes=(*data.classes, "more"))
    monkeypatch.setattr("shoal_train.datasets.load", lambda name: more)
    with pytest.raises(DataError, match="has 5 classes, the network tells 4 apart"):
        pictures.load("surfaces", risk.network, 7)


def test_too_few_photos_are_refused(network, tmp_path):
    write_photos(tmp_path, 3)
    with pytest.raises(DataError, match="holds 3 images; give some hundreds"):
        pictures.load(f"images:{tmp_path}", network, 7)


def test_a_network_that_answers_no_classes_is_refused():
    with pytest.raises(UnsupportedModelError, match="what is trained here takes images"):
        pictures.load("mnist", fixed(), 7)


# -- the command


def command(*words: str) -> list[str]:
    return ["train", "failout", *words]


def test_the_command_writes_a_network_and_tells_before_and_after(tmp_path, capsys):
    write_photos(tmp_path / "photos", 24)
    out = tmp_path / "out.onnx"
    words = ["--devices", "3", "--epochs", "1", "--data", f"images:{tmp_path / 'photos'}"]
    named = command("fashion-resnet", *words, "--threads", "1", "-o", str(out), "--json")
    assert run(named) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["before"]["alive"] == 1.0
    assert found["counted"] == "answers as before"
    assert {"alive", "mean", "rebuilt"} == found["after"].keys()
    assert load(out).hash != load(FASHION).hash


def test_the_table_shows_what_is_right_before_and_after():
    state = {
        "alive": 0.9,
        "mean": {"mean": 0.5, "worst": 0.4},
        "rebuilt": {"mean": 0.7, "worst": 0.6},
    }
    better = {**state, "mean": {"mean": 0.8, "worst": 0.75}}
    found = {"survive": 2, "before": state, "after": better}
    assert list(table_rows(found)) == [
        ("none", "0.9000", "0.9000"),
        ("2, mean: mean", "0.5000", "0.8000"),
        ("2, mean: worst", "0.4000", "0.7500"),
        ("2, rebuilt: mean", "0.7000", "0.7000"),
        ("2, rebuilt: worst", "0.6000", "0.6000"),
    ]


def refused(capsys, *words: str) -> str:
    assert run(command(*words)) != 0
    return capsys.readouterr().err


def test_an_operator_that_is_not_there_is_refused_before_training(tmp_path, capsys):
    write_photos(tmp_path / "photos", 8, side=9)
    net = Net(channels=1)
    network = net.load(net.top(net.add("Softsign", net.conv("x", 1, 8)), 8))
    (tmp_path / "net.onnx").write_bytes(onnx_bytes(network.graph))
    words = ("--devices", "2", "--data", f"images:{tmp_path / 'photos'}", "-o", str(tmp_path / "o"))
    said = refused(capsys, str(tmp_path / "net.onnx"), *words)
    assert "Softsign 'softsign1' is not trained through" in said


def test_a_file_of_several_networks_is_refused(tmp_path, capsys):
    words = ("--devices", "2", "--data", "mnist", "-o", str(tmp_path / "out.onnx"))
    assert "holds several networks" in refused(capsys, str(zoo.path("mnist-fluid")), *words)


def test_what_does_not_go_together_is_refused_before_training(tmp_path, capsys):
    out = str(tmp_path / "out.onnx")
    base = (FASHION, "--data", "fashion-mnist", "-o", out)
    assert "--cluster FILE, or --devices N" in refused(capsys, *base)
    both = ("--devices", "3", "--cluster", "c.yaml")
    assert "--cluster FILE, or --devices N" in refused(capsys, *base, *both)
    assert "one must be left" in refused(capsys, *base, "--devices", "2", "--survive", "2")
    many = refused(capsys, *base, "--devices", "64", "--survive", "3")
    assert "43744 sets of devices that may be lost, and at most 500" in many
    assert "use all, or inner" in refused(capsys, *base, "--devices", "2", "--deal", "pays")
    assert "rho: 2 is no share" in refused(capsys, *base, "--devices", "2", "--rho", "2")
    assert "above 0" in refused(capsys, *base, "--devices", "2", "--learning-rate", "0")
    nowhere = (FASHION, "--data", "x", "--devices", "2", "-o", str(tmp_path / "no" / "out.onnx"))
    assert "there is no folder" in refused(capsys, *nowhere)
    unknown = (FASHION, "--data", "x", "--devices", "2", "-o", out)
    said = refused(capsys, *unknown)
    assert "there is no data set 'x'" in said
    assert "images:FOLDER" in said


def test_the_page_names_every_option_and_what_is_learned():
    page = (Path(__file__).resolve().parents[2] / "docs" / "shards.md").read_text(encoding="utf-8")
    section = page[page.index("## Training for losses") : page.index("## Options")]
    names = inspect.signature(cli.failout).parameters.keys() - {"context", "model", "out"}
    assert [name for name in names if f"`--{name.replace('_', '-')}" not in section] == []
    assert losses.WHOLE == 0.25
    assert "a quarter of them\nwith nobody lost" in section
    assert f"temperature {losses.TEMPERATURE:g}" in section
