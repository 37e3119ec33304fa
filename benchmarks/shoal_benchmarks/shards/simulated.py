"""The simulator against the lab for dealt layers: the time of requests and images per second, then
what is answered, how well and how fast while devices fail.

The first is :mod:`shoal_benchmarks.node.agreement` with one more playbook. For the second requests
come at the same moments in both, and the same faults happen: workers freeze for a while one after
the other, at moments and for times that are drawn, and one is killed for good. Nothing is repaired.
How right answers are is told by the share that each states of the whole network's accuracy, and in
the lab by their labels: as a share of what the whole network gets right of the same images.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np

from shoal import zoo
from shoal.core.actions import Deliver, Reject
from shoal.model.network import Network
from shoal.model.profiles import profile
from shoal.plan.profiles import Profiles
from shoal.scratch import Scratch
from shoal.sim.crossings import measured
from shoal.sim.faults import Fault, Freeze, Kill
from shoal.sim.forecasted import Forecasted, Image
from shoal.sim.mishaps import Mishaps
from shoal.sim.serving import serve
from shoal.sim.world import Reply, Ticket
from shoal.strategies.shards.prepare import judged
from shoal.task import task_of
from shoal_benchmarks.emulation import emulated
from shoal_benchmarks.node.agreement import (
    GOAL,
    QUICK_ROUNDS,
    QUICK_SECONDS,
    ROUNDS,
    SECONDS,
    WINDOW,
    Case,
    rows_for,
)
from shoal_benchmarks.node.equals import GATE, LEASE_MS, Equals, Ground
from shoal_benchmarks.node.gauge import Gauged, gauge
from shoal_benchmarks.node.virtual import wire_of
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.shards.lost import built_in
from shoal_benchmarks.split.driver import Told, moments
from shoal_benchmarks.subjects import FASHION, load

GROUND = Ground(workers=4, share=0.2, mbit_s=100.0, delay_ms=1.0)
RATE, BUDGET_MS = 4.0, 10_000.0
"""Requests per second while devices fail, and how long each may take."""
CALM_S, EVERY_S, FROZEN_S = 3.0, 5.0, (0.5, 2.0)
"""Before the first fault, for each freeze with what follows it, and for how long one lasts."""
FREEZES, QUICK_FREEZES = 6, 2
SEED = 7


class Failing(NamedTuple):
    """What became of requests while devices failed: the median time of those answered, the mean of
    the accuracies that they stated, how many stated one below 1, how many were lost; and where it
    was seen, the share of the whole network's right answers that were given."""

    p50_ms: float
    stated: float
    degraded: int
    lost: int
    kept: float | None = None


def rows(quick: bool) -> Iterator[Row]:
    """The network that ships; nothing, and a line in the log, without the right to have a lab."""
    network = load(FASHION)
    if network is None or not emulated("shards.simulated"):
        return
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    lasting_s, faults = schedule(QUICK_FREEZES if quick else FREEZES, GROUND.names)
    with Scratch.make("shards") as folder, Equals(GROUND, folder.path, name="simulated") as lab:
        gauged = gauge(lab, seconds, WINDOW)
        case = case_in(folder.path, lab, network)
        yield from rows_for(lab, gauged, [case], rounds, seconds)
        followed = lab.pour(RATE, lasting_s, BUDGET_MS, faults)
    seen = seen_of(followed.told, right_of(network, case, lasting_s))
    yield from failing_rows(seen, simulated(case, gauged, lasting_s, faults))


def schedule(freezes: int, names: Sequence[str]) -> tuple[float, list[Fault]]:
    """How long requests come, and the faults meanwhile."""
    dice = Random(SEED)
    faults: list[Fault] = []
    for number in range(freezes):
        at_s = CALM_S + number * EVERY_S + dice.uniform(0, EVERY_S / 4)
        faults.append(Freeze(at_s=at_s, host=dice.choice(names), for_s=dice.uniform(*FROZEN_S)))
    gone_s = CALM_S + freezes * EVERY_S
    faults.append(Kill(at_s=gone_s, host=dice.choice(names)))
    return gone_s + CALM_S + EVERY_S, faults


