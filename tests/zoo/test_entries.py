"""The zoo: what ships is whole, right, and says how it was made."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shoal import zoo
from shoal.errors import DataError, HashError, ShoalError, UsageError
from shoal.model.engine import Engine
from shoal.strategies.base import find_strategy
from shoal.zoo import entries
from shoal_train import datasets
from shoal_train.sources import FASHION_MNIST

SHIPPED = [name for name in zoo.names() if name not in entries.MADE]
NAME = "fashion-resnet"


def accuracy(name: str, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers of the ONNX file, in batches."""
    session = Engine(2).load(zoo.path(name).read_bytes(), {})
    right = 0
    for start in range(0, len(labels), 250):
        feeds = {session.inputs[0]: images[start : start + 250]}
        (logits,) = session.run(feeds).values()
        right += int((logits.argmax(1) == labels[start : start + 250]).sum())
    return right / len(labels)


def test_the_names() -> None:
    assert NAME in zoo.names()
    assert "efficientnet-lite0" in zoo.names()
    assert list(zoo.names()) == sorted(zoo.names())


@pytest.mark.parametrize("name", SHIPPED)
def test_every_file_is_the_one_that_the_card_describes(name: str) -> None:
    card = zoo.card(name)
    for file, about in card.files.items():
        assert zoo.path(name, file).stat().st_size == about.bytes
    there = {path.name for path in entries.folder(name).iterdir()}
    assert card.files.keys() <= there


@pytest.mark.parametrize("name", SHIPPED)
def test_nothing_that_ships_names_a_folder_of_the_machine_that_made_it(name: str) -> None:
    for path in entries.folder(name).iterdir():
        content = path.read_bytes()
        for trace in (b"/work", b"/tmp", b"/home", b"/root", b"site-packages"):
            assert trace not in content, path


def test_the_network_is_under_a_megabyte_and_says_how_it_was_made() -> None:
    card = zoo.card(NAME)
    assert card.files["model.onnx"].bytes < 1_000_000
    training = card.facts["training"]
    assert training["command"].startswith("shoal train classifier --data fashion-mnist ")
    assert f"--seed {training['seed']} " in training["command"]
    assert {"python", "torch", "onnx"} <= training["versions"].keys()
    log = zoo.path(NAME, "train.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in log]
    assert [row["epoch"] for row in rows] == list(range(1, training["epochs"] + 1))
    best = max(rows, key=lambda row: row["score"])
    assert best["epoch"] == training["best_epoch"]
    assert "MIT" in card.facts["data"]["licence"]


def test_the_network_is_right_about_at_least_92_percent_of_the_samples() -> None:
    samples = zoo.samples(NAME)
    assert accuracy(NAME, samples.images, samples.labels) >= 0.92


def test_the_network_is_as_right_as_its_card_says_about_all_test_images() -> None:
    card = zoo.card(NAME)
    assert card.test_top1 is not None
    assert card.test_top1 >= 0.92

    def no_download(text: str) -> None:
        pytest.skip("Fashion-MNIST is not on this machine (SHOAL_DATA, cache)")

    test = datasets.load("fashion-mnist", no_download).test
    images = test.images.astype(np.float32) / 255
    # One image more or less may go the other way on another CPU.
    assert accuracy(NAME, images, test.labels) == pytest.approx(card.test_top1, abs=3e-4)
    with np.load(zoo.path(NAME, "samples.npz"), allow_pickle=False) as stored:
        chosen = datasets.balanced(test.labels, 10, 50)
        np.testing.assert_array_equal(stored["positions"], chosen)
        np.testing.assert_array_equal(stored["images"], test.images[chosen])


def test_the_samples_are_balanced_and_ready_to_be_fed() -> None:
    samples = zoo.samples(NAME)
    assert len(samples) == 500
    assert samples.images.shape == (500, 1, 28, 28)
    assert samples.images.dtype == np.float32
    assert (samples.images.min(), samples.images.max()) == (0.0, 1.0)
    assert np.bincount(samples.labels).tolist() == [50] * 10
    assert samples.classes == FASHION_MNIST.classes
    feeds = list(samples.feeds())
    assert len(feeds) == 500
    assert {name: array.shape for name, array in feeds[0].items()} == {"image": (1, 1, 28, 28)}
    np.testing.assert_array_equal(samples.feed(3)["image"][0], samples.images[3])
    logits = np.zeros((1, 10))
    logits[0, samples.labels[3]] = 1
    assert samples.is_right(3, logits)
    assert not samples.is_right(3, -logits)


def test_unknown_names_and_files_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no network 'alexnet'.*fashion-resnet"):
        zoo.path("alexnet")
    with pytest.raises(UsageError, match=r"no file 'weights.bin'.*model.onnx"):
        zoo.path(NAME, "weights.bin")


def test_what_has_to_be_made_first_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path))
    assert not zoo.is_ready("efficientnet-lite0")
    with pytest.raises(DataError, match="run shoal zoo get efficientnet-lite0"):
        zoo.path("efficientnet-lite0")


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped network that may be damaged."""
    shutil.copytree(entries.SHIPPED / "fashion_resnet", tmp_path / "fashion_resnet")
    monkeypatch.setattr(entries, "SHIPPED", tmp_path)
    return tmp_path / "fashion_resnet"


def test_a_damaged_network_is_refused(copy: Path) -> None:
    path = copy / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(HashError, match="install Shoal again"):
        zoo.path(NAME)
    path.unlink()
    with pytest.raises(DataError, match="cannot read"):
        zoo.path(NAME)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'{"title": 1, "network": []}', b"\xff\xfe", bytes(2 << 20)]
)
def test_a_damaged_card_is_refused(copy: Path, content: bytes) -> None:
    (copy / "card.json").write_bytes(content)
    with pytest.raises(DataError, match=r"card\.json"):
        zoo.card(NAME)


def test_damaged_samples_are_refused(copy: Path) -> None:
    (copy / "samples.npz").write_bytes(b"PK\3\4 no zip")
    with pytest.raises(ShoalError):
        zoo.samples(NAME)


def test_a_folder_with_a_card_is_an_entry(copy: Path) -> None:
    copy.rename(copy.with_name("fluid_pair"))
    assert "fluid-pair" in zoo.names()
    assert zoo.card("fluid-pair").classes == FASHION_MNIST.classes
    (copy.with_name("fluid_pair") / "samples.npz").unlink()
    facts = json.loads((copy.with_name("fluid_pair") / "card.json").read_text())
    del facts["files"]["samples.npz"]
    (copy.with_name("fluid_pair") / "card.json").write_text(json.dumps(facts))
    with pytest.raises(UsageError, match="no labelled images"):
        zoo.samples("fluid-pair")


def test_the_zoo_is_light() -> None:
    code = (
        "import sys\nfrom shoal import zoo\nzoo.samples('fashion-resnet')\n"
        "print([n for n in ('torch', 'onnx', 'onnxruntime', 'PIL') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_what_a_network_is_here_to_show_is_a_strategy() -> None:
    assert set(zoo.SPREAD_BY) == set(SHIPPED)
    for strategy in (*zoo.SPREAD_BY.values(), *zoo.DEALT_BY.values()):
        assert find_strategy(strategy).name == strategy
