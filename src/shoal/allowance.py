"""What this process may take of its machine: memory and cores, the least of what there is and what
the control groups around it (v1 and v2, a container's or a service's), and affinity allow."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
_NO_LIMIT = 1 << 60
"""Version 1 says "no limit" with numbers above this."""


def memory_bytes(root: Path = ROOT) -> int:
    """Bytes of memory; 0 where the system does not say. ``root`` is where ``/proc`` lies."""
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        there = 0
    limits = [float(there)] if there > 0 else []
    for folder in _folders("memory", root):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            limits += [number for number in _numbers(folder / name) if 0 < number < _NO_LIMIT]
    return int(min(limits, default=0))


def cores(root: Path = ROOT) -> float:
    """Cores: those that this process may run on, or the seconds of CPU that it may have in a
    second, if that is less."""
    affinity = getattr(os, "sched_getaffinity", None)
    limits = [float(len(affinity(0)) if affinity else os.cpu_count() or 1)]
    for folder in _folders("cpu", root):
        v1 = [*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us")]
        limits += map(_share, (_numbers(folder / "cpu.max"), v1))
    return min(limits)


def whole_cores(root: Path = ROOT) -> int:
    """As many threads as can run all the time, but one at least."""
    return max(1, math.floor(cores(root)))


def _share(quota_and_period_us: list[float]) -> float:
    """Cores that a quota allows; infinite where there is none."""
    if len(quota_and_period_us) != 2:
        return math.inf
    quota_us, period_us = quota_and_period_us
    return quota_us / period_us if quota_us > 0 and period_us > 0 else math.inf


def _folders(controller: str, root: Path) -> Iterator[Path]:
    """The control group that limits this process and those around it, as far as they are seen."""
    paths = _paths(root)
    for inside, place, kind, options in _mounts(root):
        path = paths.get("" if kind == "cgroup2" else controller)
        if path is None or (kind == "cgroup" and controller not in options):
            continue
        top = root / place.lstrip("/")
        # In a container the group's name may be one that only the host knows; then the mount is it.
        within = _within(path, inside)
        here = top / within
        while True:
            yield here
            if here == top or top not in here.parents:
                break
            here = here.parent


def _within(path: str, inside: str) -> str:
    """Where the group ``path`` lies below a mount that shows what is ``inside`` a group."""
    parts, top = Path(path).parts[1:], Path(inside).parts[1:]
    if ".." in parts or parts[: len(top)] != top:
        return ""
    return "/".join(parts[len(top) :])


def _paths(root: Path) -> dict[str, str]:
    """This process's group by controller; of version 2 under ``""``."""
    paths = {}
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(errors="replace").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _mounts(root: Path) -> list[tuple[str, str, str, list[str]]]:
    """Mounts of control groups: what of them is shown, where, kind and options. See proc(5)."""
    mounts = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/mountinfo").read_text(errors="replace").splitlines():
            about, _, rest = line.partition(" - ")
            kind, _, options = (*rest.split(" "), "", "")[:3]
            words = about.split(" ")
            if kind in ("cgroup", "cgroup2") and len(words) > 4:
                inside, place = _plain(words[3]), _plain(words[4])
                mounts.append((inside, place, kind, options.split(",")))
    return mounts


def _plain(word: str) -> str:
    """Spaces and the like are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)


def _numbers(file: Path) -> list[float]:
    """The numbers in a file, infinite for ``max``; none where there is no such file."""
    try:
        words = file.read_text(encoding="ascii").split()
        return [math.inf if word == "max" else float(word) for word in words]
    except (OSError, ValueError):
        return []
