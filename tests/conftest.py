"""How tests are run, on one process or several, and that every test gives back what it took:
threads, child processes, sockets and files.

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
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from shoal.log import RATE

# Before anybody loads PyTorch: several processes of it, each with a thread for every core, wait for
# each other's threads most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says more about the machine than about the code. The same examples are
# tried each time, so that a failure is that of the change it comes with; others are sought with
# --hypothesis-profile=explore.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("shoal", CALM, derandomize=True)
settings.register_profile("explore", CALM)
settings.load_profile("shoal")

LABS = "tests/lab/"
PATIENCE_S = 20.0
"""How long things may take to go after the test; nothing waits when all are gone."""
OWN = Path("/proc/self")
OTHERS_FILES = ("/dev/", "/proc/", "/sys/", sys.prefix + "/", sys.base_prefix + "/lib/")
"""Not ours: devices, and what libraries keep open of their own (fonts)."""


def pytest_configure(config: pytest.Config) -> None:
    """Ctrl-C means here what it means in a terminal. What a script starts in the background has it
    ignored, with all its children, and they could not be tried with it. (A handler is not handed
    on to children, they get the default; what is ignored is.)"""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def group_of(nodeid: str) -> str:
    """What one of several processes runs alone: a file, whose tests share fixtures, or the folder
    of the labs, which share the addresses of loopback and the cores that a machine gives away."""
    file = nodeid.partition("::")[0]
    return LABS if file.startswith(LABS) else file


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest group comes first: nobody can help with it in the end."""
    if config.pluginmanager.hasplugin("xdist"):
        items.sort(key=lambda item: group_of(item.nodeid) != LABS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each of several processes (``-n 3``) a group after the other, in the order above. (Not
    by marks and ``--dist loadgroup``: with pytest 9.2 xdist 3.8 passes over them.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False
    return Groups(config, log)


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
