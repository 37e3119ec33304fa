"""Where rivals run: processes on loopback pinned to cores, or hosts of a lab."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from shoal_benchmarks.rivals import family
from shoal_benchmarks.rivals.family import MARK, Usage
from shoal_benchmarks.rivals.job import Seat
from shoal_benchmarks.rivals.traffic import sent_bytes

RESTART_S = 0.1
"""Between the end of a kept process and its next start: systemd's ``RestartSec`` by default."""


class Ground(ABC):
    """Seats for the stages and for the client, in a ``with`` block that ends all processes."""

    shared: bool
    """Whether all seats are one machine."""

    def __init__(self, logs: Path) -> None:
        self.run = secrets.token_hex(8)
        self._logs = logs
        self._processes: list[subprocess.Popen[bytes]] = []
        self._keepers: list[threading.Thread] = []
        self._over = threading.Event()
        self._lock = threading.Lock()

    @property
    @abstractmethod
    def seats(self) -> tuple[Seat, ...]:
        """Where the stages run, one each."""

    @property
    @abstractmethod
    def client(self) -> Seat:
        """Where requests come from."""

    @abstractmethod
    def wire_bytes(self) -> int:
        """Bytes sent so far, each counted once."""

    @abstractmethod
    def _popen(self, seat: Seat, argv: Sequence[str], options: dict[str, Any]) -> Any:
        """Start a process on a seat."""

    def spawn(
        self,
        seat: Seat,
        argv: Sequence[str],
        *,
        keep: bool = False,
        env: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start ``python ARGV`` on a seat; ``keep`` starts it again whenever it ends, as systemd
        would. Its standard input stays open as long as the bench lives."""
        process = self._start(seat, argv, env or {}, stdout)
        if keep:
            keeper = threading.Thread(
                target=self._keep, args=(process, seat, argv, env or {}), name="keeper"
            )
            self._keepers.append(keeper)
            keeper.start()
        return process

    def usage(self) -> Usage:
        """What all processes here use."""
        return family.usage(self.run)

    def log(self, seat: Seat) -> str:
        """The last line that processes on a seat have printed."""
        with contextlib.suppress(OSError):
            lines = self._log(seat).read_text(errors="replace").strip().splitlines()
            return lines[-1][:300] if lines else ""
        return ""

    def close(self) -> None:
        """End everything."""
        self._over.set()
        with self._lock:
            processes = list(self._processes)
        family.end(self.run)
        for process in processes:  # it may not have had its mark yet
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for keeper in self._keepers:
            keeper.join()
        for process in self._processes:
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()

    def _start(
        self, seat: Seat, argv: Sequence[str], env: Mapping[str, str], stdout: int | None
    ) -> subprocess.Popen[bytes]:
        with self._log(seat).open("ab") as log:
            options: dict[str, Any] = {
                "env": {MARK: self.run, **env},
                "stdin": subprocess.PIPE,
                "stdout": log if stdout is None else stdout,
                "stderr": log,
                "start_new_session": True,
            }
            with self._lock:
                process: subprocess.Popen[bytes] = self._popen(
                    seat, [sys.executable, *argv], options
                )
                self._processes.append(process)
        return process

    def _keep(
        self,
        process: subprocess.Popen[bytes],
        seat: Seat,
        argv: Sequence[str],
        env: Mapping[str, str],
    ) -> None:
        while True:
            process.wait()
            if self._over.wait(RESTART_S):
                return
            process = self._start(seat, argv, env, None)

    def _log(self, seat: Seat) -> Path:
        return self._logs / f"{seat.name}.log"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Loopback(Ground):
    """Processes of this machine, each stage on cores of its own where there are enough."""

    shared = True

    def __init__(self, logs: Path, stages: int, threads: int = 1) -> None:
        super().__init__(logs)
        cores = _cores()
        self._seats = tuple(
            Seat(
                name=f"worker-{k + 1}",
                address="127.0.0.1",
                ports=(free_port(), free_port()),
                cores=tuple(cores[(k * threads + i) % len(cores)] for i in range(threads)),
            )
            for k in range(stages)
        )
        used = {core for seat in self._seats for core in seat.cores}
        spare = tuple(core for core in cores if core not in used)
        self._client = Seat("client", "127.0.0.1", (free_port(), free_port()), spare)

    @property
    def seats(self) -> tuple[Seat, ...]:
        return self._seats

    @property
    def client(self) -> Seat:
        return self._client

    def wire_bytes(self) -> int:
        """By the run's TCP connections, without headers."""
        return sent_bytes({process.pid for process in family.members(self.run)})

    def _popen(self, seat: Seat, argv: Sequence[str], options: dict[str, Any]) -> Any:
        options["env"] = {**os.environ, **options["env"]}
        process = subprocess.Popen(list(argv), **options)
        if seat.cores and hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(process.pid, seat.cores)
        return process


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
