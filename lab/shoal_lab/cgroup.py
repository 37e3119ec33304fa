"""A host's cgroup: CPU quota, memory limit, freezer, and the list of its processes (v1 and v2).

Hosts' cgroups are called ``shoal-lab/LAB/HOST``. The CPU quota has a short period, so that a slow
device is slow and not stuttering: 10 ms, or as long as the kernel's least quota of 1 ms needs.
The kernel notices an exhausted quota at its clock tick (1 to 10 ms), which is the grain of it all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import msgspec

from shoal.errors import LabError

TOP = "shoal-lab"
LEAST_PERIOD_US = 10_000
LEAST_QUOTA_US = 1_000
MOST_PERIOD_US = 1_000_000
NEARLY_WHOLE = 0.9
BURST_US = 5_000
"""The kernel deals a quota in slices of 5 ms and throws away what is left of it at the end of a
period: 4 % of a host that has a whole core and so can never make up for it. Up to this much is
kept for hosts that are so fast that it gives them nothing else."""
MOST_WEIGHT = {1: "262144", 2: "10000"}
"""Hosts get their quota first, whatever else runs: all quotas together fit the machine."""
V1_CONTROLLERS = ("cpu", "cpuacct", "memory", "freezer")


class Hierarchy(msgspec.Struct, frozen=True):
    """Where cgroups are mounted. v1: one folder for each controller. v2: one under ``""``."""

    folders: dict[str, str]

    @property
    def version(self) -> int:
        """1 or 2."""
        return 2 if "" in self.folders else 1


def hierarchy(mounts: Path = Path("/proc/self/mounts")) -> Hierarchy | str:
    """The hierarchy that can limit CPU and memory, or what is missing, in words."""
    v1: dict[str, str] = {}
    v2: str | None = None
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        return f"control groups ({mounts}: {error.strerror})"
    for line in lines:
        _, folder, kind, options, *_ = line.split()
        if kind == "cgroup":
            v1.update((name, folder) for name in options.split(",") if name in V1_CONTROLLERS)
        elif kind == "cgroup2":
            v2 = folder
    if set(v1) == set(V1_CONTROLLERS):
        return Hierarchy(v1)
    if v2 is not None:
        with contextlib.suppress(OSError):
            known = (Path(v2) / "cgroup.controllers").read_text(encoding="utf-8").split()
            if {"cpu", "memory"} <= set(known):
                return Hierarchy({"": v2})
    return "control groups with the controllers cpu and memory (mounted under /sys/fs/cgroup)"


def period_and_quota_us(cores: float) -> tuple[int, int]:
    """CFS period and quota for ``cores`` (above 0) of this machine, in microseconds."""
    period = min(max(LEAST_PERIOD_US, round(LEAST_QUOTA_US / cores)), MOST_PERIOD_US)
    return period, max(LEAST_QUOTA_US, round(period * cores))


class Cgroup:
    """The cgroup of one host, at ``shoal-lab/LAB/HOST``."""

    def __init__(self, where: Hierarchy, lab: str, host: str) -> None:
        self._v2 = where.version == 2
        self._roots = {name: Path(folder) for name, folder in where.folders.items()}
        self._path = Path(TOP) / lab / host

    def make(self) -> None:
        """Create it; LabError if the kernel refuses."""
        try:
            for root in set(self._roots.values()):
                (root / self._path).mkdir(parents=True, exist_ok=True)
            if self._v2:
                root = self._roots[""]
                for parent in reversed(self._path.parents):
                    _write(root / parent / "cgroup.subtree_control", "+cpu +memory")
                _write(root / TOP / "cpu.weight", MOST_WEIGHT[2])
            else:
                _write(self._roots["cpu"] / TOP / "cpu.shares", MOST_WEIGHT[1])
        except OSError as error:
            raise LabError(f"cannot make the cgroup {self._path}: {error}") from error

    @property
    def join_files(self) -> list[Path]:
        """A process that writes its number into each of these is inside."""
        return sorted({root / self._path / "cgroup.procs" for root in self._roots.values()})

    def set_cpu(self, cores: float) -> None:
        """Limit it to ``cores`` seconds of CPU in a second."""
        period, quota = period_and_quota_us(cores)
        burst = str(BURST_US if cores >= NEARLY_WHOLE else 0)
        if self._v2:
            self._set_burst("cpu.max.burst", "0")  # the old one may be more than the new quota
            _write(self._file("cpu.max"), f"{quota} {period}")
            self._set_burst("cpu.max.burst", burst)
            return
        # The old quota may not fit the new period: take it away first.
        self._set_burst("cpu.cfs_burst_us", "0")
        _write(self._file("cpu.cfs_quota_us"), "-1")
        _write(self._file("cpu.cfs_period_us"), str(period))
        _write(self._file("cpu.cfs_quota_us"), str(quota))
        self._set_burst("cpu.cfs_burst_us", burst)

    def _set_burst(self, name: str, burst_us: str) -> None:
        with contextlib.suppress(OSError):  # kernels before 5.14 have none
            _write(self._file(name), burst_us)

    def set_memory(self, limit_bytes: int) -> None:
        """Limit its memory; the kernel kills a process of it that wants more."""
        if self._v2:
            _write(self._file("memory.max"), str(limit_bytes))
            with contextlib.suppress(OSError):  # no swap in this kernel
                _write(self._file("memory.swap.max"), "0")
            return
        _write(self._file("memory.limit_in_bytes"), str(limit_bytes))
        with contextlib.suppress(OSError):
            _write(self._file("memory.memsw.limit_in_bytes"), str(limit_bytes))

    def freeze(self, frozen: bool) -> None:
        """Stop every process of it where it is, or let them go on."""
        if self._v2:
            _write(self._file("cgroup.freeze"), "1" if frozen else "0")
        else:
            _write(self._file("freezer.state"), "FROZEN" if frozen else "THAWED")

    def pids(self) -> list[int]:
        """Its processes, empty if it does not exist."""
        try:
            return [int(line) for line in self._file("cgroup.procs").read_text().split()]
        except FileNotFoundError:
            return []

    def kill(self, within_s: float = 2.0) -> None:
        """End every process of it, frozen ones too; LabError if one is left after a while."""
        deadline = time.monotonic() + within_s
        if self.pids():
            self.freeze(False)
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise LabError(f"processes {pids} of {self._path} do not end")
            time.sleep(0.002)

    def cpu_s(self) -> float:
        """CPU seconds used so far."""
        if self._v2:
            return self._stat("cpu.stat")["usage_usec"] / 1e6
        return int(self._file("cpuacct.usage").read_text()) / 1e9

    def memory_bytes(self) -> int:
        """Memory in use now, the files on the host's disk included."""
        name = "memory.current" if self._v2 else "memory.usage_in_bytes"
        return int(self._file(name).read_text())

    def remove(self, within_s: float = 2.0) -> None:
        """Remove it, and the folders above it that are empty then."""
        deadline = time.monotonic() + within_s
        for root in set(self._roots.values()):
            folder = root / self._path
            while folder.exists():
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError as error:
                    # The kernel lets go of a killed process a moment after it has ended.
                    if time.monotonic() > deadline:
                        raise LabError(f"cannot remove the cgroup {folder}: {error}") from error
                    time.sleep(0.002)
            for parent in (folder.parent, folder.parent.parent):
                with contextlib.suppress(OSError):
                    parent.rmdir()

    def _file(self, name: str) -> Path:
        controller = {"cpuacct": "cpuacct", "memory": "memory", "freezer": "freezer"}.get(
            name.split(".")[0], "cpu"
        )
        return self._roots["" if self._v2 else controller] / self._path / name

    def _stat(self, name: str) -> dict[str, int]:
        lines = self._file(name).read_text().splitlines()
        return {key: int(value) for key, value in (line.split() for line in lines)}


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="ascii")
