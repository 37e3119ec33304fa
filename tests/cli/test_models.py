"""What is said of a network's inputs on the command line."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.model import nets
from tests.model.nets import node, tensor
from tests.model.test_branches import SWITCHED

from shoal.cli.entry import run
from shoal.cli.models import load_network, said
from shoal.errors import InputError, UsageError

OPEN = nets.model([node("Relu", "x", "y")], [tensor("x", ["n", 3, "h", "w"])], ["y"])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("open.onnx").write_bytes(OPEN)
    Path("switched.onnx").write_bytes(SWITCHED)
    np.save("image.npy", np.zeros((1, 3, 4, 6), np.float32))
    np.savez("image.npz", x=np.zeros((1, 3, 4, 6), np.float32))
    np.savez("empty.npz")
    np.save("rate.npy", np.array(16000))
    os.mkfifo("pipe")
    Path("8x8").write_bytes(Path("image.npy").read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("inputs", "shape"),
    [
        (["1x3x8x6"], (None, 3, 8, 6)),
        (["x=1x3x8x6"], (None, 3, 8, 6)),
        (["x=?x?x8x6"], (None, 3, 8, 6)),
        (["x=5x3x8x6"], (5, 3, 8, 6)),
        (["image.npy"], (None, 3, 4, 6)),
        (["image.npz"], (None, 3, 4, 6)),
        (["x=image.npy"], (None, 3, 4, 6)),
        (["image.npy", "1x3x4x6"], (None, 3, 4, 6)),
        (["8x8"], (None, 3, 4, 6)),  # a file of this name
    ],
)
def test_an_input_is_said_by_its_sizes_or_a_file(files: Path, inputs, shape) -> None:
    assert load_network("open.onnx", inputs).inputs[0].shape == shape


@pytest.mark.parametrize(
    ("inputs", "fixed", "error", "reason"),
    [
        (["1x3x8x6", "1x3x8x8"], [], UsageError, "of which inputs"),
        (["image.npy", "x=image.npy"], [], UsageError, "of which inputs"),
        (["x=1x3x8x6", "x=image.npy"], [], UsageError, "told of already"),
        (["x=image.npz"], [], UsageError, "without a name"),
        (["empty.npz"], [], InputError, "holds no array"),
        (["gone.npy"], [], InputError, "gone.npy"),
        (["x=gone.npy"], [], InputError, "gone.npy"),
        (["x="], [], UsageError, "write NAME=FILE or NAME=SIZES"),
        (["=1x3"], [], UsageError, "write NAME=FILE or NAME=SIZES"),
        (["x=1,3,8,6"], [], InputError, "no file '1,3,8,6'.*written like 1x3x640x640"),
        (["x=1X3"], [], InputError, "written like 1x3x640x640"),
        (["pipe"], [], InputError, "no file on a disk"),
        (["x=pipe"], [], InputError, "no file on a disk"),
        ([], ["x=pipe"], InputError, "no file on a disk"),
        ([], ["=1"], UsageError, "NAME=VALUE"),
        ([], ["x"], UsageError, "NAME=VALUE"),
        ([], ["x="], UsageError, "NAME=VALUE"),
        ([], ["x=1", "x=2"], UsageError, "once for each"),
        ([], ["x=gone.npy"], InputError, "gone.npy"),
    ],
)
def test_what_says_nothing_or_contradicts_itself_is_refused(
    files: Path, inputs: list[str], fixed: list[str], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        said(inputs, fixed)


def test_names_may_hold_signs() -> None:
    assert said(["a=b=1x2", "c:0=3x4"]).shapes == {"a=b": (1, 2), "c:0": (3, 4)}


@pytest.mark.parametrize("value", ["16000", "rate.npy"])
def test_an_input_has_a_value_for_good(files: Path, value: str) -> None:
    network = load_network("switched.onnx", None, [f"rate={value}"])
    assert [spec.name for spec in network.inputs] == ["x"]
    assert [each.op for each in network.nodes] == ["Add"]


def test_values_are_numbers_or_truths() -> None:
    found = said([], ["a=3", "b=-0.5", "c=true", "d=1e-3"]).values
    assert {name: (each.dtype.kind, each.item()) for name, each in found.items()} == {
        "a": ("i", 3),
        "b": ("f", -0.5),
        "c": ("b", True),
        "d": ("f", 1e-3),
    }


def test_commands_take_them(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands: list[list[Any]] = [
        ["inspect", "open.onnx", "--input", "1x3x8x6"],
        ["profile", "open.onnx", "--input", "x=1x3x8x6"],
        ["inspect", "switched.onnx", "--fix", "rate=8000"],
    ]
    for command in commands:
        assert run(command) == 0
    assert "batch, 3, 8, 6" in capsys.readouterr().out
    assert run(["inspect", "open.onnx"]) == 12
    assert "--input x=1x3x?x?" in capsys.readouterr().err
    assert run(["inspect", "open.onnx", "--input", "y=1x3x8x6"]) == 20


def test_a_network_of_free_size_is_planned_and_run_at_the_size_that_was_said(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_CACHE", str(files / "cache"))
    Path("cluster.yaml").write_text("devices: [{name: a, speed: 1.0}]\n")
    plan = ["plan", "open.onnx", "--cluster", "cluster.yaml", "--input", "1x3x4x6"]
    assert run([*plan, "--strategy", "local", "-o", "book.json"]) == 0
    ask = ["run", "book.json", "--cluster", "cluster.yaml", "--input", "image.npy"]
    assert run(ask) == 0
    simulate = ["simulate", "open.onnx", "--cluster", "cluster.yaml", "--devices", "1"]
    assert run([*simulate, "--seconds", "1", "--input", "x=1x3x4x6"]) == 0
    assert run(["simulate", "book.json", "--cluster", "cluster.yaml", "--input", "1x3x4x6"]) == 2
    assert "planning anew" in capsys.readouterr().err


def test_photos_become_inputs_as_the_file_beside_the_model_says(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mean is such that the largest channel is another one with it than without."""
    monkeypatch.setenv("SHOAL_CACHE", str(files / "cache"))
    Path("net.onnx").write_bytes(
        nets.model(
            [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "y")],
            [tensor("x", ["n", 3, 4, 6])],
            ["y"],
        )
    )
    Path("net.shoal.yaml").write_text("{mean: [0.9, 0, 0], labels: [red, green, blue]}")
    Path("cluster.yaml").write_text("devices: [{name: a, speed: 1.0}]\n")
    Image.new("RGB", (30, 20), (200, 100, 50)).save("a.png")
    plan = ["plan", "net.onnx", "--cluster", "cluster.yaml", "--strategy", "local"]
    assert run([*plan, "-o", "book.json"]) == 0
    assert run(["inspect", "net.onnx"]) == 0
    assert "[0.9, 0, 0]" in capsys.readouterr().out
    ask = ["run", "book.json", "--cluster", "cluster.yaml", "--images", "a.png"]
    assert run([*ask, "--json", "-o", "answers.npz"]) == 0
    with np.load("answers.npz") as answers:
        np.testing.assert_allclose(
            answers["y"], [[200 / 255 - 0.9, 100 / 255, 50 / 255]], rtol=1e-5
        )
    assert '"name":"green"' in capsys.readouterr().out
