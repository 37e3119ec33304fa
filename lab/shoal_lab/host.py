"""A host of a lab: start processes on it, and do to it what can happen to a device."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from shoal.errors import LabError
from shoal_lab.conditions import FailedLine, HostCondition
from shoal_lab.energy import Energy, estimate
from shoal_lab.spec import HostSpec

END_TIMEOUT_S = 5.0
TAIL_BYTES = 2000


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a host used since it is up. ``busy_s`` is in the device's own time: the seconds that one
    core of the device would have computed (CPU seconds here divided by the share)."""

    cpu_s: float
    busy_s: float
    memory_bytes: int
    sent_bytes: int
    received_bytes: int


class Service(msgspec.Struct):
    """A process that a host runs, and how it was started. ``line`` is the one of the host's ``run``
    that it is, if it is one; ``judged`` once it is known how that ended."""

    argv: tuple[str, ...]
    options: dict[str, Any]
    process: subprocess.Popen[Any]
    line: str | None = None
    judged: bool = False


class Host(ABC):
    """A device of the lab. ``address`` is its own, ``folder`` its disk (its caches lie there),
    ``log`` takes what its processes print."""

    def __init__(
        self, name: str, spec: HostSpec, address: str, folder: Path, log: Path, lab: dict[str, str]
    ) -> None:
        self.name = name
        self.spec = spec
        self.address = address
        self.folder = folder
        self.log = log
        self.condition = HostCondition()
        self.on_change: Callable[[], object] = lambda: None
        self._lab = lab
        self._services: list[Service] = []
        self._lock = threading.RLock()  # a fault and the lab's user may come at the same time

    def spawn(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a program on this host and return at once.

        ``env`` is added to this process's environment. ``options`` are those of ``Popen``; without
        them it reads nothing and prints to :attr:`log`. A ``restart`` starts it again. LabError if
        the host was killed or the program cannot be started.
        """
        options["env"] = {**os.environ, **self.environment(), **(env or {})}
        with self._lock:
            if self.condition.dead:
                raise LabError(f"host {self.name} was killed; restart it before you start programs")
            service = Service(tuple(argv), options, self._start(argv, options))
            self._services.append(service)
        return service.process

    def start_lines(self) -> None:
        """Start the lines of ``run``."""
        for line in self.spec.run:
            self.spawn(["/bin/sh", "-c", line])
            self._services[-1].line = line

    def failed_lines(self) -> list[FailedLine]:
        """The lines of ``run`` that failed since this was asked last. Who was killed did not."""
        with self._lock:
            ended = [
                service
                for service in self._services
                if service.line is not None
                and not service.judged
                and service.process.poll() is not None
                and not self.condition.dead
            ]
            for service in ended:
                service.judged = True
            failed = [
                FailedLine(
                    host=self.name,
                    line=service.line or "",
                    code=service.process.returncode,
                    log=str(self.log),
                    last=_last_line(self.log),
                )
                for service in ended
                if service.process.returncode != 0
            ]
            if failed:
                self._note(failed=(*self.condition.failed, *failed))
        return failed

    def run(self, argv: Sequence[str], timeout_s: float = 60.0) -> str:
        """Run a program on this host to its end; what it printed on stdout.

        LabError if it fails, with what it said, or takes longer than ``timeout_s``.
        """
        process = self._start(
            argv,
            {
                "env": {**os.environ, **self.environment()},
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
            },
        )
        with process:
            try:
                out, errors = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise LabError(
                    f"{' '.join(argv)} on {self.name} took longer than {timeout_s:g} s"
                ) from None
        if process.returncode != 0:
            last = (errors or out).strip().splitlines()[-1:]
            raise LabError(
                f"{' '.join(argv)} on {self.name} failed with {process.returncode}: {''.join(last)}"
            )
        return str(out)

    def environment(self) -> dict[str, str]:
        """What each process here finds in its environment: SHOAL_LAB, SHOAL_HOST, the addresses
        of all hosts as SHOAL_ADDR_NAME, and caches on this host's own disk."""
        disk = str(self.folder)
        own = {"SHOAL_HOST": self.name, "SHOAL_CACHE": disk, "TMPDIR": disk}
        return {**self._lab, **own}

    @property
    def processes(self) -> list[subprocess.Popen[Any]]:
        """What was started here and still runs."""
        return [service.process for service in self._services if service.process.poll() is None]

    def kill(self) -> bool:
        """End every process at once, also those that started by themselves. Nothing is started
        here until :meth:`restart`. Whether it lived until now."""
        with self._lock:
            lived = not self.condition.dead
            self._note(dead=True)
            for service in self._services:
                service.process.kill()  # it may not have joined its cgroup yet
            self._end()
            for service in self._services:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    service.process.wait(END_TIMEOUT_S)
            if self.condition.frozen:
                self.thaw()  # a device that starts again is not frozen
            return lived

    def restart(self) -> None:
        """End every process and start what :meth:`spawn` had started (what ran when the host was
        killed, or runs now; not what had ended by itself)."""
        with self._lock:
            again = [
                service
                for service in self._services
                if service.process.poll() is None or service.process.returncode < 0
            ]
            self.kill()
            self._note(dead=False, failed=())
            for service in self._services:
                if service.process.stdin is not None:  # nobody can write to it any more
                    with contextlib.suppress(OSError):
                        service.process.stdin.close()
            self._services = []
            for service in again:
                process = self._start(service.argv, service.options)
                self._services.append(Service(service.argv, service.options, process, service.line))

    def freeze(self) -> None:
        """Stop every process where it is; its connections stay open."""
        self._freeze()
        self._note(frozen=True)

    def thaw(self) -> None:
        """Let them go on."""
        self._thaw()
        self._note(frozen=False)

    def slow(self, factor: float) -> None:
        """Give it ``factor`` of its CPU share; 1 is all of it again."""
        self._slow(factor)
        self._note(factor=factor)

    def fill_disk(self) -> None:
        """Leave no byte on its disk."""
        self._fill_disk()
        self._note(disk_full=True)

    def free_disk(self) -> None:
        """Give the disk its size again."""
        self._free_disk()
        self._note(disk_full=False)

    def jump_clock(self, by_s: float) -> None:
        """Let the wall clock of its processes jump; they see it within a second."""
        self._jump_clock(by_s)
        self._note(clock_s=self.condition.clock_s + by_s)

    def energy(self, wall_s: float, mbit: float | None) -> Energy:
        """What the device would have used in ``wall_s`` seconds, by :meth:`usage` since it is up;
        ``mbit`` is the rate at which it sends. An estimate. LabError without a preset's powers."""
        power = self.spec.power
        if power is None:
            raise LabError(f"host {self.name} has no preset, so nothing is known of its power")
        usage = self.usage()
        return estimate(
            power, wall_s=wall_s, busy_s=usage.busy_s, sent_bytes=usage.sent_bytes, mbit=mbit
        )

    def close(self) -> None:
        """End everything and let go of what was opened here."""
        self.kill()
        for service in self._services:
            for stream in (service.process.stdin, service.process.stdout, service.process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()

    def _note(self, **what: Any) -> None:
        """Write down what is done to it."""
        with self._lock:
            self.condition = msgspec.structs.replace(self.condition, **what)
        self.on_change()

    def _start(self, argv: Sequence[str], options: dict[str, Any]) -> subprocess.Popen[Any]:
        given = {"stdin": subprocess.DEVNULL, "start_new_session": True, **options}
        try:
            if "stdout" in given:
                return subprocess.Popen(self.inside(argv), **given)
            with self.log.open("ab") as log:
                given = {"stderr": subprocess.STDOUT, **given}
                return subprocess.Popen(self.inside(argv), stdout=log, **given)
        except OSError as error:
            raise LabError(f"cannot start {argv[0]} on {self.name}: {error}") from error

    @abstractmethod
    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs ``argv`` on this host."""

    @abstractmethod
    def _end(self) -> None:
        """End every process of this host."""

    @abstractmethod
    def _freeze(self) -> None:
        """See :meth:`freeze`; so with those below."""

    @abstractmethod
    def _thaw(self) -> None: ...

    @abstractmethod
    def _slow(self, factor: float) -> None: ...

    @abstractmethod
    def _fill_disk(self) -> None: ...

    @abstractmethod
    def _free_disk(self) -> None: ...

    @abstractmethod
    def _jump_clock(self, by_s: float) -> None: ...

    @abstractmethod
    def usage(self) -> Usage:
        """What it used since it is up."""


def _last_line(log: Path) -> str:
    """The last line of a log, empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
            lines = file.read(TAIL_BYTES).decode(errors="replace").split("\n")
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:200] if said else ""
