"""Running ``ip`` and ``tc``: many lines in one process, and Ctrl-C does not reach them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from shoal.errors import LabError

TIMEOUT_S = 60.0


def run(command: Sequence[str], stdin: str = "", *, check: bool = True) -> str:
    """Run a command to its end; what it printed. LabError if it fails (unless not ``check``)."""
    return run_all([(command, stdin)], check=check)[0]


def run_all(commands: Sequence[tuple[Sequence[str], str]], *, check: bool = True) -> list[str]:
    """Run commands at the same time, each with its stdin; what each printed.

    LabError with the first failure, when all have ended.
    """
    running: list[tuple[subprocess.Popen[str], Sequence[str], str]] = []
    said, failed = [], []
    try:
        for command, stdin in commands:
            running.append((_start(command), command, stdin))
        for process, command, stdin in running:
            try:
                out, _ = process.communicate(stdin, timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                out = f"no end after {TIMEOUT_S:g} s"
            said.append(out)
            if process.returncode != 0:
                failed.append(f"{' '.join(command)}: {out.strip() or process.returncode}")
    finally:  # after an interrupt: none goes on while what it makes is removed
        for process, _, _ in running:
            if process.poll() is None:
                process.kill()
                process.communicate()
    if failed and check:
        raise LabError(f"a command of the lab failed: {failed[0]}")
    return said


def _start(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # An interrupted ip would leave half of a namespace: Ctrl-C is for the lab to handle.
        start_new_session=True,
    )
