import json
from pathlib import Path

import pytest

from shoal.cli.entry import run


def test_times_of_all_nodes_as_json(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", str(tiny), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(time >= 0 for time in found["node_ms"])
    assert found["threads"] == 1


def test_the_table_shows_the_whole_and_its_nodes(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["profile", str(tiny), "--nodes"]) == 0
    out = capsys.readouterr().out
    assert "whole network" in out
    assert "Conv" in out


def test_an_unknown_provider_is_the_users_mistake(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["profile", str(tiny), "--provider", "AbacusProvider"]) == 2
    assert "CPUExecutionProvider" in capsys.readouterr().err
