"""Whatever files and tensors are called: commands work, or say in words why not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.model import nets
from tests.model.nets import node, tensor

from shoal.cli.entry import run
from shoal.cli.output import printable

NAMES = [
    "con", "__proto__", "a b", "a/b", "a\nb", "\x1b[31mred", "ünïcødé 🐟", "x" * 240, "[red]",
    "[/]", ":smile:", "file", "arr_0", "..", "%s{}", "a=b;c%3B", "t0_0", "x0", "batch", "'\"",
]  # fmt: skip
CLUSTER = """
gateway: {name: here, compute: true}
devices:
  - {name: there}
"""


def network(given="I", made="O", between="M", weight="W") -> bytes:
    multiply, relu = node("Mul", "I W", "M"), node("Relu", "M", "O")
    multiply.input[:], multiply.output[:] = [given, weight], [between]
    relu.input[:], relu.output[:] = [between], [made]
    values = {weight: np.float32([1, 2, 3, 4])}
    return nets.model([multiply, relu], [tensor(given, ["n", 4])], [made], values)


def outcome(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit code, which is never that of a bug, and all that is printed: nothing that a terminal
    would obey."""
    code = run([str(word) for word in words])
    out, err = capsys.readouterr()
    assert code != 99, err
    assert "Traceback" not in err
    assert "\x1b" not in out + err
    return code, out + err


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", ["given", "made", "between", "weight"])
def test_tensors_may_be_called_as_they_like(
    which: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, cluster, book = tmp_path / "m.onnx", tmp_path / "c.yaml", tmp_path / "p.json"
    path.write_bytes(network(**{which: name}))
    cluster.write_text(CLUSTER)
    code, text = outcome(capsys, "inspect", path, "--cuts", "--plot")
    assert code == 0
    if which != "weight" and len(name) < 50:
        assert printable(name).replace("\n", "\\n") in text
    code, text = outcome(capsys, "inspect", path, "--json")
    assert json.loads(text)["inputs"][0]["name"] == (name if which == "given" else "I")
    plan = ("plan", path, "--cluster", cluster, "--strategy", "local", "-o", book)
    code, text = outcome(capsys, *plan)
    shown = name.isprintable() or which in ("between", "weight")
    assert (code == 0) if shown else (code == 40 and "cannot be shown" in text)


@pytest.mark.parametrize("name", [name for name in NAMES if "/" not in name and name != ".."])
def test_files_may_be_called_as_they_like(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, cluster = tmp_path / f"{name}.onnx", tmp_path / "c.yaml"
    path.write_bytes(network())
    cluster.write_text(CLUSTER)
    for command in ("inspect", "profile"):
        code, text = outcome(capsys, command, path)
        assert code == 0
        assert (name if name.isprintable() and len(name) < 50 else "?") in text or len(name) > 99
    book = tmp_path / f"{name}.json"
    code, text = outcome(capsys, "plan", path, "--cluster", cluster, "-o", book)
    assert code == 0, text
    assert book.is_file()
    code, text = outcome(capsys, "inspect", f"{path}.not")
    assert code == 11
    assert len(text) < 600
    assert outcome(capsys, "run", path, "--cluster", cluster, "--input", path)[0] == 40


def test_a_name_that_is_no_text_is_shown_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, book = (tmp_path / os.fsdecode(b"\xff\xfe" + end) for end in (b".onnx", b".json"))
    path.write_bytes(network())
    (tmp_path / "c.yaml").write_text(CLUSTER)
    assert outcome(capsys, "inspect", path)[0] == 0
    assert outcome(capsys, "inspect", path, "--json")[0] == 0
    plan = ("plan", path, "--cluster", tmp_path / "c.yaml", "-o", book, "--json")
    code, text = outcome(capsys, *plan)
    assert code == 0
    assert json.loads(text[text.index("{") :])["playbook"] == str(book)


@pytest.mark.parametrize("path", ["x" * 5000, "/" + "y/" * 2500, ".", "loop", "~nobody/x", ""])
def test_what_is_no_file_is_said_to_be_none(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "c.yaml").write_text(CLUSTER)
    (tmp_path / "m.onnx").write_bytes(network())
    assert outcome(capsys, "inspect", path)[0] == 11
    for option, value in (("--cluster", path), ("-o", path), ("--calibrate", path)):
        words = {"--cluster": "c.yaml", "--strategy": "split", "--task": "embedding"}
        words |= {option: value}
        plan = ["plan", "m.onnx", *(word for pair in words.items() for word in pair)]
        assert outcome(capsys, *plan)[0] in (25, 30, 70), option


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_the_terminal_has_no_character_for_stops_nothing(
    encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / "ü🐟.onnx"
    path.write_bytes(network(made="🐟ü"))
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for words in (["--cuts", "--plot"], ["--json"]):
        command = [sys.executable, "-m", "shoal", "inspect", str(path), *words]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.decode(encoding))
    assert found["outputs"][0]["name"] == "🐟ü"
