"""What a service in a lab says of itself, for ``shoal lab watch``: a file in the lab's folder.

The gateway's process writes it every second while it serves; nobody asks anybody over the mesh.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shoal.plan.plan import Playbook
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


@contextmanager
def reporting(service: Service) -> Iterator[None]:
    """Within the block ``service`` reports, if this process is on a host of a lab."""
    lab, host = os.environ.get("SHOAL_LAB"), os.environ.get("SHOAL_HOST")
    if not (lab and host and _folder(lab).is_dir()):
        yield
        return
    file = _folder(lab) / f"{PREFIX}{host}-{os.getpid()}.json"
    over = threading.Event()
    thread = threading.Thread(
        target=_report, args=(service, host, file, over), name="shoal-lab-report", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def _folder(lab: str) -> Path:
    """The folder of a lab. Imported late: elsewhere than on Linux there are services too."""
    from shoal_lab import state

    return state.lab_folder(lab)


def _report(service: Service, host: str, file: Path, over: threading.Event) -> None:
    plans: dict[str, int] = {}
    while not over.wait(EVERY_S):
        stats = service.stats()
        made = report_of(host, service.playbook, stats, plans)
        plans = stats.plans
        new = file.with_suffix(".new")
        with contextlib.suppress(OSError):  # the lab is going down
            new.write_bytes(msgspec.json.encode(made))
            new.replace(file)


def report_of(
    host: str, playbook: Playbook, stats: ServiceStats, before: Mapping[str, int]
) -> Report:
    """A report; ``before`` is how many requests each plan had answered a second ago."""
    new = {name: count - before.get(name, 0) for name, count in stats.plans.items()}
    name = max(new, key=lambda plan: new[plan]) if new else playbook.plans[0].name
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
