"""A fault that comes with every message does not fill a log."""

import ast
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

import shoal
from shoal.log import AT_ONCE, MAX_PLACES, NAMES, PAUSE_S, Rate

SOURCE = Path(shoal.__file__).parent


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def entry(line: int = 1, text: str = "to %s: it is too large") -> logging.LogRecord:
    return logging.LogRecord("shoal", logging.ERROR, "place.py", line, text, ("a",), None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rate(clock: Clock) -> Rate:
    return Rate(clock)


def test_some_pass_at_once_and_then_one_each_second_which_says_how_many_did_not(
    rate: Rate, clock: Clock
) -> None:
    assert sum(rate.filter(entry()) for _ in range(1000)) == AT_ONCE
    assert rate.filter(entry(line=2)), "what comes from elsewhere passes"
    clock.now += PAUSE_S
    told = entry()
    assert rate.filter(told)
    assert told.getMessage() == f"to a: it is too large (and {1000 - AT_ONCE} more like it)"
    assert not rate.filter(entry())
    clock.now += PAUSE_S
    told = entry()
    assert rate.filter(told)
    assert "and 1 more" in told.getMessage()


def test_after_a_quiet_time_as_many_pass_as_at_first(rate: Rate, clock: Clock) -> None:
    for _ in range(2):
        assert sum(rate.filter(entry()) for _ in range(100)) == AT_ONCE
        clock.now += 1000.0


def test_what_is_remembered_is_bounded(rate: Rate) -> None:
    for line in range(3 * MAX_PLACES):
        rate.filter(entry(line))
    assert len(rate._places) == MAX_PLACES


def test_messages_that_cannot_be_sent_are_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("shoal")
    for number in range(500):
        log.error("to %s: message %d is too large", "a", number)
    assert len(caplog.records) == AT_ONCE


def test_every_logger_of_the_package_is_held_to_the_rate() -> None:
    used = {
        node.args[0].value
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("getLogger")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    ours = {name for name in used if str(name).startswith("shoal")}
    assert ours == set(NAMES)
    for name in NAMES:
        assert any(isinstance(each, Rate) for each in logging.getLogger(name).filters)


@pytest.mark.system
@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked on this system")
def test_a_child_that_is_forked_while_another_thread_logs_can_log_too() -> None:
    script = """
import logging, os, signal, warnings
from shoal.log import RATE
warnings.simplefilter("ignore")
RATE._lock.acquire()
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    logging.getLogger("shoal").error("here I am")
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "here I am\n")
