"""What docs/exits.md shows runs."""

import re
from pathlib import Path

import pytest
from tests.model import exit_nets

from shoal.model.exits import MAX_IMAGES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "exits.md").read_text(encoding="utf-8")
GIVE, USE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_a_network_is_given_exits_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.onnx").write_bytes(exit_nets.bare().SerializeToString())
    exec(GIVE, {})
    exec(USE, {})
    out = capsys.readouterr().out
    assert "('x',) ('e', 'early')" in out
    assert "leaving=(" in out


def test_the_page_names_the_limit() -> None:
    assert f"up to {MAX_IMAGES:,}" in PAGE
