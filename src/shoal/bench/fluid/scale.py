"""Each for itself on one, two, three, four equal hosts: how much more that is.

Hosts of equal quota are not equally fast here: where and when the quota of one is spent costs it up
to a quarter, and the machine itself is faster at times than at others. So every host is measured
alone, and all numbers of hosts in turn, round by round, by freezing the others. The rate of *one*
is the mean over all hosts.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from shoal.bench.chaos import play
from shoal.bench.chaos.verdict import Totals
from shoal.bench.fluid.bundles import asked_for
from shoal.bench.fluid.scenes import APART, Course, course, scene_of
from shoal.bench.measure import samples
from shoal.bench.row import Row, row
from shoal.lab.faults import Freeze

HOSTS = 4
STEP_S, QUICK_STEP_S = 6.0, 3.5
BACK_S = 2.0
"""To notice who is frozen and who is back, before the rate counts."""


class Step(NamedTuple):
    """Seconds of a story in which just these hosts (numbers from 0) are at work."""

    awake: frozenset[int]
    begin_s: float
    end_s: float


def rows(quick: bool) -> Iterator[Row]:
    """Images per second by number of hosts, and over that of one."""
    path = asked_for("fashion")
    if path is not None:
        yield from rows_for(path, HOSTS, QUICK_STEP_S if quick else STEP_S)


def rows_for(
    path: Path, hosts: int, step_s: float, rounds: int = 1, *, loopback: bool = False
) -> Iterator[Row]:
    """The rows of one bundle."""
    rates, totals = rates_in_turns(path, hosts, step_s, rounds, loopback=loopback)
    yield from rate_rows(rates)
    what = f"{totals.asked} requests while hosts freeze and go on"
    yield row(f"{what}: lost", totals.lost, "requests", "= 0")
    yield row(f"{what}: answered twice", totals.twice, "requests", "= 0")


def rates_in_turns(
    path: Path, hosts: int, step_s: float, rounds: int = 1, *, loopback: bool = False
) -> tuple[dict[int, list[float]], Totals]:
    """Images per second by number of hosts, each for itself, in one deployment of the bundle
    ``path``, a value for each step; and what became of all requests."""
    steps = steps_of(hosts, step_s, rounds)
    scene = scene_of(path, hosts, steps[-1].end_s, faults_of(hosts, steps), APART)
    story = play(scene, loopback=loopback)
    return rates_of(course(story), steps), story.totals


def steps_of(hosts: int, step_s: float, rounds: int = 1) -> list[Step]:
    """For each host in turn: it, it and the next, it and the next two, and so on to all."""
    awake = [
        frozenset((first + place) % hosts for place in range(count))
        for first in range(hosts)
        for count in range(1, hosts + 1)
    ]
    return [
        Step(some, number * step_s, (number + 1) * step_s)
        for number, some in enumerate(awake * rounds)
    ]


def faults_of(hosts: int, steps: Sequence[Step]) -> list[Freeze]:
    """Hosts are frozen where they are not awake; one fault for steps that follow one another."""
    faults = []
    for host in range(hosts):
        begin_s: float | None = None
        for step in steps:
            if host in step.awake and begin_s is not None:
                faults.append(_freeze(host, begin_s, step.begin_s))
                begin_s = None
            elif host not in step.awake and begin_s is None:
                begin_s = step.begin_s
        if begin_s is not None:
            faults.append(_freeze(host, begin_s, steps[-1].end_s))
    return sorted(faults, key=lambda fault: fault.at_s)


def rates_of(found: Course, steps: Sequence[Step]) -> dict[int, list[float]]:
    """Images per second in each step, by number of hosts."""
    rates: dict[int, list[float]] = {}
    for step in steps:
        rate = found.rate(step.begin_s + BACK_S, step.end_s)
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


def _freeze(host: int, begin_s: float, end_s: float) -> Freeze:
    return Freeze(at_s=begin_s, host=f"worker-{host + 1}", for_s=end_s - begin_s)
