"""Keeps a lab up after ``shoal lab up`` has returned: owns it, plays its faults, takes it down.

Started as ``python -m shoal_lab.keeper`` with :class:`Order` as JSON on stdin. Says one line of
JSON on stdout when the lab is up or why it is not, and then lives until SIGTERM.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil

from shoal import errors
from shoal.errors import LabError, LabStateError, ShoalError
from shoal_lab import state
from shoal_lab.lab import Lab
from shoal_lab.spec import LabSpec

DOWN_TIMEOUT_S = 30.0
FIRST_LINES_S = 0.5
"""So long 'up' waits for a line of 'run' to fail at once. Later ones are told by those who look."""
LOOK_S = 0.5


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which lab to keep, and where its traces lie."""

    spec: LabSpec
    folder: str
    loopback: bool = False
    logs: str | None = None


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How it went: seconds until it was up and warnings, or the class and message of an error."""

    up_s: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str = ""
    message: str = ""


def up(order: Order) -> Report:
    """Bring a lab up in a process of its own that outlives this one.

    Raises what went wrong there.
    """
    starter = subprocess.Popen(
        [sys.executable, "-m", "shoal_lab.keeper"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with starter:  # it ends at once and leaves the keeper behind
        if starter.stdin is None or starter.stdout is None:
            raise LabError("the keeper of the lab has no pipes")
        starter.stdin.write(msgspec.json.encode(order))
        starter.stdin.close()
        line = starter.stdout.readline()
    if not line:
        raise LabError("the keeper of the lab ended and said nothing")
    report = msgspec.json.decode(line, type=Report)
    if report.error:
        raise getattr(errors, report.error, ShoalError)(report.message)
    return report


def down(name: str) -> None:
    """Take a lab down that ``shoal lab up`` brought up, or whose owner is gone.

    LabStateError if there is none, or if it belongs to a program that still runs.
    """
    found = state.read(name)
    if not found.alive:
        state.release(found)
        return
    if not found.keeper:
        raise LabStateError(
            f"lab {name} belongs to process {found.owner}, which still runs; end that one"
        )
    os.kill(found.owner, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_TIMEOUT_S
    while found.alive:
        if time.monotonic() > deadline:
            with contextlib.suppress(psutil.Error):
                psutil.Process(found.owner).kill()
            break
        time.sleep(0.01)
    if state.lab_folder(name).exists():  # it was killed before it had cleaned up
        state.release(found)


def main() -> None:
    """See the module."""
    if os.fork() > 0:
        os._exit(0)  # whoever started us shall not have to wait for the keeper one day
    logging.getLogger("shoal_lab").addHandler(logging.NullHandler())  # the report has it all
    signals = {signal.SIGTERM, signal.SIGINT}
    # Blocked until the lab is up or has failed: half a lab is never left.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    lab = Lab(
        order.spec,
        loopback=order.loopback,
        logs=Path(order.logs) if order.logs else None,
        folder=Path(order.folder),
        keeper=True,
    )
    try:
        lab.up()
    except ShoalError as error:
        _say(Report(error=type(error).__name__, message=str(error)))
        return
    try:
        lab.play()
        failed = []
        if any(host.spec.run for host in lab.hosts):
            time.sleep(FIRST_LINES_S)
            failed = [line.text for line in lab.failed_lines()]
        _say(Report(up_s=lab.up_s, warnings=(*lab.warnings, *failed)))
        while signal.sigtimedwait(signals, LOOK_S) is None:
            lab.failed_lines()  # notes them for those who look
    except BrokenPipeError:
        pass  # whoever asked for the lab has been interrupted
    finally:
        lab.down()


def _say(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.flush()
    # Whoever started us has heard enough, and a pipe from there ('up 2>&1 | tee log') shall end.
    with Path(os.devnull).open("wb") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere.fileno(), stream.fileno())


if __name__ == "__main__":
    main()
