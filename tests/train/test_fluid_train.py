"""From a data set to a folder with a bundle, as ``shoal train fluid`` does it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train import tiny
from typer.testing import CliRunner

from shoal.errors import DataError, UnsupportedModelError, UsageError
from shoal.model.bundle import Variant, load_bundle
from shoal_benchmarks.fluid.accuracy import read_runs
from shoal_train import datasets
from shoal_train.cli import app
from shoal_train.fluid.recipe import Recipe, prepare
from shoal_train.fluid.train import train_fluid
from shoal_train.loop import Settings

FACTORY = """
from torch import nn

def small(shape, classes):
    return nn.Sequential(
        nn.Conv2d(shape[0], 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(128, classes),
    )

def nothing(shape, classes):
    return None

def broken(shape, classes):
    raise KeyError("oh")

def one_more(shape, classes):
    return small(shape, classes + 1)

number = 3
"""


@pytest.fixture
def surfaces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """``--data surfaces``, and a file with a network of one's own."""
    found = tiny.data(train=240, test=80)
    monkeypatch.setattr(datasets, "load", lambda name, say: found)
    (tmp_path / "mine.py").write_text(FACTORY)
    return tmp_path


def options(folder: Path, **changes: object) -> list[str]:
    chosen = {
        "data": "surfaces",
        "model": f"{folder / 'mine.py'}:small",
        "groups": "2",
        "epochs": 2,
        "seed": 3,
        "threads": 1,
        "out": folder / "out",
        **changes,
    }
    return [
        "fluid",
        *(word for name, value in chosen.items() for word in (f"--{name}", str(value))),
    ]


def invoke(words: list[str]) -> Any:
    before = torch.get_num_threads()
    try:
        return CliRunner().invoke(app, words, catch_exceptions=False)
    finally:
        torch.set_num_threads(before)


def test_the_command_leaves_a_bundle_a_card_a_log_curves_and_samples(surfaces: Path) -> None:
    done = invoke([*options(surfaces), "--json"])
    assert done.exit_code == 0
    out = surfaces / "out"
    card = json.loads((out / "card.json").read_text())
    assert json.loads(done.stdout) == card
    assert card["training"]["command"].startswith("shoal train fluid --data surfaces --model ")
    assert list(card["fluid"]["sub_networks"]) == ["L25", "L50", "C75", "U25", "U50", "C100"]
    bundle = load_bundle(out / "model.fluid")
    for packed in bundle.subnets:
        about = card["fluid"]["sub_networks"][packed.name]
        key = "apart_test_top1" if packed.variant is Variant.LOGITS else "test_top1"
        assert packed.accuracy == about[key]
    for name, about in card["files"].items():
        assert (out / name).stat().st_size == about["bytes"]
    rows = (out / "train.jsonl").read_text().splitlines()
    assert len(rows) == card["training"]["legs"] == 2
    assert (out / "checkpoint.pt").exists()
    pytest.importorskip("matplotlib")
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_names_every_sub_network(surfaces: Path) -> None:
    done = invoke(options(surfaces, kind="static", groups=3, epochs=1))
    assert done.exit_code == 0
    assert "1+2+3" in done.stdout
    assert "(not trained)" in done.stdout


def test_a_finished_training_is_not_repeated_and_gives_the_same_files(surfaces: Path) -> None:
    invoke(options(surfaces, epochs=1))
    first = (surfaces / "out" / "model.fluid").read_bytes()
    invoke(options(surfaces, epochs=1))
    assert (surfaces / "out" / "model.fluid").read_bytes() == first
    with pytest.raises(UsageError, match="another training"):
        invoke(options(surfaces, epochs=1, kind="slimmable"))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kind": "solid"}, "no kind"),
        ({"policy": "sideways"}, "no policy"),
        ({"groups": "1"}, "1 groups"),
        ({"model": "alexnet"}, "no model 'alexnet'"),
        ({"model": "nowhere.py:small"}, "no Python file"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    surfaces: Path, changes: dict[str, str], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        invoke(options(surfaces, **changes))


def test_a_file_of_ones_own_must_hold_a_factory_of_a_network(surfaces: Path) -> None:
    data, settings = tiny.data(), Settings(1, 3)
    mine = surfaces / "mine.py"
    for factory, why in (
        ("number", "no function"),
        ("nothing", "NoneType"),
        ("broken", "KeyError: 'oh'"),
        ("one_more", r"gives \[5\] for an image, but surfaces has 4 classes"),
    ):
        with pytest.raises(UsageError, match=why):
            prepare(data, Recipe(f"{mine}:{factory}", "2"), settings)
    mine.write_text("raise ValueError('oh')")
    with pytest.raises(UsageError, match="ValueError: oh"):
        prepare(data, Recipe(f"{mine}:small", "2"), settings)
    mine.write_text(FACTORY.replace(" 8, 3", " 5, 3").replace("128", "80"))
    with pytest.raises(UnsupportedModelError, match="channels"):
        prepare(data, Recipe(f"{mine}:small", "8"), settings)


def test_it_says_which_sub_networks_get_no_turn(surfaces: Path) -> None:
    """240 images are one batch, so that an epoch is one step: too few for a ladder of four."""
    done = invoke(options(surfaces, kind="dynamic", epochs=1))
    assert "too few steps for a turn of C75, L25, L50: not trained" in done.stderr
    card = json.loads((surfaces / "out" / "card.json").read_text())
    trained = {name for name, about in card["fluid"]["sub_networks"].items() if about["trained"]}
    assert trained == {"C100"}


def test_cuda_that_is_not_there_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    training = prepare(tiny.data(), Recipe("cnn", "2"), Settings(1, 3))
    with pytest.raises(UsageError, match="no CUDA device"):
        train_fluid(training, tmp_path, device="cuda")


def test_trainings_are_gathered_in_one_file_for_the_bench(surfaces: Path) -> None:
    folders = []
    for kind in ("static", "fluid"):
        folders.append(str(surfaces / kind))
        invoke(options(surfaces, kind=kind, epochs=1, out=folders[-1]))
    done = invoke(["runs", *folders, "--out", str(surfaces / "runs.json")])
    assert done.exit_code == 0
    fluid, static = read_runs(surfaces / "runs.json")
    assert (fluid.kind, static.kind) == ("fluid", "static")
    assert (fluid.data, fluid.owners, fluid.seed, fluid.images) == ("surfaces", 2, 3, 80)
    assert fluid.accuracy.keys() == static.accuracy.keys()
    assert fluid.apart.keys() == {"C100"}
    (surfaces / "fluid" / "card.json").write_text("{}")
    with pytest.raises(DataError, match="not the card"):
        invoke(["runs", *folders])
    with pytest.raises(DataError, match="cannot read"):
        invoke(["runs", str(surfaces / "nowhere")])
