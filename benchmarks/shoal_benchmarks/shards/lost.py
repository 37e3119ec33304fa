"""A device is lost in the middle of a request: how long that takes, and those after it.

Four workers on hosts of their own share the network that ships, all of it dealt. One request is
asked after the other. In each round one worker is killed, frozen, or cut off from all others, and
comes back later. The request under way at that moment must be answered no later than it usually
is, and what a slice is waited for (the deadline of the gather), and 100 ms.
"""

from __future__ import annotations

import logging
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shoal import zoo
from shoal.errors import LabError
from shoal.model.profiles import profile
from shoal.plan.objective import Objective
from shoal.plan.plan import Playbook
from shoal.plan.profiles import Profiles
from shoal.scratch import Scratch
from shoal.strategies.base import Built
from shoal.strategies.making import make
from shoal_benchmarks.measure import samples
from shoal_benchmarks.node.equals import GATE, Equals, Followed, Ground
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.split.driver import Told
from shoal_benchmarks.subjects import FASHION, load
from shoal_lab import Fault
from shoal_lab.faults import Cut, Freeze, Restart

log = logging.getLogger("shoal")

GROUND = Ground(workers=4, share=0.2, mbit_s=100.0, delay_ms=0.0)
KILLED, FROZEN, CUT = "killed", "frozen", "cut off"
ROUNDS, QUICK_ROUNDS = 5, 2
"""Of each kind."""
CALM_S, GONE_S, AFTER_S = 2.0, 3.0, 1.0
"""Seconds of a round: before it happens, until it is over, and after that."""
BACK_S = 30.0
"""How long a device may take to be back at work."""
ALLOWED_MS = 100.0
LATE = 2.0
"""A request that takes so many times the usual is late."""
RHO, MIN_ACCURACY = 0.25, 0.5
ASKED = 64


class Round(NamedTuple):
    """What a fault did. ``usual_ms`` is the median before it, ``hit_ms`` the time of the slowest
    request that was under way as it happened, ``next_ms`` those of the next ones until it was over.
    Of the answers from then on ``stated`` are the accuracies by which degraded ones say it."""

    usual_ms: float
    hit_ms: float
    next_ms: tuple[float, ...]
    lost: int
    stated: tuple[float | None, ...]

    @property
    def late(self) -> tuple[float, ...]:
        """Those of the next ones that took much longer than usual."""
        return tuple(ms for ms in self.next_ms if ms > LATE * self.usual_ms)


def rows(quick: bool) -> Iterator[Row]:
    """All kinds of faults that can be done here."""
    from shoal_lab.machine import look

    network = load(FASHION)
    if network is None:
        return
    emulated = look().can_emulate
    if not emulated:
        log.warning("shards.lost cuts nobody off: that needs root and network namespaces")
    kinds = (KILLED, FROZEN, CUT) if emulated else (KILLED, FROZEN)
    with Scratch.make("shards") as folder, Equals(GROUND, folder.path, name="lost") as lab:
        playbook = built_in(folder.path, lab).playbook
        shown = zoo.samples(FASHION)
        lab.serve(playbook, [shown.images[number][None] for number in range(ASKED)])
        found = rounds_of(lab, kinds, QUICK_ROUNDS if quick else ROUNDS)
    wait_ms = deadline_ms(playbook)
    yield row("deadline of a gather", wait_ms, "ms")
    yield row("forecast of a request", playbook.plans[0].forecast.latency_ms, "ms")
    for kind, rounds in found.items():
        yield from rows_of(kind, rounds, wait_ms)


def built_in(
    folder: Path, lab: Equals, most: int | None = None, fill: str = "rebuilt", repair: str = "0"
) -> Built:
    """All layers dealt over the hosts of a lab, judged by the images that come with the network
    (of each class the first ``most``). ``fill`` and ``repair`` are options of ``shards``."""
    network, shown = load(FASHION), zoo.samples(FASHION)
    assert network is not None, "it ships"
    calibration = folder / "calibration"
    for label in sorted(set(shown.labels.tolist())):
        (calibration / str(label)).mkdir(parents=True)
        images = shown.images[shown.labels == label][:most]
        np.save(calibration / str(label) / "images.npy", images)
    cluster = lab.ground.cluster()
    return make(
        "shards",
        network,
        cluster,
        Profiles.scaled(cluster, profile(network, refresh=True)),
        Objective(min_accuracy=MIN_ACCURACY),
        store=lab.store,
        calibrate=str(calibration),
        deal="all",
        fill=fill,
        repair=repair,
        rho=str(RHO),
    )


