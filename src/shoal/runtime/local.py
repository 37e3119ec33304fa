"""Workers as separate processes on this machine: for trying things out, for tests, for the demo."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from shoal.errors import MeshError, UsageError
from shoal.model.engine import CPU
from shoal.plan.cluster import Cluster, Device, Gateway, Host
from shoal.plan.size import Size
from shoal.runtime.worker import WorkerOptions

START_S = 60.0
"""How long a worker may take to start. One that cannot ends by itself, at once; a busy machine is
slow."""


class WorkerProcess:
    """A worker in a process of its own, and the faults that can be done to it."""

    def __init__(self, options: WorkerOptions, log: Path, cores: Sequence[int] = ()) -> None:
        self.options = options
        self.log = log
        self.addresses: list[str] = []
        self._cores = tuple(cores)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """The worker's name."""
        return self.options.name

    @property
    def pid(self) -> int:
        """The process id (of the last start)."""
        if self._process is None:
            raise UsageError(f"{self.name} was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, without waiting."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "shoal.runtime.worker", json.dumps(_plain(self.options))],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
        if self._cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self._process.pid, self._cores)

    def wait_ready(self, timeout_s: float = START_S) -> None:
        """Wait until it is on the mesh; MeshError with its last words if that fails."""
        process = self._process
        if process is None or process.stdout is None:
            raise UsageError(f"{self.name} was never started")
        ready, _, _ = select.select([process.stdout], [], [], timeout_s)
        line = process.stdout.readline() if ready else b""
        if not line.startswith(b"{"):
            self.kill()
            words = self.log.read_text(errors="replace").strip().splitlines()
            raise MeshError(
                f"{self.name} did not start: {words[-1] if words else 'no reason given'}"
            )
        self.addresses = list(json.loads(line)["addresses"])
        listen = tuple(self.addresses)
        self.options = msgspec.structs.replace(self.options, listen=listen)

    def kill(self) -> None:
        """SIGKILL: it is gone without a word."""
        self._signal(signal.SIGKILL)
        self._reap()

    def freeze(self) -> None:
        """SIGSTOP: it is silent, its sockets stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on after a freeze."""
        self._signal(signal.SIGCONT)

    def stop(self, timeout_s: float = 15.0) -> None:
        """SIGTERM: it finishes what it has and leaves."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        try:
            if self._process is not None:
                self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
        self._reap()

    def restart(self) -> None:
        """Start it again under the same name and address, and wait until it is back."""
        self.kill()
        self.start()
        self.wait_ready()

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()


class LocalCluster(Cluster, frozen=True, kw_only=True):
    """A cluster whose workers are processes of this machine. Leave its ``with`` block, and they
    end. ``processes`` are the workers by name."""

    processes: dict[str, WorkerProcess]
    folder: str

    def to_yaml(self) -> str:
        """The cluster as others can use it while it runs."""
        fields = {name: getattr(self, name) for name in Cluster.__struct_fields__}
        return Cluster(**fields).to_yaml()

    def close(self) -> None:
        """End the workers and remove their folder."""
        for process in self.processes.values():
            process.thaw()
        for process in self.processes.values():
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def local_cluster(
    count: int,
    *,
    threads: int = 1,
    memory_limit: int = 0,
    lease_ms: int = 400,
    provider: str = CPU,
    pin: Sequence[Sequence[int]] = (),
    speeds: Mapping[str, float] | None = None,
) -> LocalCluster:
    """Start ``count`` workers ``worker-1`` ... on loopback; use it in a ``with`` block.

    ``pin`` gives the cores of each worker in turn. Each worker has a part store of its own, so
    that parts travel as they would between machines. Raises MeshError when one does not start.
    """
    if count < 1:
        raise UsageError(f"a cluster needs at least one worker, not {count}")
    folder = tempfile.mkdtemp(prefix="shoal-")
    processes: dict[str, WorkerProcess] = {}
    try:
        for index in range(count):
            name = f"worker-{index + 1}"
            options = WorkerOptions(
                name=name,
                listen=("tcp/127.0.0.1:0",),
                threads=threads,
                provider=provider,
                memory_limit=memory_limit,
                store=str(Path(folder) / name),
                lease_ms=lease_ms,
            )
            cores = pin[index % len(pin)] if pin else ()
            processes[name] = WorkerProcess(options, Path(folder) / f"{name}.log", cores)
        for process in processes.values():
            process.start()
        end = time.monotonic() + START_S
        for process in processes.values():
            process.wait_ready(max(0.1, end - time.monotonic()))
    except BaseException:
        for process in processes.values():
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)
        raise
    speeds = speeds or {}
    devices = tuple(
        Device(
            name=name,
            address=process.addresses[0],
            threads=threads,
            provider=provider,
            memory=Size(memory_limit),
            host="here",
            speed=speeds.get(name, 1.0),
        )
        for name, process in processes.items()
    )
    return LocalCluster(
        name=f"{count} workers on this machine",
        devices=devices,
        gateway=Gateway(host="here"),
        hosts={"here": Host(float(usable_cores()))},
        lease_ms=lease_ms,
        processes=processes,
        folder=folder,
    )


def usable_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _plain(options: WorkerOptions) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(options)
    return plain
