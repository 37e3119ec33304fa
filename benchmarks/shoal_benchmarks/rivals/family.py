"""All processes of a run, found by a mark in their environment: what they use, and their end.

Rivals start processes that start processes (Ray: half a dozen) and outlive their parents.
"""

from __future__ import annotations

import contextlib
import os
import time

import msgspec
import psutil

MARK = "SHOAL_RIVALS_RUN"
"""The environment variable that names the run."""
END_S = 5.0


class Usage(msgspec.Struct, frozen=True):
    """What a run has used: CPU seconds of all its live processes, and what they hold in memory
    (pages that several share count once in all)."""

    cpu_s: float
    memory_bytes: int


def members(run: str) -> list[psutil.Process]:
    """The processes of a run, without this one.

    Some (Ray's) write their title over their environment, so those count as well that descend
    from a marked one or are in its session.
    """
    everybody = list(psutil.process_iter())
    marked = [process for process in everybody if _is_marked(process, run)]
    sessions = {session for process in marked if (session := _session(process)) is not None}
    sessions.discard(os.getsid(0))
    found = {process.pid: process for process in marked}
    for process in marked:
        with contextlib.suppress(psutil.Error):
            found.update((child.pid, child) for child in process.children(recursive=True))
    for process in everybody:
        if _session(process) in sessions:
            found[process.pid] = process
    found.pop(os.getpid(), None)
    return list(found.values())


def usage(run: str) -> Usage:
    """What the processes of a run use."""
    cpu_s, memory = 0.0, 0
    for process in members(run):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            cpu_s += times.user + times.system
            memory += _resident(process)
    return Usage(cpu_s, memory)


def end(run: str) -> None:
    """Kill all processes of a run, also those that appear meanwhile, and see them gone."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        found = [process for process in members(run) if not _is_dead(process)]
        if not found:
            return
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=0.5)


def _is_marked(process: psutil.Process, run: str) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return bool(process.environ().get(MARK) == run)
    return False


def _session(process: psutil.Process) -> int | None:
    with contextlib.suppress(OSError):
        return os.getsid(process.pid)
    return None


def _resident(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
    except psutil.Error:
        return int(process.memory_info().rss)
    return int(getattr(full, "pss", 0) or full.rss)


def _is_dead(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True
