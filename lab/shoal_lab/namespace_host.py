"""A host that is a network namespace, a cgroup and a small disk of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from shoal.errors import LabError
from shoal_lab import command
from shoal_lab.cgroup import Cgroup
from shoal_lab.clock import Clock
from shoal_lab.host import Host, Usage
from shoal_lab.spec import HostSpec


class NamespaceHost(Host):
    """See :class:`Host`. ``quota`` is its CPU in cores of this machine, ``wall`` its
    wall clock, if that may jump."""

    def __init__(
        self,
        name: str,
        spec: HostSpec,
        address: str,
        folder: Path,
        log: Path,
        lab: dict[str, str],
        *,
        quota: float,
        cgroup: Cgroup,
        prefix: Sequence[str],
        wall: Clock | None,
    ) -> None:
        super().__init__(name, spec, address, folder, log, lab)
        self._quota = quota
        self._cgroup = cgroup
        self._prefix = list(prefix)
        self._wall = wall

    def make(self) -> None:
        """Create cgroup and disk. The namespace is made by :mod:`shoal_lab.wiring`."""
        self._cgroup.make()
        self._cgroup.set_cpu(self._quota)
        limit_mb = self.spec.memory_limit_mb
        if limit_mb is not None:
            self._cgroup.set_memory(limit_mb << 20)
        self.folder.mkdir(parents=True)
        size = f"size={self.spec.disk_mb << 20}"
        command.run(["mount", "-t", "tmpfs", "-o", size, "shoal-lab", str(self.folder)])
        if self._wall is not None:
            self._wall.make()

    def remove(self) -> None:
        """Remove cgroup and disk; everything here has been ended."""
        self._cgroup.remove()
        unmount(self.folder)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **(self._wall.environment if self._wall else {})}

    def inside(self, argv: Sequence[str]) -> list[str]:
        # The shell joins last, so that a slow host does not pay for being entered.
        joins = "".join(f"echo $$ > {file} && " for file in self._cgroup.join_files)
        return [*self._prefix, "sh", "-c", f'{joins}exec "$@"', "sh", *argv]

    def _end(self) -> None:
        self._cgroup.kill()

    def _freeze(self) -> None:
        self._cgroup.freeze(True)

    def _thaw(self) -> None:
        self._cgroup.freeze(False)

    def _slow(self, factor: float) -> None:
        self._cgroup.set_cpu(self._quota * factor)

    def _fill_disk(self) -> None:
        # Shrinking the disk to what is on it costs no memory, unlike a file that fills it.
        disk = os.statvfs(self.folder)
        used = max((disk.f_blocks - disk.f_bfree) * disk.f_frsize, 4096)
        command.run(["mount", "-o", f"remount,size={used}", str(self.folder)])

    def _free_disk(self) -> None:
        size = f"remount,size={self.spec.disk_mb << 20}"
        command.run(["mount", "-o", size, str(self.folder)])

    def _jump_clock(self, by_s: float) -> None:
        if self._wall is None:
            raise LabError(
                f"the clock of host {self.name} cannot jump: name a fault 'clock-jump' for it in "
                "the lab file, and have a C compiler (Debian, Ubuntu: apt install gcc libc6-dev)"
            )
        self._wall.jump(by_s)

    def usage(self) -> Usage:
        cpu_s, memory_bytes = self.use()
        wires = self.wire_bytes().values()
        return Usage(
            cpu_s=cpu_s,
            busy_s=cpu_s * self.spec.cores / self._quota,
            memory_bytes=memory_bytes,
            sent_bytes=sum(sent for _, sent in wires),
            received_bytes=sum(received for received, _ in wires),
        )

    def use(self) -> tuple[float, int]:
        """CPU seconds so far and bytes of memory now, in this machine's terms."""
        return self._cgroup.cpu_s(), self._cgroup.memory_bytes()

    def wire_bytes(self) -> dict[str, tuple[int, int]]:
        """Bytes received and sent so far, by the device of each wire that ends here."""
        return _bytes(command.run([*self._prefix, "cat", "/proc/net/dev"]))

    def pids(self) -> list[int]:
        """All processes here."""
        return self._cgroup.pids()


def _bytes(table: str) -> dict[str, tuple[int, int]]:
    """Bytes received and sent by each wire, from /proc/net/dev."""
    lines = [line.split(":") for line in table.splitlines() if "wire" in line]
    rows = {name.strip(): numbers.split() for name, numbers in lines}
    return {name: (int(row[0]), int(row[8])) for name, row in rows.items()}


def unmount(folder: Path) -> None:
    """Take away a disk, whoever still uses it. Nothing happens if there is none."""
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=False, start_new_session=True)
