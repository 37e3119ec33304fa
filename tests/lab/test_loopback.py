"""A lab of plain processes: what works without root, and what it admits not to emulate."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from shoal.errors import LabError, LabStateError
from shoal_lab import conditions, state
from shoal_lab.conditions import FailedLine
from shoal_lab.faults import Cut, Kill
from shoal_lab.lab import Lab
from shoal_lab.spec import LabSpec

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="loopback labs are tested on Linux"),
]

TWO = "{hosts: {pi: {share: 0.05}, gate: {share: 0.05}}, topology: star}"
LabOf = Callable[[str], LabSpec]


def until(true: Callable[[], bool], within_s: float = 30.0) -> bool:
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_hosts_are_processes_with_addresses_and_a_warning(lab_of: LabOf) -> None:
    with Lab(lab_of(TWO), loopback=True) as lab:
        assert lab.is_loopback
        assert "not emulated" in lab.warnings[0]
        pi = lab.host("pi")
        assert (pi.address, lab.host("gate").address) == ("127.77.0.1", "127.77.0.2")
        said = pi.run(["sh", "-c", "echo $SHOAL_HOST $SHOAL_ADDR_GATE; ls -d $SHOAL_CACHE"])
        assert said.split() == ["pi", "127.77.0.2", str(pi.folder)]


def test_programs_print_into_the_log_of_their_host(lab_of: LabOf, tmp_path: Path) -> None:
    with Lab(lab_of(TWO), loopback=True, logs=tmp_path / "logs") as lab:
        lab.host("pi").spawn(["sh", "-c", "echo here; echo there >&2"]).wait(30)
    assert (tmp_path / "logs" / "pi.log").read_text().split() == ["here", "there"]


def test_killed_and_restarted(lab_of: LabOf) -> None:
    with Lab(lab_of(TWO), loopback=True) as lab:
        pi = lab.host("pi")
        first = pi.spawn(["sh", "-c", "sleep 100 & sleep 100"])
        pi.spawn(["true"]).wait(30)
        pi.kill()
        assert first.returncode == -signal.SIGKILL
        assert pi.processes == []
        with pytest.raises(LabError, match="was killed"):
            pi.spawn(["true"])
        pi.restart()
        assert [process.args for process in pi.processes] == [first.args]


def test_a_line_of_run_that_fails_is_told_once_with_what_it_said(lab_of: LabOf) -> None:
    spec = lab_of(
        "{hosts: {pi: {run: ['echo all is well', 'echo no such thing >&2; exit 3', 'sleep 100']}, "
        "gate: {run: ['kill -9 $$']}}, topology: star}"
    )
    with Lab(spec, loopback=True) as lab:
        told: list[FailedLine] = []
        assert until(lambda: bool(told.extend(lab.failed_lines()) or len(told) == 2))
        pi, gate = sorted(told, key=lambda failed: failed.host, reverse=True)
        assert (pi.code, pi.how) == (3, "exit code 3")
        assert pi.log == str(lab.host("pi").log)
        assert "no such thing" in Path(pi.log).read_text()
        assert "exit 3" in pi.text
        assert pi.log in pi.text
        assert gate.how == "signal 9"
        assert lab.failed_lines() == []
        seen = conditions.read(state.lab_folder(lab.spec.name)).hosts
        assert seen["pi"].failed == (pi,)
        assert "failed (exit code 3)" in seen["pi"].faults[0]


def test_a_line_of_run_that_was_killed_did_not_fail(lab_of: LabOf) -> None:
    with Lab(lab_of("{hosts: {pi: {run: ['sleep 100']}}}"), loopback=True) as lab:
        lab.host("pi").kill()
        assert lab.failed_lines() == []
        lab.host("pi").restart()
        assert lab.failed_lines() == []
        assert len(lab.host("pi").processes) == 1


def test_frozen_and_thawed(lab_of: LabOf) -> None:
    with Lab(lab_of(TWO), loopback=True) as lab:
        process = psutil.Process(lab.host("pi").spawn(["sleep", "100"]).pid)
        lab.host("pi").freeze()
        assert until(lambda: process.status() == "stopped")
        lab.host("pi").thaw()
        assert until(lambda: process.status() == "sleeping")


def test_what_is_not_emulated_is_an_error_and_not_a_lie(lab_of: LabOf) -> None:
    with Lab(lab_of(TWO), loopback=True) as lab:
        for act in (
            lambda: lab.host("pi").slow(0.5),
            lambda: lab.host("pi").fill_disk(),
            lambda: lab.host("pi").jump_clock(5),
            lambda: lab.cable("pi", "switch"),
        ):
            with pytest.raises(LabError, match="not emulated"):
                act()
        player = lab.play([Cut(at_s=0, link=("pi", "switch")), Kill(at_s=0, host="pi")])
        assert player.wait(30)
        assert "not emulated" in str(player.happenings[0].error)
        assert player.happenings[1].error is None


def test_a_host_runs_its_lines_from_the_start(lab_of: LabOf, tmp_path: Path) -> None:
    text = f"{{hosts: {{pi: {{run: ['echo $SHOAL_HOST > {tmp_path}/said; sleep 100']}}}}}}"
    with Lab(lab_of(text), loopback=True) as lab:
        assert until(lambda: (tmp_path / "said").exists())
        assert len(lab.host("pi").processes) == 1


def test_one_name_is_one_lab(lab_of: LabOf) -> None:
    spec = lab_of(TWO)
    with Lab(spec, loopback=True) as lab:
        other = Lab(spec, loopback=True)
        with pytest.raises(LabStateError, match="up already"):
            other.up()
        other.down()
        with pytest.raises(LabStateError, match="up already"):
            lab.up()
        assert lab.host("pi").run(["echo", "still here"]) == "still here\n"


def test_going_down_twice_is_no_error_and_a_lab_that_is_down_has_no_hosts(lab_of: LabOf) -> None:
    lab = Lab(lab_of(TWO), loopback=True)
    with lab:
        pass
    lab.down()
    with pytest.raises(LabStateError, match="not up"):
        lab.host("pi")


def test_an_unknown_host_is_named_with_those_there_are(lab_of: LabOf) -> None:
    with (
        Lab(lab_of(TWO), loopback=True) as lab,
        pytest.raises(LabError, match=r"'nano'; there are pi, gate"),
    ):
        lab.host("nano")


def test_a_program_that_fails_or_is_missing_is_told(lab_of: LabOf) -> None:
    with Lab(lab_of(TWO), loopback=True) as lab:
        with pytest.raises(LabError, match="failed with 3: oh"):
            lab.host("pi").run(["sh", "-c", "echo oh >&2; exit 3"])
        with pytest.raises(LabError, match="cannot start"):
            lab.host("pi").spawn(["no-such-program-here"])
        with pytest.raises(LabError, match="longer than"):
            lab.host("pi").run(["sleep", "100"], timeout_s=0.1)


CRASH = """
import os, sys
from shoal_lab import Lab, parse_lab
lab = Lab(parse_lab(sys.argv[1], name=sys.argv[2]), loopback=sys.argv[3] == "loopback")
lab.up()
lab.host("pi").spawn(["sh", "-c", "sleep 100 & sleep 100"])
print("up", flush=True)
sys.stdin.read()
"""


def crashed(text: str, name: str, how: str, number: signal.Signals) -> None:
    """A program that brings a lab up and is ended by a signal."""
    program = subprocess.Popen(
        [sys.executable, "-c", CRASH, text, name, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"up\n"
        program.send_signal(number)
        program.wait(20)


def test_what_a_killed_program_left_the_next_lab_removes(lab_of: LabOf, name: str) -> None:
    crashed(TWO, name, "loopback", signal.SIGKILL)
    found = state.read(name)
    assert not found.alive
    assert state.lab_folder(name).exists()
    with Lab(lab_of(TWO), loopback=True) as lab:
        assert lab.host("pi").processes == []
        sleeping = [p for p in psutil.process_iter() if marked(p, name)]
        assert sleeping == []


def marked(process: psutil.Process, name: str) -> bool:
    try:
        return process.environ().get("SHOAL_LAB") == name
    except psutil.Error:
        return False


def test_an_interrupt_in_the_block_takes_the_lab_down(lab_of: LabOf, name: str) -> None:
    def work() -> None:
        with Lab(lab_of(TWO), loopback=True) as lab:
            lab.host("pi").spawn(["sleep", "100"])
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        work()
    with pytest.raises(LabStateError, match="not up"):
        state.read(name)


FORK = """
import os, sys
from shoal.errors import ForkError
from shoal_lab import Lab, parse_lab
with Lab(parse_lab(sys.argv[1], name=sys.argv[2]), loopback=True) as lab:
    sleeping = lab.host("pi").spawn(["sleep", "100"])
    pid = os.fork()
    if pid == 0:
        try:
            lab.host("pi")
        except ForkError:
            sys.exit(7)  # out of the block
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert sleeping.poll() is None and lab.host("pi").folder.exists()
"""


def test_a_child_made_by_fork_leaves_the_lab_up(name: str) -> None:
    program = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, TWO, name]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
