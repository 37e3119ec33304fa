"""``shoal lab`` from the command line: up, exec, status, run, check, down, and what is refused."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command

from shoal.errors import LabError, LabFileError, LabStateError, ShoalError, UsageError
from shoal_lab import check, keeper, shares, state
from shoal_lab.cli.app import app
from shoal_lab.keeper import Order
from shoal_lab.machine import look
from shoal_lab.spec import LabSpec

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="labs are tested on Linux"),
]

LabOf = Callable[[str], LabSpec]


@pytest.fixture
def file(tmp_path: Path, name: str) -> Path:
    made = tmp_path / f"{name}.yaml"
    made.write_text(
        "hosts: {pi: {share: 0.05}, gate: {share: 0.05}}\n"
        "topology: {kind: star, link: {mbit: 50, delay_ms: 1}}\n"
    )
    return made


def shoal_lab(*words: object) -> int:
    """Run ``shoal lab WORDS`` here; its exit code. Errors of ours are raised."""
    try:
        get_command(app)([str(word) for word in words], standalone_mode=False)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def code_of(*words: object) -> int:
    """The same in a process of its own."""
    program = "import sys; from shoal_lab.cli.app import app; app()"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        check=False,
        capture_output=True,
        timeout=60,
    ).returncode


def test_a_lab_stays_up_until_it_is_taken_down(
    file: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shoal_lab("up", file, "--loopback", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["spec"]["name"] == name
    assert found["owner"] != os.getpid()
    try:
        with pytest.raises(LabStateError, match="up already"):
            shoal_lab("up", file, "--loopback")
        shoal_lab("status")
        assert "127.77.0.1" in capsys.readouterr().out
        assert code_of("exec", "--lab", name, "pi", "--", "sh", "-c", "exit 7") == 7
        with pytest.raises(LabError, match="no host 'nano'"):
            shoal_lab("exec", "--lab", name, "nano", "--", "true")
    finally:
        shoal_lab("down", name)
    with pytest.raises(LabStateError, match="not up"):
        shoal_lab("down", name)


def test_what_up_prints_ends_with_up(file: Path, name: str) -> None:
    """Not with the lab: 'up 2>&1 | tee log' must return."""
    program = "import sys; from shoal_lab.cli.app import app; app()"
    words = [sys.executable, "-c", program, "up", str(file), "--loopback"]
    try:
        done = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=True
        )
        assert b"up in" in done.stdout
    finally:
        shoal_lab("down", name)


def test_a_failing_line_of_run_is_told_by_up_status_and_run(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"{name}.yaml"
    file.write_text("hosts: {pi: {run: ['sleep 0.1; no-such-program']}}")
    said = "run line 'sleep 0.1; no-such-program' failed with exit code 127 (log: /"
    try:
        shoal_lab("up", file, "--loopback")
        told = ""
        deadline = time.monotonic() + 30
        while said not in told:
            assert time.monotonic() < deadline
            shoal_lab("status")
            told = capsys.readouterr().err
        assert "not found" in told, "the last line of the log"
    finally:
        shoal_lab("down", name)
    shoal_lab("run", file, "--loopback", "--", "sleep", "2")
    assert said in capsys.readouterr().err


def test_a_command_without_a_name_means_the_only_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    class One:
        def __init__(self, name: str) -> None:
            self.name = name

    for commands in (("down",), ("watch", "--once"), ("exec", "pi", "--", "true")):
        monkeypatch.setattr(state, "labs", lambda: [One("a"), One("b")])
        with pytest.raises(UsageError, match=r"several labs are up \(a, b\)"):
            shoal_lab(*commands)
        monkeypatch.setattr(state, "labs", lambda: [])
        with pytest.raises(LabStateError, match="no lab is up"):
            shoal_lab(*commands)


def test_a_lab_whose_keeper_was_killed_can_still_be_taken_down(name: str, lab_of: LabOf) -> None:
    spec = lab_of("{hosts: {pi: {run: ['sleep 100']}}}")
    keeper.up(Order(spec=spec, folder="/", loopback=True))
    owner = state.read(name).owner
    os.kill(owner, 9)
    while state.read(name).alive:
        time.sleep(0.01)
    keeper.down(name)
    assert name not in [found.name for found in state.labs()]


def test_what_a_keeper_refuses_is_raised_here(lab_of: LabOf) -> None:
    spec = lab_of("{hosts: {a: {}, b: {}}, topology: {kind: star, link: {trace: none.csv}}}")
    with pytest.raises(ShoalError, match=r"none\.csv"):
        keeper.up(Order(spec=spec, folder="/nowhere", loopback=True))


def test_a_lab_of_a_program_is_not_taken_from_it(lab_of: LabOf, name: str) -> None:
    from shoal_lab.lab import Lab

    with (
        Lab(lab_of("hosts: {pi: {}}"), loopback=True),
        pytest.raises(LabStateError, match="belongs to process"),
    ):
        keeper.down(name)


def test_run_gives_back_the_exit_code_and_leaves_nothing(file: Path, name: str) -> None:
    assert code_of("run", file, "--loopback", "--", "sh", "-c", "exit 5") == 5
    assert code_of("run", file, "--loopback", "--on", "gate", "--", "true") == 0
    with pytest.raises(LabStateError):
        state.read(name)


def test_a_wrong_file_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("hosts: {a: {share: 3}}")
    with pytest.raises(LabFileError, match="300 %"):
        shoal_lab("up", tmp_path / "lab.yaml")


@pytest.mark.root
def test_exec_enters_the_namespace_and_the_cgroup(file: Path, name: str) -> None:
    shoal_lab("up", file)
    try:
        seen = subprocess.run(
            [
                sys.executable, "-c", "from shoal_lab.cli.app import app; app()",
                "exec", "--lab", name, "pi", "--", "sh", "-c", "cat /proc/self/cgroup; ip -o addr",
            ],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert f"/shoal-lab/{name}/pi" in seen
        assert "10.77.0.1" in seen
        assert "10.77.0.2" not in seen
    finally:
        shoal_lab("down", name)


@pytest.mark.root
def test_check_measures_every_link_and_host_of_a_lab(
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check, "TRANSFER_S", 0.3)
    monkeypatch.setattr(shares, "ROUNDS", 1)
    file = tmp_path / f"{name}.yaml"
    file.write_text(
        "hosts: {pi: {share: 0.2}, gate: {share: 0.2}}\n"
        "links: [{between: [pi, gate], mbit: 50, delay_ms: 5}]\n"
    )
    shoal_lab("check", file, "--json")
    readings = json.loads(capsys.readouterr().out)
    assert [reading["what"].split()[0] for reading in readings] == [
        "rate", "rate", "round", "CPU", "CPU", "CPU", "CPU",
    ]  # fmt: skip
    assert all(reading["got"] > 0 for reading in readings)
    assert {reading["way"] for reading in readings} <= {"tbf", "netem", "relay", "cgroup quota"}


def test_this_machine_is_looked_at_without_a_trace() -> None:
    machine = look()
    assert machine.cores >= 1
    assert machine.can_emulate == (machine.lacks == ())
    assert not list(Path("/run/netns").glob(f"shoal-probe-{os.getpid()}"))
