"""What docs/simulate.md shows is what its command prints, to the last digit."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from shoal.cli.entry import run
from shoal.plan.cluster import Cluster
from shoal.plan.playbook import load
from shoal.sim.faults import load_faults

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "simulate.md").read_text(encoding="utf-8")
COMMANDS, TABLE = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)[:2]
PLAN, SIMULATE = (shlex.split(line)[1:] for line in COMMANDS.replace("\\\n", " ").splitlines())


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_the_table_is_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the playbook alone: its parts are in no store."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path))
    assert "`examples/boards.json`" in PAGE
    words = ["examples/boards.json" if word == "playbook.json" else word for word in SIMULATE]
    assert run(words) == 0
    assert lines(capsys.readouterr().out) == lines(TABLE), "take the table of the page again"


def test_the_playbook_is_of_the_cluster_and_the_network_that_are_named() -> None:
    cluster = Cluster.load(ROOT / PLAN[PLAN.index("--cluster") + 1])
    book = load(ROOT / "examples" / "boards.json")
    assert book.devices == set(cluster.names)
    assert (book.network, book.strategy) == (PLAN[1], PLAN[PLAN.index("--strategy") + 1])


def test_the_faults_of_the_page_are_those_of_the_example() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    path = ROOT / SIMULATE[SIMULATE.index("--faults") + 1]
    assert path.read_text(encoding="utf-8") == shown
    assert len(load_faults(path)) == 3


def test_every_row_and_column_is_told() -> None:
    for word in ("late", "refused", "lost", "images/s", "busy", "exits", "accuracy"):
        assert f"\n| {word} | " in PAGE
