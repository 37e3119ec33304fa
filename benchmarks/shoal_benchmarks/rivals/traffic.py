"""Bytes that processes have sent on the TCP connections that they hold."""

from __future__ import annotations

import re
import subprocess

from shoal.errors import MeshError

TIMEOUT_S = 10.0
PID = re.compile(r"pid=(\d+)")
SENT = re.compile(r"\bbytes_sent:(\d+)")


def sent_bytes(pids: set[int]) -> int:
    """As the kernel counts them, by ``ss``. MeshError without it."""
    try:
        done = subprocess.run(
            ["ss", "-tinpHO"], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MeshError(
            f"bytes cannot be counted: ss (Debian, Ubuntu: apt install iproute2) says {error}"
        ) from None
    return sum_of(done.stdout, pids)


def sum_of(table: str, pids: set[int]) -> int:
    """From what ``ss`` prints, a line for each connection. Pure."""
    total = 0
    for line in table.splitlines():
        sent = SENT.search(line)
        if sent and pids.intersection(int(pid) for pid in PID.findall(line)):
            total += int(sent[1])
    return total
