"""The command from end to end, on tiny data: what it leaves behind is fit for the zoo."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.train import tiny
from torch import nn
from typer.testing import CliRunner

from shoal.errors import UsageError
from shoal.model.engine import Engine
from shoal.zoo.card import read_card
from shoal_train import models
from shoal_train.classifier import answers
from shoal_train.cli import app
from shoal_train.sources import SOURCES

COMMAND = ("classifier", "--data", "surfaces", "--epochs", "2", "--seed", "7", "--threads", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that one training left behind."""
    root = tmp_path_factory.mktemp("classifier")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "surfaces", tiny.write_source(root / "surfaces"))
        patch.setenv("SHOAL_DATA", str(root))
        done = CliRunner().invoke(app, [*COMMAND, "--out", str(root / "out")])
    assert done.exit_code == 0, done.output
    assert "test accuracy" in done.stdout
    assert "epoch   2/2" in done.stderr
    return root / "out"


def facts(folder: Path) -> Any:
    return json.loads((folder / "card.json").read_text())


def test_it_leaves_five_files(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.json",
        "checkpoint.pt",
        "model.onnx",
        "samples.npz",
        "train.jsonl",
    ]


def test_the_card_says_how_it_was_made(folder: Path) -> None:
    card = facts(folder)
    training = card["training"]
    assert training["command"] == (
        "shoal train classifier --data surfaces --model resnet --epochs 2 --seed 7 --threads 1 "
        f"--out {folder}"
    )
    assert (training["seed"], training["epochs"], training["threads"]) == (7, 2, 1)
    assert {"python", "torch", "onnx", "shoal"} <= training["versions"].keys()
    assert card["data"]["sha256"] == tiny.data().sha256
    assert card["data"]["train_images"] + card["accuracy"]["validation_images"] == 240
    for name, about in card["files"].items():
        content = (folder / name).read_bytes()
        assert about == {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }


def test_the_zoo_can_read_the_card(folder: Path) -> None:
    card = read_card("surfaces", folder / "card.json")
    assert card.classes == tiny.CLASSES
    assert (card.input_name, card.input_shape) == ("image", (None, 1, 12, 12))
    assert card.test_top1 == facts(folder)["accuracy"]["test_top1"]


def test_the_accuracy_is_that_of_the_file(folder: Path) -> None:
    test = tiny.data().test
    logits = answers(folder / "model.onnx", test.images, threads=1, batch=7)
    right = float((logits.argmax(1) == test.labels).mean())
    assert facts(folder)["accuracy"]["test_top1"] == right


def test_the_samples_are_the_first_of_each_class(folder: Path) -> None:
    test = tiny.data().test
    with np.load(folder / "samples.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["images"], test.images[stored["positions"]])
        np.testing.assert_array_equal(stored["labels"], test.labels[stored["positions"]])
        assert len(stored["labels"]) == 80


def test_running_it_again_trains_nothing_and_gives_the_same_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = facts(folder)
    monkeypatch.setattr("shoal_train.datasets.load", lambda *_: tiny.data())
    done = CliRunner().invoke(app, [*COMMAND, "--out", str(folder), "--json"])
    assert done.exit_code == 0, done.output
    card = json.loads(done.stdout)
    assert "epoch " not in done.stderr.replace("epoch 0/", "")
    assert card["files"] == before["files"]
    assert card["training"]["seconds"] == before["training"]["seconds"]


def test_the_session_runs_one_image_at_a_time(folder: Path) -> None:
    session = Engine().load((folder / "model.onnx").read_bytes(), {})
    (logits,) = session.run({"image": np.zeros((1, 1, 12, 12), np.float32)}).values()
    assert logits.shape == (1, 4)


def test_a_vgg_has_eleven_layers_with_weights_and_gives_a_logit_for_each_class() -> None:
    vgg = models.Vgg(models.Normalise([0.3], [0.35]), (1, 28, 20), 5, 4)
    kinds = [type(module) for module in vgg.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.Linear)) == (8, 3)
    assert vgg(torch.rand(3, 1, 28, 20)).shape == (3, 5)


def test_a_vgg_is_refused_where_nothing_would_be_left_of_an_image() -> None:
    with pytest.raises(UsageError, match="12x12: give larger ones, from 16x16"):
        models.build("vgg", tiny.data())


def test_unknown_models_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no model 'alexnet'.*resnet"):
        models.build("alexnet", tiny.data())
