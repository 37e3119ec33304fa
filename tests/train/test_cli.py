"""Trainings from the command line: what is not training."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.cli.entry import run
from shoal.cli.output import stderr
from shoal.errors import MissingExtraError
from shoal_train.checkpoint import FILE
from shoal_train.cli import _goes_on


def test_a_training_that_is_interrupted_says_how_it_goes_on(tmp_path, capsys):
    (tmp_path / FILE).touch()
    with pytest.raises(KeyboardInterrupt), _goes_on(stderr(), tmp_path):
        raise KeyboardInterrupt
    assert f"the same command goes on from {tmp_path / FILE}" in capsys.readouterr().err


def test_without_a_checkpoint_nothing_is_promised(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt), _goes_on(stderr(), tmp_path):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


def test_a_card_notes_the_command_with_all_that_was_set(monkeypatch, capsys):
    noted = []

    def trained(data, model, settings, out, *, command, **given):
        noted.append((out, command))
        return {}

    monkeypatch.setattr("shoal_train.datasets.load", lambda name, say: name)
    monkeypatch.setattr("shoal_train.classifier.train_classifier", trained)
    assert run(["train", "classifier", "--json", "--epochs", "2"]) == 0
    assert run(["train", "classifier", "--json", "--out", "a b", "--threads", "1"]) == 0
    words = "shoal train classifier --data fashion-mnist --model resnet"
    assert noted == [
        (Path("results/classifier"), f"{words} --epochs 2 --seed 7"),
        (Path("a b"), f"{words} --epochs 15 --seed 7 --threads 1 --out 'a b'"),
    ]


COMMANDS = (
    ["train", "classifier"],
    ["train", "fluid"],
    ["train", "exits", "a", "--data", "b", "-o", "c"],
    ["train", "runs", "a"],
    ["train", "failout", "a", "--devices", "2", "--data", "b", "--out", "c"],
    ["zoo", "get", "efficientnet-lite0"],
)


@pytest.mark.parametrize("package", ["torch", "onnxscript"])
def test_without_its_packages_the_error_says_what_to_install(package, tmp_path):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from shoal.cli.entry import run\n"
        f"print([run(words) for words in {COMMANDS!r}])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SHOAL_CACHE": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == f"{[MissingExtraError.exit_code] * len(COMMANDS)}\n"
    said = f"training needs the package {package}: pip install 'shoal[torch]'"
    assert found.stderr.count(said) == len(COMMANDS)
