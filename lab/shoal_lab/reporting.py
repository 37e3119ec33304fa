"""What a service in a lab says of itself, for ``shoal lab watch``: a file in the lab's folder.

The gateway's process writes it every second while it serves; nobody asks anybody over the mesh.
Every service that is deployed on a host of a lab is observed so, by the entry point in the group
``shoal.observers``.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec

from shoal.errors import RequestError
from shoal.plan.plan import Playbook
from shoal.runtime.answer import Answer
from shoal.runtime.observer import ObservedRequest, Observer
from shoal.runtime.service import Service
from shoal.runtime.stats import ServiceStats

EVERY_S = 1.0
STALE_S = 10.0
"""A report older than this is of a process that is frozen or gone."""
PREFIX = "service-"
MAX_BYTES = 1 << 20


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A service at ``at_s`` (monotonic clock). ``plan`` answered most of the last second's
    requests; ``parts`` says which device runs which of its stages (from 1), in order."""

    host: str
    pid: int
    at_s: float
    network: str
    strategy: str
    plan: str
    stages: int
    parts: dict[str, tuple[int, ...]]
    stats: ServiceStats


class Reporter(Observer):
    """Reports what a service does on a host until it is closed."""

    def __init__(self, service: Service, lab: str, host: str) -> None:
        self._service = service
        self._host = host
        self._file = _folder(lab) / f"{PREFIX}{host}-{os.getpid()}.json"
        self._lock = threading.Lock()
        self._plans: Counter[str] = Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._report, name="shoal-lab-report", daemon=True)
        self._thread.start()

    def answered(self, request: ObservedRequest, answer: Answer) -> None:
        with self._lock:
            self._plans[answer.plan] += 1

    def closed(self) -> None:
        self._over.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _report(self) -> None:
        while not self._over.wait(EVERY_S):
            try:
                stats = self._service.stats()
            except RequestError:  # it is being closed
                return
            with self._lock:
                plans, self._plans = self._plans, Counter()
            new = self._file.with_suffix(".new")
            with contextlib.suppress(OSError):  # the lab is going down
                made = report_of(self._host, self._service.playbook, stats, plans)
                new.write_bytes(msgspec.json.encode(made))
                new.replace(self._file)


def reporter(service: Service) -> Reporter | None:
    """Who reports a service, if this process is on a host of a lab."""
    lab, host = os.environ.get("SHOAL_LAB"), os.environ.get("SHOAL_HOST")
    if not (lab and host and _folder(lab).is_dir()):
        return None
    return Reporter(service, lab, host)


def _folder(lab: str) -> Path:
    """The folder of a lab. Imported late: elsewhere than on Linux there are services too."""
    from shoal_lab import state

    return state.lab_folder(lab)


def report_of(
    host: str, playbook: Playbook, stats: ServiceStats, plans: Mapping[str, int]
) -> Report:
    """A report; ``plans`` is how many requests each plan answered since the last one."""
    known = [plan.name for plan in playbook.plans]
    name = max(known, key=lambda plan: plans.get(plan, 0))
    stages = playbook.plan(name).stages
    parts: dict[str, tuple[int, ...]] = {}
    for number, stage in enumerate(stages, 1):
        for device in stage.parts:
            parts[device] = (*parts.get(device, ()), number)
    return Report(
        host=host,
        pid=os.getpid(),
        at_s=time.monotonic(),
        network=playbook.network,
        strategy=playbook.strategy,
        plan=name,
        stages=len(stages),
        parts=parts,
        stats=stats,
    )


def reports(lab: str) -> list[Report]:
    """What the services in a lab said last; those that are gone say nothing."""
    import psutil

    found = []
    for file in sorted(_folder(lab).glob(f"{PREFIX}*.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            if file.stat().st_size <= MAX_BYTES:
                report = msgspec.json.decode(file.read_bytes(), type=Report)
                if report.at_s > time.monotonic() - STALE_S and psutil.pid_exists(report.pid):
                    found.append(report)
    return found
