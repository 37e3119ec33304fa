"""Workers as separate processes on this machine: for trying things out, for tests, for the demo."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec

from shoal import allowance
from shoal.errors import MeshError, UsageError
from shoal.model.engine import CPU
from shoal.plan.cluster import Cluster, Device, Gateway, Host
from shoal.plan.size import Size
from shoal.process import home, tell_of_forks
from shoal.runtime.worker import WorkerOptions
from shoal.scratch import Scratch

START_S = 60.0
"""How long a worker may take to start. One that cannot ends by itself, at once; a busy machine is
slow."""


class WorkerProcess:
    """A worker in a process of its own, and the faults that can be done to it. It ends with this
    process, and then the last that uses ``scratch`` removes it. A child made by fork can do
    nothing to it (ForkError)."""

    def __init__(
        self,
        options: WorkerOptions,
        log: Path,
        cores: Sequence[int] = (),
        scratch: Scratch | None = None,
    ) -> None:
        self.options = options
        self.log = log
        self.addresses: list[str] = []
        self._cores = tuple(cores)
        self._scratch = scratch
        self._started: subprocess.Popen[bytes] | None = None
        self._home = home()
        tell_of_forks(self)

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

    @property
    def _process(self) -> subprocess.Popen[bytes] | None:
        self._home.check(f"the worker {self.name}")
        return self._started

    def start(self) -> None:
        """Start it, without waiting."""
        self._home.check(f"the worker {self.name}")
        words = [msgspec.json.encode(self.options).decode(), str(os.getpid())]
        if self._scratch is not None:
            words.append(str(self._scratch.path))
        with self.log.open("ab") as log:
            self._started = subprocess.Popen(
                [sys.executable, "-m", "shoal.runtime.worker", *words],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        if self._cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self._started.pid, self._cores)

    def in_child(self) -> None:
        """See :class:`~shoal.process.Inherited`: the worker ends when nobody has its pipe."""
        if self._started is not None:
            _close(self._started)

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
            _close(self._process)


class LocalCluster(Cluster, frozen=True, kw_only=True):
    """A cluster whose workers are processes of this machine. Leave its ``with`` block, and they
    end; they also do when this process ends, however. ``processes`` are the workers by name,
    ``scratch`` is the folder of their parts and logs."""

    processes: dict[str, WorkerProcess]
    scratch: Scratch

    def to_yaml(self) -> str:
        """The cluster as others can use it while it runs."""
        fields = {name: getattr(self, name) for name in Cluster.__struct_fields__}
        return Cluster(**fields).to_yaml()

    def __reduce__(self) -> tuple[Callable[[str], Cluster], tuple[str]]:
        """Sent to another process, it is a cluster like any other: the workers stay this one's."""
        return Cluster.from_yaml, (self.to_yaml(),)

    def close(self) -> None:
        """End the workers and remove their folder. Nothing in a child made by fork."""
        if not self.scratch.home.here:
            return
        for process in self.processes.values():
            process.thaw()
        for process in self.processes.values():
            process.kill()
        self.scratch.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
    scratch = Scratch.make("workers")
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
                store=str(scratch.path / name),
                lease_ms=lease_ms,
            )
            cores = pin[index % len(pin)] if pin else ()
            log = scratch.path / f"{name}.log"
            processes[name] = WorkerProcess(options, log, cores, scratch)
        for process in processes.values():
            process.start()
        end = time.monotonic() + START_S
        for process in processes.values():
            process.wait_ready(max(0.1, end - time.monotonic()))
    except BaseException:
        for process in processes.values():
            process.kill()
        scratch.remove()
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
        hosts={"here": Host(allowance.cores())},
        lease_ms=lease_ms,
        processes=processes,
        scratch=scratch,
    )


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