def case_in(folder: Path, lab: Equals, network: Network) -> Case:
    """All layers dealt over the hosts; the images that come with the network are asked for."""
    built = built_in(folder, lab)
    profiles = Profiles.scaled(lab.ground.cluster(), profile(network))
    shown = zoo.samples(FASHION)
    order = np.random.default_rng(SEED).permutation(len(shown))
    feeds = [shown.feed(number) for number in order.tolist()]
    labels = tuple(shown.labels[order].tolist())
    return Case("shards", lab.ground, built.playbook, built.parts, feeds, profiles, labels)


def right_of(network: Network, case: Case, seconds: float) -> int:
    """How many of the answers to what is asked in so many seconds the whole network gets right."""
    judges = judged(network, task_of(network), np.concatenate(case.images))
    found = [judge.top1 for judge in judges]
    asked = sum(1 for _ in moments(RATE, seconds))
    return sum(found[k % len(found)] == case.labels[k % len(found)] for k in range(asked))


def seen_of(told: Sequence[Told], right: int) -> Failing:
    """What was seen in the lab."""
    answered = [one for one in told if not one.lost]
    times = [(one.answered_s - one.asked_s) * 1e3 for one in answered]
    stated = [one.accuracy for one in answered]
    return Failing(
        *_stated(times, stated), len(told) - len(answered), sum(a.right for a in answered) / right
    )


def simulated(case: Case, gauged: Gauged, seconds: float, faults: Sequence[Fault]) -> Failing:
    """What the simulator tells of the same."""
    speeds = dict.fromkeys((GATE, *case.ground.names), 1.0)
    heavy = measured(case.playbook, case.parts, case.feeds[0])
    engine = Forecasted(case.playbook, heavy, speeds, pace=case.ground.share)
    wire = wire_of(case.ground.mbit_s, case.ground.delay_ms)
    world = serve(
        case.playbook,
        engine,
        GATE,
        lambda giver, taker: wire,
        lambda name: gauged.single,
        lease_s=LEASE_MS / 1e3,
    )
    began: dict[Ticket, float] = {}
    ends: list[tuple[float, Deliver | Reject]] = []

    def ask(number: int) -> None:
        began[world.submit(GATE, Image(number, engine.asked), BUDGET_MS)] = world.now

    def told(ticket: Ticket, reply: Reply) -> None:
        ends.append(((reply.at - began[ticket]) * 1e3, reply.what))

    world.told = told
    Mishaps(world, case.ground.cluster(), faults)
    for number, at_s in enumerate(moments(RATE, seconds)):
        world.clock.after(at_s, ask, number)
    world.run(seconds + BUDGET_MS / 1e3)
    answers = [(ms, what) for ms, what in ends if isinstance(what, Deliver)]
    times, stated = [ms for ms, _ in answers], [what.accuracy for _, what in answers]
    return Failing(*_stated(times, stated), len(began) - len(answers))


def _stated(times: list[float], stated: list[float | None]) -> tuple[float, float, int]:
    """The median of times, the mean of the accuracies that are known, and how many are below 1."""
    known = [accuracy for accuracy in stated if accuracy is not None]
    below = sum(accuracy is None or accuracy < 1 for accuracy in stated)
    return statistics.median(times), statistics.fmean(known), below


def failing_rows(seen: Failing, told: Failing) -> Iterator[Row]:
    """What both tell, and how far the simulator is off."""
    what = "shards, while devices fail"
    for name, unit, lab, simulator in (
        ("time of a request, p50", "ms", seen.p50_ms, told.p50_ms),
        ("accuracy that answers state, mean", "share", seen.stated, told.stated),
    ):
        yield row(f"{what}, {name}, lab", lab, unit)
        yield row(f"{what}, {name}, simulator", simulator, unit)
        yield row(f"{what}, {name}, simulator off by", 100 * abs(simulator / lab - 1), "%", GOAL)
    if seen.kept is not None:
        yield row(f"{what}, kept of what the whole network gets right, lab", seen.kept, "share")
        off = 100 * abs(told.stated / seen.kept - 1)
        yield row(f"{what}, the same, what the simulator states off by", off, "%", GOAL)
    for name, one in (("lab", seen), ("simulator", told)):
        yield row(f"{what}, answers that state less than all, {name}", one.degraded, "requests")
        yield row(f"{what}, requests lost, {name}", one.lost, "requests", "= 0")
