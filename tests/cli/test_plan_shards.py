"""shoal plan --strategy shards: what a user gets for a mistake, and that it is told at once."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from tests.model.nets import model, node, tensor

from shoal import zoo
from shoal.cli.entry import run
from shoal.plan.playbook import load

DEVICES = "devices: [{name: a, address: '127.0.0.1:1'}, {name: b, address: '127.0.0.1:9'}]"
NETWORK = "fashion-resnet"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with cluster files of devices that are not there, images, and a network of nothing
    to deal."""
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(f"{DEVICES}\nwait_s: 0.1")
    Path("small.yaml").write_text(Path("c.yaml").read_text().replace("}", ", memory: 90 kB}"))
    samples = zoo.samples(NETWORK)
    images = samples.images[:80]
    for name, chosen in (("good", images), ("alike", images[samples.labels[:80] == 1])):
        Path(name).mkdir()
        np.save(f"{name}/some.npy", chosen)
    for name in ("none", "damaged", "wide"):
        Path(name).mkdir()
    Path("damaged/photo.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    np.save("wide/some.npy", np.zeros((3, 1, 28, 99), np.float32))
    Image.new("L", (40, 40)).save("damaged/good.png")
    squares = model([node("Mul", "x x", "y"), node("Relu", "y", "z")], [tensor("x", ["n", 8])], "z")
    onnx.save(squares, "squares.onnx")


def plan(words: str, model: str = NETWORK, cluster: str = "c.yaml") -> int:
    return run(["plan", model, "--cluster", cluster, "--strategy", "shards", *words.split()])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--survive 2", 40, "with 2 of 2 devices lost nobody is left to answer; ask for 1 at most"),
        ("--survive -1", 40, "-1 devices cannot be lost; write 0 or more"),
        ("--survive many", 2, "--survive"),
        ("--survive 1", 40, "give some with --calibrate FOLDER"),
        ("--rho 2", 40, "2 is no share; write 0 (nothing is held by all) to 1"),
        ("--calibrate nowhere", 25, "there is no folder"),
        ("--calibrate none", 25, "holds no images"),
        ("--calibrate damaged", 25, "photo.png"),
        ("--calibrate wide", 25, "[3, 1, 28, 99], the network takes float32 [1, 1, 28, 28]"),
        ("--calibrate alike", 25, "give images of several classes"),
        ("--calibrate good --min-accuracy 0.99", 40, "it takes 432 images"),
        ("--calibrate good --min-accuracy 0.8 --rho 0 --deal all", 40, "with that rho, 0."),
        ("--set rho=1", 2, "--set"),
    ],
)
def test_mistakes_are_told(
    words: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(words) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_what_is_no_network_or_no_room_for_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan("", model="squares.onnx") == 40
    assert "no layer that can be dealt; use another strategy" in capsys.readouterr().err
    assert plan("", cluster="small.yaml") == 40
    assert "for their shards: a needs" in capsys.readouterr().err


def test_a_limit_of_memory_is_kept_or_refused_with_what_would_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert plan("--max-memory much") == 2
    assert "--max-memory: 'much' is not a size; write it like 900 MiB" in capsys.readouterr().err
    assert plan("--memory-limit 90kB") == 40
    told = capsys.readouterr().err
    assert "for their shards: a needs" in told
    assert "and has 87.9 KiB for them" in told
    assert "raise a limit, add devices" in told
    assert plan("--deal all -o free.json") == 0
    needed = max(load("free.json").plans[0].forecast.memory.values())
    assert plan(f"--max-memory {0.9 * needed:.0f} -o tight.json") == 0
    assert max(load("tight.json").plans[0].forecast.memory.values()) <= 0.9 * needed


def test_without_images_all_may_hold_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan("--survive 1 --rho 1 -o book.json --explain") == 0
    shown = capsys.readouterr().out
    assert "nothing is missing with any device lost" in shown
    assert "any device" in shown
    missing = load("book.json").plans[0].forecast.missing
    assert [each.accuracy for each in missing] == [1.0, 1.0]
