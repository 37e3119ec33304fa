import json
from pathlib import Path

import pytest

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