def deadline_ms(playbook: Playbook) -> float:
    """How long a slice is waited for by the first plan."""
    joins = (stage.join for stage in playbook.plans[0].stages)
    return max(join.deadline_ms for join in joins if join is not None)


def rounds_of(lab: Equals, kinds: Sequence[str], count: int) -> dict[str, list[Round]]:
    """Each kind of fault in turn, on a worker that is drawn."""
    chance = random.Random(0)
    found: dict[str, list[Round]] = {kind: [] for kind in kinds}
    for _ in range(count):
        for kind in kinds:
            at_s = CALM_S + chance.random()
            faults = faults_of(kind, chance.choice(lab.ground.names), lab.ground, at_s)
            followed = lab.follow(at_s + GONE_S + AFTER_S, faults)
            found[kind].append(round_of(followed, at_s))
            wait_whole(lab)
    return found


def faults_of(kind: str, worker: str, ground: Ground, at_s: float) -> tuple[Fault, ...]:
    """What is done to a worker."""
    if kind == KILLED:
        return (Restart(at_s=at_s, host=worker, for_s=GONE_S),)
    if kind == FROZEN:
        return (Freeze(at_s=at_s, host=worker, for_s=GONE_S),)
    others = [GATE, *(name for name in ground.names if name != worker)]
    return tuple(Cut(at_s=at_s, link=(worker, other), for_s=GONE_S) for other in others)


def round_of(followed: Followed, at_s: float) -> Round:
    """What became of the requests while something was to happen at ``at_s``."""
    told, began_s, happenings = followed[:3]
    begin_s = began_s + at_s
    done_s = began_s + max(each.at_s for each in happenings if not each.ends)
    over_s = began_s + min((each.at_s for each in happenings if each.ends), default=at_s + GONE_S)
    before = [_ms(one) for one in told if one.answered_s < begin_s and not one.lost]
    hit = [one for one in told if one.asked_s <= done_s and one.answered_s >= begin_s]
    after = [one for one in told if done_s < one.asked_s and one.answered_s < over_s]
    if not before or not hit:
        raise LabError("nothing was answered before it happened")
    return Round(
        usual_ms=statistics.median(before),
        hit_ms=max(_ms(one) for one in hit),
        next_ms=tuple(_ms(one) for one in after),
        lost=sum(one.lost for one in told),
        stated=tuple(one.accuracy for one in told if one.degraded),
    )


def rows_of(kind: str, rounds: Sequence[Round], wait_ms: float) -> Iterator[Row]:
    """The rows of one kind of fault."""
    what = f"a worker {kind}, {len(rounds)} rounds"
    yield row(f"{what}: requests lost", sum(each.lost for each in rounds), "requests", "= 0")
    usual = samples([each.usual_ms for each in rounds])
    yield row(f"{what}: usual time of a request", usual, "ms")
    hit = samples([each.hit_ms for each in rounds])
    yield row(f"{what}: time of the request in which it happens", hit, "ms")
    over = samples([each.hit_ms - each.usual_ms - wait_ms for each in rounds])
    name = f"{what}: the same beyond the usual time and the deadline, worst round"
    yield row(name, max(over.values), "ms", f"<= {ALLOWED_MS:g}", over.spread)
    nexts = [each for each in rounds if each.next_ms]
    if nexts:
        ratio = samples([statistics.median(one.next_ms) / one.usual_ms for one in nexts])
        yield row(f"{what}: usual time of the next ones over that before", ratio, "ratio")
        late = samples([len(one.late) for one in nexts])
        yield row(f"{what}: of the next ones, late (over {LATE:g} times)", late, "requests")
        slowest = samples([max(one.next_ms) for one in nexts])
        yield row(f"{what}: slowest of the next ones", slowest, "ms")
    stated = [accuracy for each in rounds for accuracy in each.stated]
    yield row(f"{what}: degraded answers", len(stated), "requests")
    known = [accuracy for accuracy in stated if accuracy is not None]
    unknown = len(stated) - len(known)
    yield row(f"{what}: of them, without an accuracy", unknown, "requests", "= 0")
    if known:
        spread = (min(known), max(known))
        mean = statistics.fmean(known)
        yield row(f"{what}: accuracy that they state, mean", mean, "share", spread=spread)


def wait_whole(lab: Equals) -> None:
    """Until all are at work again. LabError where that takes too long."""
    end_s = time.monotonic() + BACK_S
    while time.monotonic() < end_s:
        told = lab.follow(AFTER_S).told
        if not any(one.degraded or one.lost for one in told):
            return
    raise LabError(f"after {BACK_S:g} s not all devices are at work again")


def _ms(one: Told) -> float:
    return (one.answered_s - one.asked_s) * 1e3
