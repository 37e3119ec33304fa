"""A host that is only some processes on this machine: no share, no rate, no delay."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence

import psutil

from shoal.errors import LabError
from shoal_lab.host import Host, Usage


class LoopbackHost(Host):
    """See :class:`Host`. It can be killed, frozen and restarted; LabError for the rest."""

    def make(self) -> None:
        """Create its folder."""
        self.folder.mkdir(parents=True)

    def inside(self, argv: Sequence[str]) -> list[str]:
        return list(argv)

    def _end(self) -> None:
        self._signal(signal.SIGKILL)

    def _freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def _thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _slow(self, factor: float) -> None:
        raise self._not_emulated("a CPU share")

    def _fill_disk(self) -> None:
        raise self._not_emulated("a full disk")

    def _free_disk(self) -> None:
        raise self._not_emulated("a full disk")

    def _jump_clock(self, by_s: float) -> None:
        raise self._not_emulated("a clock of its own")

    def usage(self) -> Usage:
        cpu_s, memory = 0.0, 0
        for process in self.processes:
            with contextlib.suppress(psutil.Error):
                family = [psutil.Process(process.pid)]
                family += family[0].children(recursive=True)
                for one in family:
                    times = one.cpu_times()
                    cpu_s += times.user + times.system
                    memory += one.memory_info().rss
        return Usage(cpu_s=cpu_s, busy_s=cpu_s, memory_bytes=memory, sent_bytes=0, received_bytes=0)

    def _signal(self, number: signal.Signals) -> None:
        # Each program was started as the leader of its own group.
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)

    def _not_emulated(self, what: str) -> LabError:
        return LabError(f"host {self.name} runs on loopback, where {what} is not emulated")
