"""The simulator against the lab: the same playbooks, hosts and links, measured in the same way.

Hosts have equal shares of a core, and each a link of 20 Mbit/s to each other. The simulator is told
what the playbook forecasts of runs, what the tensors weigh, and what requests, runs and messages
cost a processor of this lab (:mod:`gauge`, measured with another network). Under load a host is as
fast as its share. A single request finds it idle, and its quota for 10 ms unspent: it is as fast as
a whole core then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shoal import zoo
from shoal.model.bundle import load_bundle
from shoal.model.dtypes import Array
from shoal.model.network import Network
from shoal.model.profiles import profile
from shoal.plan.network import Feeds
from shoal.plan.objective import Aim, Objective
from shoal.plan.plan import Playbook
from shoal.plan.profiles import Profiles
from shoal.scratch import Scratch
from shoal.sim.crossings import measured
from shoal.sim.forecasted import Forecasted
from shoal.sim.handling import Handling
from shoal.strategies.making import make
from shoal_benchmarks.emulation import emulated
from shoal_benchmarks.fluid.scenes import APART, TOGETHER
from shoal_benchmarks.measure import samples, turns
from shoal_benchmarks.node.equals import GATE, Equals, Ground
from shoal_benchmarks.node.gauge import Gauged, gauge
from shoal_benchmarks.node.gauge import rows_of as gauge_rows
from shoal_benchmarks.node.virtual import Busy, Single, Virtual, wire_of
from shoal_benchmarks.photos import photos
from shoal_benchmarks.relay.subject import subject
from shoal_benchmarks.relay.systems import exits_over
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.subjects import LITE0, load

MBIT_S, DELAY_MS = 20.0, 1.0
SPLIT_GROUND = Ground(1, 0.9, MBIT_S, DELAY_MS, computes=True)
FLUID_GROUND = Ground(2, 0.6, MBIT_S, DELAY_MS)
RELAY_GROUND = Ground(3, 0.3, MBIT_S, DELAY_MS)
BUNDLE = "mnist-fluid"
IMAGES, QUICK_IMAGES = 120, 60
"""To calibrate with."""
ASKED = 16
MIN_ACCURACY = 0.9
WINDOW = 8
ROUNDS, QUICK_ROUNDS = 5, 2
SECONDS, QUICK_SECONDS = 6.0, 3.0
GOAL, P99_GOAL = "<= 10", "<= 20"


class Case(NamedTuple):
    """A playbook that is measured, on its ground: its parts, what is asked for, the profiles that
    it was made with, and the classes of what is asked for, where they matter."""

    name: str
    ground: Ground
    playbook: Playbook
    parts: Mapping[str, Any]
    feeds: list[Feeds]
    profiles: Profiles
    labels: Sequence[int] = ()

    @property
    def images(self) -> list[Array]:
        """What is asked for, of a network of one input."""
        return [next(iter(feeds.values())) for feeds in self.feeds]


def rows(quick: bool) -> Iterator[Row]:
    """Each case in the lab and in the simulator; nothing, and a line in the log, without the right
    to have a lab."""
    if not emulated("node.agreement"):
        return
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    for cases in (split_cases, fluid_cases, relay_cases):
        with Scratch.make("agreement") as folder:
            found = cases(folder.path, QUICK_IMAGES if quick else IMAGES)
            if not found:
                continue
            with Equals(found[0].ground, folder.path) as lab:
                gauged = gauge(lab, seconds, WINDOW)
                yield from rows_for(lab, gauged, found, rounds, seconds)


def rows_for(
    lab: Equals, gauged: Gauged, cases: list[Case], rounds: int, seconds: float
) -> Iterator[Row]:
    """Cases on the hosts of a lab, one after the other in each round; what its messages cost comes
    first."""
    found: dict[str, list[tuple[Busy, Single]]] = {case.name: [] for case in cases}
    where = f"{lab.ground.workers + 1} hosts, {lab.ground.share:g} of a core"
    yield from gauge_rows(gauged, where)
    for case in cases:
        for part in case.parts.values():
            lab.store.add_part(part)
    window = WINDOW * max(1, lab.ground.workers - 1)
    by_name = {case.name: case for case in cases}
    for order in turns(by_name, rounds):
        for case in map(by_name.__getitem__, order):
            lab.serve(case.playbook, case.images, case.labels)
            found[case.name].append((lab.busy(seconds, window), lab.single(seconds)))
    for case in cases:
        told = simulated(case, gauged, seconds, window)
        yield from case_rows(case.name, found[case.name], told)


def case_rows(
    name: str, lab: list[tuple[Busy, Single]], simulator: tuple[Busy, Single]
) -> Iterator[Row]:
    """What both tell, and how far the simulator is off."""
    measures: dict[str, tuple[str, str | None, Callable[[Busy, Single], float]]] = {
        "rate": ("images/s", GOAL, lambda busy, single: busy.images_per_s),
        "many requests, p50": ("ms", GOAL, lambda busy, single: time_ms(busy, 50)),
        "many requests, p99": ("ms", P99_GOAL, lambda busy, single: time_ms(busy, 99)),
        "single request, p50": ("ms", GOAL, lambda busy, single: single.p50_ms),
        "CPU for an image": ("ms", None, lambda busy, single: sum(busy.spent_ms.values())),
        "CPU for a single one": ("ms", None, lambda busy, single: sum(single.spent_ms.values())),
    }
    for what, (unit, goal, of) in measures.items():
        seen, told = samples([of(*each) for each in lab]), of(*simulator)
        yield row(f"{name}, {what}, lab", seen, unit)
        yield row(f"{name}, {what}, simulator", told, unit)
        ratio = told / seen.median
        yield row(f"{name}, {what}, simulator over lab", ratio, "ratio")
        if goal is not None:
            yield row(f"{name}, {what}, simulator off by", 100 * abs(ratio - 1), "%", goal)
    yield from exit_rows(name, [busy.tasks for busy, _ in lab], simulator[0].tasks)


def exit_rows(
    name: str, lab: Sequence[Mapping[int, float]], simulator: Mapping[int, float]
) -> Iterator[Row]:
    """Which share of the answers took how many tasks, where not all took as many; and by how much
    the simulator is off on average, in points."""
    counts = sorted({*simulator, *(tasks for each in lab for tasks in each)})
    if len(counts) < 2:
        return
    off = []
    for tasks in counts:
        seen = samples([100 * each.get(tasks, 0.0) for each in lab])
        told = 100 * simulator.get(tasks, 0.0)
        yield row(f"{name}, answers after {tasks} tasks, lab", seen, "%")
        yield row(f"{name}, answers after {tasks} tasks, simulator", told, "%")
        off.append(abs(told - seen.median))
    yield row(f"{name}, exit shares, simulator off by", sum(off) / len(off), "points", GOAL)


def time_ms(busy: Busy, percent: float) -> float:
    """The time within which so many of the requests with a window were answered."""
    return samples(busy.times_ms).percentile(percent)


def simulated(case: Case, gauged: Gauged, seconds: float, window: int) -> tuple[Busy, Single]:
    """What the simulator tells of a case, with so many requests under way, and with one."""
    share = case.ground.share
    heavy = measured(case.playbook, case.parts, case.feeds[0])
    ratio = case.profiles.device(case.ground.names[0]).batch_ratio
    wire = wire_of(case.ground.mbit_s, case.ground.delay_ms)

    def world(handling: Handling, speed: float) -> Virtual:
        speeds = dict.fromkeys((GATE, *case.ground.names), speed)
        pace = share / speed
        engine = Forecasted(case.playbook, heavy, speeds, pace=pace, batch_ratio=ratio)
        return Virtual(case.playbook, engine, GATE, handling, wire, speed)

    busy, quiet = world(gauged.busy, share), world(gauged.single, 1.0)
    quiet.busy(seconds, window)  # as in the lab: a policy remembers it
    return busy.busy(seconds, window), quiet.single(seconds)


def split_cases(folder: Path, images: int) -> list[Case]:
    """EfficientNet-Lite0 between a device and a server that are as quick as each other."""
    network = load(LITE0)
    return [] if network is None else [split_case(network, list(photos(images)), folder)]


def split_case(network: Network, images: list[Array], folder: Path) -> Case:
    """A network between two hosts, calibrated with ``images``."""
    calibration = folder / "calibration"
    calibration.mkdir()
    np.save(calibration / "images.npy", np.concatenate(images))
    cluster = SPLIT_GROUND.cluster()
    profiles = Profiles.scaled(cluster, profile(network, refresh=True))
    objective = Objective(aims=(Aim.THROUGHPUT, Aim.LATENCY), min_accuracy=MIN_ACCURACY)
    built = make("split", network, cluster, profiles, objective, calibrate=str(calibration))
    feeds = [{network.inputs[0].name: image} for image in images[:ASKED]]
    return Case("split", SPLIT_GROUND, built.playbook, built.parts, feeds, profiles)


def fluid_cases(folder: Path, images: int) -> list[Case]:
    """Two devices, each for itself and together; nothing is calibrated."""
    bundle = load_bundle(zoo.path(BUNDLE))
    own = profile(bundle, refresh=True)
    cluster = FLUID_GROUND.cluster()
    profiles = Profiles.scaled(cluster, own, batch_ratio=own.batch_ratio)
    shown = zoo.samples(BUNDLE)
    feeds = [shown.feed(number) for number in range(ASKED)]
    cases = []
    modes: dict[str, dict[str, Any]] = {"each for itself": {**APART}, "together": {**TOGETHER}}
    for name, marks in modes.items():
        built = make("fluid", bundle, cluster, profiles, **marks)
        what = f"fluid, {name}"
        cases.append(Case(what, FLUID_GROUND, built.playbook, built.parts, feeds, profiles))
    return cases


def relay_cases(folder: Path, images: int) -> list[Case]:
    """Three devices that hand tasks on; how sure exits are is that of the calibration."""
    found = subject()
    if found is None:
        return []
    built = exits_over(RELAY_GROUND.cluster(), found)
    name = found.network.inputs[0].name
    feeds = [{name: image} for image in found.images]
    profiles = Profiles.scaled(RELAY_GROUND.cluster(), found.measured)
    return [Case("relay", RELAY_GROUND, built.playbook, built.parts, feeds, profiles, found.labels)]
