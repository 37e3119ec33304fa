import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from tests.cli import test_dealt

from shoal.cli import dealt, output, play
from shoal.cli.entry import run
from shoal.cli.play import Chapter, View, since
from shoal.cli.story import outcome
from shoal.observe.load_generator import Record

pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "PATIENCE_S", 60.0)


def test_the_demo_loses_nothing_and_says_so_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--workers", "3", "--seconds", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answered"] == found["asked"] > 0
    assert (found["lost"], found["answered_twice"]) == (0, 0)
    assert found["different_from_whole_network"] == 0
    assert found["accuracy"] > 0.9
    assert all(rate > 0 for rate in found["images_per_s"].values())
    assert found["killed"] in ("worker-1", "worker-2", "worker-3")
    assert found["used_again_ms"] > 0
    second = found["together"]
    assert (second["lost"], second["answered_twice"]) == (0, 0)
    assert second["answered"] == second["asked"] > 0
    assert all(scene["right"] > 0.9 for scene in second["scenes"] if scene["images_per_s"])
    third = found["dealt"]
    assert (third["lost"], third["answered_twice"]) == (0, 0)
    assert third["different_from_whole_network"] == 0
    assert third["answered"] == third["asked"] > 0
    assert 0 <= third["proved"] <= 1
    assert third["scenes"]["before"]["answered"] > 0
    assert third["scenes"]["after"]["answered"] > 0


def test_without_a_terminal_it_prints_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dealt, "act", lambda *_: test_dealt.outcome())
    monkeypatch.setattr(output, "PIPE_WIDTH", 80)
    assert run(["demo", "--workers", "2", "--seconds", "3"]) == 0
    out = capsys.readouterr().out
    assert "--samples fashion-resnet --count 5000\n" in out, "a command is to be copied"
    assert "images/s" in out
    assert "killed (SIGKILL)" in out
    assert "No request was lost" in out
    assert "shoal worker --cluster cluster.yaml --name worker-1" in out
    assert "while worker-4 dies" in out
    assert "\x1b" not in out


def test_a_title_stands_once_above_its_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(play, "LINE_S", 0.0)
    view = View(output.stdout(), [], lambda recent: [f"{len(recent)} images/s"])
    for title in ("all are well", "all are well", "one is gone"):
        view.show(title)
    shown = [line.strip().split("s  ")[-1] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["all are well", "0 images/s", "0 images/s", "one is gone", "0 images/s"]


def test_ctrl_c_ends_it_quietly_with_all_its_workers(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "shoal", "demo", "--seconds", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("3 "):
            pass
        workers = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    # On a busy machine it may have said before that a worker was slow to answer.
    assert "Traceback" not in err
    assert "error" not in err
    assert len(workers) == 4
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    assert list(tmp_path.glob("shoal-*")) == []


def test_one_worker_is_not_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--workers", "1"]) == 2
    assert "--workers" in capsys.readouterr().err


def record(asked_s: float, answered_s: float, *devices: str, attempts: int = 1) -> Record:
    return Record(0, asked_s, answered_s, "p", devices, attempts, 0, False)


def test_the_numbers_of_the_outcome() -> None:
    """Killed at 10 s; a pause of half a second; back at 20 s. The first was asked before that, and
    is not usual."""

    records = [
        record(-1.0, 0.1, "a", "b"),
        record(1.0, 1.1, "a", "b"),
        record(9.9, 10.1, "a", "b"),
        record(9.95, 10.6, "a", attempts=2),
        record(12.0, 12.2, "a"),
        record(21.0, 21.1, "a", "b"),
    ]
    load: Any = SimpleNamespace(asked=6, lost=[], twice=0, records=records)
    chapters = [Chapter("", 0, 0), Chapter("", 10, 10), Chapter("", 20, 20.5)]
    found = outcome(load, chapters, [0], "b")
    assert found["first_answer_without_ms"] == pytest.approx(600)
    assert found["slowest_after_kill_ms"] == pytest.approx(650)
    assert found["usual_slowest_ms"] == pytest.approx(100)
    assert found["longest_pause_ms"] == pytest.approx(1600)
    assert found["used_again_ms"] == pytest.approx(1100)
    assert (found["retried"], found["accuracy"]) == (1, 1.0)
    assert found["images_per_s"]["without"] == pytest.approx(0.3)


def test_the_last_second_is_the_tail() -> None:
    records = [record(0, float(k)) for k in range(10)]
    assert [r.answered_s for r in since(records, 7.0)] == [7.0, 8.0, 9.0]
    assert since(records, 99.0) == []
    assert len(since(records, -1.0)) == 10
