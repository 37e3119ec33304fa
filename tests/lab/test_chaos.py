"""Chaos for real, short: every request gets one right answer, and nothing of the lab stays."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.cli.entry import run
from shoal_lab import state
from shoal_lab.chaos import Scene, play
from shoal_lab.faults import Cut
from shoal_lab.spec import LabSpec

LAB = "{hosts: {gate: {share: 0.3}, a: {share: 0.2}, b: {share: 0.2}}, topology: %s}"


def chaos(tmp_path: Path, name: str, topology: str, *words: str) -> int:
    file = tmp_path / f"{name}.yaml"
    file.write_text(LAB % topology)
    return run(["lab", "chaos", str(file), "--minutes", "0.15", "--seed", "3", *words])


def judge(code: int, out: str, name: str) -> dict[str, int]:
    story = json.loads(out)
    totals: dict[str, int] = story["totals"]
    assert (totals["lost"], totals["twice"], totals["wrong"]) == (0, 0, 0)
    assert totals["answered"] == totals["asked"] > 0
    assert (code, story["met"]) == (0, True)
    assert len(story["effects"]) >= 1
    assert len(story["moments"]) >= 1
    assert story["happenings"][0]["fault"]["kind"]
    assert name not in [found.name for found in state.labs()]
    return totals


@pytest.mark.root
@pytest.mark.system
@pytest.mark.timeout(300)
def test_a_few_seconds_of_chaos_in_namespaces(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = chaos(tmp_path, name, "{kind: star, link: {mbit: 20, delay_ms: 1}}", "--json")
    judge(code, capsys.readouterr().out, name)


@pytest.mark.system
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="labs are tested on Linux")
def test_chaos_without_root(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = chaos(tmp_path, name, "star", "--loopback", "--strategy", "replicas")
    said = " ".join(capsys.readouterr().out.split())
    assert code == 0
    assert "measuring a ... measuring b ... measuring links" in said
    assert "what the faults did" in said
    for count in ("lost 0", "answered twice 0", "wrong 0"):
        assert count in said
    assert "energy" not in said, "nothing is known of it on loopback"


def test_what_makes_no_sense_is_refused_before_anything_is_made(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["lab", "chaos", "--model", "no-such-network"]) == 11
    assert run(["lab", "chaos", "--strategy", "prayer"]) == 40
    assert run(["lab", "chaos", "no-such-lab.yaml"]) == 91
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.root
@pytest.mark.system
def test_ctrl_c_takes_the_lab_down(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.yaml"
    file.write_text(LAB % "{kind: star, link: {mbit: 20, delay_ms: 1}}")
    with subprocess.Popen(
        [sys.executable, "-m", "shoal", "lab", "chaos", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        deadline = time.monotonic() + 60
        while not any(found.name == name and found.ready for found in state.labs()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert list(tmp_path.glob("shoal-chaos-*")) == []


@pytest.mark.root
@pytest.mark.system
@pytest.mark.timeout(300)
def test_devices_that_are_cut_off_do_not_silence_the_others(
    lab_of: Callable[[str], LabSpec],
) -> None:
    """What is left of their connections must not keep the gateway from hearing who is there."""
    spec = lab_of(
        "{hosts: {gate: {share: 0.3}, a: {share: 0.15}, b: {share: 0.15}, c: {share: 0.15}}, "
        "topology: {kind: mesh, link: {mbit: 20, delay_ms: 1}}}"
    )
    cuts = tuple(Cut(at_s=2, link=("gate", name), for_s=8) for name in ("b", "c"))
    story = play(
        Scene(spec=spec, gate="gate", seconds=11, faults=cuts, options={"stages": 3}, window=4)
    )
    assert (story.totals.lost, story.totals.twice, story.totals.wrong) == (0, 0, 0)
    first, last = story.began_s + 2.5, story.began_s + 10
    inside = [one for one in story.records if first < one.asked_s and one.answered_s < last]
    assert len(inside) > 3, "a was there all the time"
