"""Each for itself on one, two, three, four equal hosts: how much more that is.

Hosts of equal quota are not equally fast here: where and when the quota of one is spent costs it up
to a quarter, and the machine itself is faster at times than at others. So it goes in rounds: all
answer, one after the other is killed until another host in each round is the last, and all are
started again. The rate of *one* is the mean over all hosts. As much as the dead ones would have
taken of the machine is computed in their place (:mod:`shoal_benchmarks.fluid.ballast`).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from shoal import zoo
from shoal_benchmarks.fluid.ballast import Ballast
from shoal_benchmarks.fluid.scenes import APART, SETTLE_S, Course, course, scene_of, share_of
from shoal_benchmarks.measure import samples
from shoal_benchmarks.row import Row, row
from shoal_lab.chaos import play
from shoal_lab.chaos.verdict import Totals
from shoal_lab.faults import Restart

HOSTS = 4
STEP_S, QUICK_STEP_S = 5.0, 3.0
BACK_S = 16.0
"""To start again and load the parts, at an eighth of a core."""


class Step(NamedTuple):
    """Seconds of a story in which just these hosts (numbers from 0) are at work."""

    awake: frozenset[int]
    begin_s: float
    end_s: float


def rows(quick: bool) -> Iterator[Row]:
    """Images per second by number of hosts, and over that of one."""
    path = zoo.path("fashion-mnist-fluid")
    yield from rows_for(path, HOSTS, QUICK_STEP_S if quick else STEP_S, HOSTS)


def rows_for(
    path: Path, hosts: int, step_s: float, rounds: int, *, loopback: bool = False
) -> Iterator[Row]:
    """The rows of one bundle."""
    rates, totals = rates_in_turns(path, hosts, step_s, rounds, loopback=loopback)
    yield from rate_rows(rates)
    what = f"{totals.asked} requests while {rounds * (hosts - 1)} times a host dies and comes back"
    yield row(f"{what}: lost", totals.lost, "requests", "= 0")
    yield row(f"{what}: answered twice", totals.twice, "requests", "= 0")


def rates_in_turns(
    path: Path, hosts: int, step_s: float, rounds: int, *, loopback: bool = False
) -> tuple[dict[int, list[float]], Totals]:
    """Images per second by number of hosts, each for itself, in one deployment of the bundle
    ``path``, a value for each step; and what became of all requests."""
    steps = steps_of(hosts, step_s, rounds)
    scene = scene_of(path, hosts, steps[-1].end_s, faults_of(hosts, steps), APART)
    with Ballast(share_of(hosts)) as ballast:
        story = play(scene, loopback=loopback, on_happening=ballast.heard)
    return rates_of(course(story), steps), story.totals


def steps_of(hosts: int, step_s: float, rounds: int) -> list[Step]:
    """In each round all hosts (after a while to come back), and one fewer in each step down to one:
    another one in each round."""
    round_s = BACK_S + hosts * step_s
    steps = []
    for number in range(rounds):
        for count in range(hosts, 0, -1):
            awake = frozenset((number + place) % hosts for place in range(count))
            begin_s = number * round_s + BACK_S + (hosts - count) * step_s
            steps.append(Step(awake, begin_s, begin_s + step_s))
    return steps


def faults_of(hosts: int, steps: Sequence[Step]) -> list[Restart]:
    """Who is not awake in a step is killed when it begins, and started again after the last one of
    the round."""
    return [
        Restart(at_s=step.begin_s, host=f"worker-{host + 1}", for_s=last.end_s - step.begin_s)
        for place in range(0, len(steps), hosts)
        for last in [steps[place + hosts - 1]]
        for before, step in pairwise(steps[place : place + hosts])
        for host in before.awake - step.awake
    ]


def rates_of(found: Course, steps: Sequence[Step]) -> dict[int, list[float]]:
    """Images per second in each step, by number of hosts."""
    rates: dict[int, list[float]] = {}
    for step in steps:
        rate = found.rate(step.begin_s + 2 * SETTLE_S, step.end_s)
        rates.setdefault(len(step.awake), []).append(rate)
    return rates


def over_one(rates: Mapping[int, Sequence[float]], count: int) -> float:
    """The mean rate of ``count`` hosts over the mean rate of one."""
    one = statistics.fmean(rates[1])
    return statistics.fmean(rates[count]) / one if one else float("nan")


def rate_rows(rates: Mapping[int, Sequence[float]]) -> Iterator[Row]:
    """The mean rates by number of hosts (with their spread), and over that of one."""
    for count, values in sorted(rates.items()):
        what = f"each for itself, {count} of {max(rates)} equal hosts"
        mean, spread = statistics.fmean(values), samples(values).spread
        yield row(what, mean, "images/s", spread=spread)
    for count in sorted(rates)[1:]:
        what = f"each for itself, {count} hosts over the mean of one"
        yield row(what, over_one(rates, count), "ratio", f">= {0.9 * count:g}")
