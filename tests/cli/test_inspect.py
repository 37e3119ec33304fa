import json
from pathlib import Path

import numpy as np
import pytest
from tests.model import exit_nets, nets

from shoal.cli.entry import run
from shoal.cli.inspect import chart


def test_json_names_inputs_outputs_and_every_cut(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(tiny), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert found["inputs"] == [{"name": "image", "dtype": "float32", "shape": [None, 1, 8, 8]}]
    assert found["outputs"][0]["name"] == "logits"
    assert [cut["at"] for cut in found["cuts"]] == list(range(1, found["nodes"]))
    around = next(cut for cut in found["cuts"] if len(cut["tensors"]) == 2)
    assert {tensor["name"] for tensor in around["tensors"]} == {"b", "c"}
    assert around["bytes"] == 2 * 4 * 8 * 8 * 4


def test_it_says_what_the_network_is_for_and_what_shows_that(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(tiny), "--json"]) == 0
    task = json.loads(capsys.readouterr().out)["task"]
    assert task["name"] == "classifier"
    assert run(["inspect", str(tiny)]) == 0
    assert f"classifier: {task['why']}" in capsys.readouterr().out


def test_what_it_is_for_may_not_be_clear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.onnx"
    nodes = [nets.node("Conv", "x w", "r"), nets.node("Tanh", "r", "y")]
    path.write_bytes(nets.model(nodes, [nets.IMAGE], ["y"], {"w": nets.random(3, 3, 3, 3)}))
    assert run(["inspect", str(path)]) == 0
    assert "not clear (--task): float32 [batch, 3, 6, 6], after Tanh" in capsys.readouterr().out


def test_the_table_has_a_bar_for_each_cut(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(tiny), "--cuts", "--plot"]) == 0
    out = capsys.readouterr().out
    assert "image float32 [batch, 1, 8, 8]" in out
    assert "with a single tensor" in out
    assert "b, c" in out
    assert "█" * 24 in out
    assert "│" in out


def test_a_missing_file_says_what_the_zoo_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "nowhere.onnx"]) == 11
    err = capsys.readouterr().err
    assert "nowhere.onnx" in err
    assert "efficientnet-lite0" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"hello"])
def test_what_is_no_network_is_refused(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    assert run(["inspect", str(path)]) == 11
    err = capsys.readouterr().err
    assert "bad.onnx" in err
    assert err.count("\n") == 1


def test_a_chart_keeps_the_narrow_places_when_it_is_squeezed() -> None:
    values = [100.0] * 400
    values[123] = 1.0
    lines = chart(values, width=40, height=4).splitlines()
    assert all(len(line) <= 12 + 40 for line in lines)
    low = 123 * 40 // 400
    assert [line[12 + low] for line in lines[:4]] == [" ", " ", " ", "▁"]
    assert lines[0][12 + low + 1] == "█"


def test_a_chart_of_nothing() -> None:
    assert chart([]) == "no cuts"


def silent(path: Path) -> Path:
    """A network that says something of very bright images only."""
    path.write_bytes(
        nets.model(
            [nets.node("Sub", "x level", "a"), nets.node("Relu", "a", "b"),
             nets.node("MatMul", "b w", "y")],
            [nets.tensor("x", ["n", 6])],
            ["y"],
            {"level": np.float32(1e6), "w": nets.random(6, 3)},
        )
    )  # fmt: skip
    return path


def test_a_weak_proof_is_said_and_an_example_makes_it_strong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = silent(tmp_path / "silent.onnx")
    assert run(["inspect", str(path), "--json"]) == 0
    out, err = capsys.readouterr()
    proof = json.loads(out)["proof"]
    assert proof["weak"]
    assert "'y' is the same for all of them" in proof["why"]
    assert "--input" in err + caplog.text  # the log goes to stderr where nobody else takes it
    bright = (1e6 + 1e5 * np.abs(nets.random(2, 6))).astype(np.float32)
    np.save(tmp_path / "bright.npy", bright)
    np.savez(tmp_path / "bright.npz", x=bright)
    for name in ("bright.npy", "bright.npz"):
        assert run(["inspect", str(path), "--json", "--input", str(tmp_path / name)]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        found = json.loads(out)["proof"]
        assert (found["weak"], found["inputs"], found["images"]) == (False, "the example", 3)
    assert run(["inspect", str(path), "--input", str(tmp_path / "bright.npy")]) == 0
    assert "on 3 images (the example), to 0.0001" in capsys.readouterr().out


def test_an_example_that_is_no_array_is_one_line(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.npy").write_text("hello")
    for name in ("text.npy", "nowhere.npy"):
        assert run(["inspect", str(tiny), "--input", str(tmp_path / name)]) == 20
        err = capsys.readouterr().err
        assert name in err
        assert err.count("\n") == 1


def test_an_example_of_nothing_is_not_taken_for_none(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "none.npz")
    assert run(["inspect", str(tiny), "--input", str(tmp_path / "none.npz")]) == 20
    assert "holds no array" in capsys.readouterr().err


def test_exits_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "exits.onnx"
    path.write_bytes(exit_nets.with_exits())
    assert run(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found["outputs"]] == ["y"]
    assert [(each["at"], each["after"]) for each in found["exits"]["heads"]] == [(2, "b"), (4, "e")]
    assert found["exits"]["against"] == "labels"
    assert run(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "2, held against labels on 3 images" in out
    assert "66.67 %" in out


def test_what_is_found_in_an_image_is_no_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "detector.onnx"
    path.write_bytes(nets.detector())
    assert run(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "found float32 [?, 4]" in out
    assert "classes int64 [?]" in out
