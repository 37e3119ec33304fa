"""Every test gives back what it took: threads, child processes, sockets and files.

What higher-scoped fixtures hold is there before the test and after it, so it does not count.
"""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from shoal.log import RATE

# How long an example takes says more about the machine than about the code.
settings.register_profile("shoal", deadline=None)
settings.load_profile("shoal")

PATIENCE_S = 20.0
"""How long things may take to go after the test; nothing waits when all are gone."""
OWN = Path("/proc/self")
OTHERS_FILES = ("/dev/", "/proc/", "/sys/", sys.prefix + "/", sys.base_prefix + "/lib/")
"""Not ours: devices, and what libraries keep open of their own (fonts)."""


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.is_alive()}


def children() -> set[tuple[int, str]]:
    """Direct children, also those that ended and were not waited for."""
    found: set[tuple[int, str]] = set()
    for task in OWN.glob("task/*/children"):
        try:
            pids = task.read_text().split()
        except OSError:  # the thread ended meanwhile
            continue
        for pid in pids:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            started = stat.rsplit(")", 1)[1].split()[19]
            found.add((int(pid), f"{command.decode(errors='replace').strip()} @{started}"))
    return found


def handles() -> set[str]:
    """Sockets and files of the file system that are open. Pipes and the like are left out:
    engines keep some of their own from their first use on."""
    found: set[str] = set()
    for entry in OWN.glob("fd/*"):
        try:
            target = str(entry.readlink())
        except OSError:  # the handle of this very look
            continue
        real_file = target.startswith("/") and not target.startswith(OTHERS_FILES)
        if target.startswith("socket:") or (real_file and not target.endswith("(deleted)")):
            found.add(f"fd {entry.name} -> {target}")
    return found


WATCHED: dict[str, Callable[[], set]] = {
    "threads": threads,
    "child processes": children,
    "sockets and files": handles,
}


@pytest.fixture(autouse=True)
def nothing_is_withheld() -> None:
    """What was logged too often in one test is logged in the next."""
    RATE.forget()


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    before = {what: look() for what, look in WATCHED.items()}
    yield
    leaks = still_there(before)
    deadline = time.monotonic() + PATIENCE_S
    if leaks:
        gc.collect()  # what only waits for the collector is no leak
    while (leaks := still_there(before)) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid, _ in leaks.get("child processes", ()):
        os.kill(pid, signal.SIGKILL)  # or it disturbs the tests that follow
    if leaks:
        pytest.fail(f"the test left behind: {leaks}", pytrace=False)


def still_there(before: dict[str, set]) -> dict[str, set]:
    now = {what: look() - before[what] for what, look in WATCHED.items()}
    return {what: left for what, left in now.items() if left}
