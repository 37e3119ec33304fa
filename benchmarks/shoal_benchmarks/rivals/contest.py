"""The bench: in every scene all rivals, in rounds, in an order that changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from shoal import allowance
from shoal.errors import ShoalError
from shoal.model.network import Network
from shoal_benchmarks.measure import turns
from shoal_benchmarks.rivals.facts import Facts
from shoal_benchmarks.rivals.ground import Ground, Loopback
from shoal_benchmarks.rivals.job import Job
from shoal_benchmarks.rivals.rival import RIVALS, find, lacks
from shoal_benchmarks.rivals.scene import Scene, prepared, seated
from shoal_benchmarks.rivals.table import rows_of
from shoal_benchmarks.rivals.trial import Pace, run
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.subjects import LITE0, RESNET50, load

STAGES = 2
LAB_STAGES = 2
LAB_MBIT = 20.0
ROUNDS, QUICK_ROUNDS = 3, 1
PACE = Pace()
QUICK_PACE = Pace(start_s=60.0, warm_s=0.5, measure_s=2.0, patience_s=10.0, after_s=0.3)


class Plan(msgspec.Struct, frozen=True):
    """A scene to come."""

    network: str
    lab: bool


FULL = (Plan(LITE0, lab=False), Plan(RESNET50, lab=False), Plan(LITE0, lab=True))
QUICK = (Plan(LITE0, lab=False), Plan(LITE0, lab=True))


def rows(quick: bool) -> Iterator[Row]:
    """Rows of each scene once it is over; a row for each rival that cannot take part."""
    titles = {name: find(name).title for name in RIVALS}
    for name in RIVALS:
        package = lacks(find(name))
        if package is not None:
            title = titles.pop(name)
            yield row(f"{title}: not measured, {package} is not installed", 0, "rounds")
    for plan in QUICK if quick else FULL:
        network = load(plan.network)
        if network is None:
            continue
        if plan.lab and (missing := lab_lacks()) is not None:
            yield row(f"lab: not measured, it needs {missing}", 0, "rounds")
            continue
        scene = lab_scene(network) if plan.lab else loopback_scene(network)
        rounds, pace = (QUICK_ROUNDS, QUICK_PACE) if quick else (ROUNDS, PACE)
        yield from meet(scene, titles, rounds, pace)


def meet(scene: Scene, titles: dict[str, str], rounds: int, pace: Pace) -> Iterator[Row]:
    """All rounds of a scene."""
    found: dict[str, list[Facts | None]] = {name: [] for name in titles}
    try:
        with prepared(scene) as job:
            for number, order in enumerate(turns(titles, rounds)):
                for name in order:
                    facts = one(scene, name, job, pace, number)
                    found[name].append(facts)
    except ShoalError as error:
        yield row(f"{scene.title}: not measured, {error}", 0, "rounds")
        return
    for name, title in titles.items():
        failed = found[name].count(None)
        if failed:
            yield row(f"{scene.title}: {title}: rounds that failed", failed, "rounds")
    yield from rows_of(scene.title, titles, found, pace.patience_s)


def one(scene: Scene, name: str, job: Job, pace: Pace, number: int) -> Facts | None:
    """A run of one rival; None, and a line on stderr, when it fails."""
    rival = find(name)
    victim = number % rival.stages(job)
    try:
        with scene.make(Path(job.folder)) as ground:
            facts = run(name, rival, ground, seated(job, ground), pace, victim)
    except ShoalError as error:
        print(f"{scene.title}: {rival.title}: {error}", file=sys.stderr, flush=True)
        return None
    if facts.why:
        print(f"{scene.title}: {rival.title}: lost, {facts.why}", file=sys.stderr, flush=True)
    return facts


def loopback_scene(network: Network) -> Scene:
    """Processes on loopback, a core for each stage."""
    title = f"{network.name}, loopback"
    return Scene(title, network, lambda logs: Loopback(logs, STAGES))


def lab_scene(network: Network) -> Scene:
    """Hosts of a lab."""
    from shoal_benchmarks.rivals.lab_ground import LabGround, spec_of

    spec = spec_of(LAB_STAGES, LAB_MBIT, allowance.cores(), name=f"rivals-{os.getpid()}")

    def make(logs: Path) -> Ground:
        return LabGround(logs, spec)

    title = f"{network.name}, lab of {LAB_STAGES + 1}, {LAB_MBIT:g} Mbit/s"
    return Scene(title, network, make)


def lab_lacks() -> str | None:
    """What a lab would need here; None when it can emulate."""
    from shoal_lab.machine import look

    machine = look()
    return None if machine.can_emulate else "; ".join(machine.lacks)
