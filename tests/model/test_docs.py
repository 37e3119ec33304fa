"""What docs/networks.md shows runs."""

import re
from pathlib import Path

import pytest
from tests.model import nets

from shoal.model import limits, profiles
from shoal.model.part import node_memory, part_memory

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
FIRST, COMPARE, MEMORY = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(nets.residual(batch=1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_the_first_example_runs(folder, capsys):
    exec(FIRST, {})
    assert "TensorSpec" in capsys.readouterr().out


def test_the_comparison_runs(folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["compare.py", "model.onnx"])
    exec(COMPARE, {})
    out = capsys.readouterr().out
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "whole",
        "after",
        "before, basic",
        "before, extended",
    ]
    assert list((folder / "cache" / "profiles").iterdir())


def test_the_measurement_of_memory_runs(folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["memory.py", "model.onnx"])
    exec(MEMORY, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(line.startswith("model ") for line in lines[1:])


def test_the_numbers_it_states_are_those_of_the_code():
    assert part_memory(node_memory(10**9), 10**9) == 10**6 + 25_000 + 1.1e9 + 1.5e9
    assert "1 MB, 25 kB for each node, 1.1\ntimes the weights" in PAGE
    assert "1.5 times the most bytes" in PAGE
    assert "30 days" in PAGE
    assert profiles.MAX_AGE_S == 30 * 24 * 3600
    assert "25 % noise for 10 minutes" in PAGE
    assert (profiles.QUIET, profiles.MAX_AGE_NOISY_S) == (0.25, 600)


def test_the_limits_it_states_are_those_of_the_code():
    assert limits.FILE_BYTES + 1 == limits.TENSOR_BYTES == limits.PEAK_BYTES == 2 * 2**30
    assert limits.ACTIVATION_BYTES == 512 * 2**20
    assert limits.TOTAL_WEIGHT_BYTES == 8 * 2**30
    assert f"{limits.NODES:,} nodes" in PAGE
