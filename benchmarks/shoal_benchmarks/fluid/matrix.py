"""Two equal hosts: who answers how fast and how rightly when both are there, and when one is lost.

Each way of training is played once: both hosts, the second one lost and back, the first one lost
and back, under a steady load that keeps everybody busy. The ratio of high throughput to Dynamic is
taken once more, in turns within one deployment: stories of their own differ by a quarter, because
the machine does. Dynamic answers with one host whose groups work alone, so that it is measured as
the mean of Fluid's hosts alone; twice that is all there is to gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from shoal import zoo
from shoal.model.bundle import Bundle, load_bundle
from shoal.scratch import Scratch
from shoal_benchmarks.fluid.accuracy import CHANCE, Run, recorded
from shoal_benchmarks.fluid.bundles import DENSE, DYNAMIC, FLUID, STATIC, team_of, write_as
from shoal_benchmarks.fluid.scale import over_one, rates_in_turns
from shoal_benchmarks.fluid.scenes import APART, SETTLE_S, TOGETHER, Course, course, scene_of
from shoal_benchmarks.measure import samples
from shoal_benchmarks.row import Row, row
from shoal_lab.chaos import Story, play
from shoal_lab.faults import Restart

DEVICES = 2
FIRST, SECOND = "worker-1", "worker-2"
BOTH, ONLY_FIRST, ONLY_SECOND = "both", "master only", "worker only"


class Timing(msgspec.Struct, frozen=True):
    """Seconds of a story: how long both answer before a loss, and how long a host is gone."""

    calm_s: float
    gone_s: float

    @property
    def faults(self) -> tuple[Restart, ...]:
        second = self.calm_s
        first = 2 * self.calm_s + self.gone_s
        return (
            Restart(at_s=second, host=SECOND, for_s=self.gone_s),
            Restart(at_s=first, host=FIRST, for_s=self.gone_s),
        )

    @property
    def seconds(self) -> float:
        return 3 * self.calm_s + 2 * self.gone_s


QUICK, FULL = Timing(10.0, 4.0), Timing(15.0, 12.0)
TURN_S = 4.5
QUICK_ROUNDS, ROUNDS = 2, 4
"""Of turns: both together, then one alone, every time another one."""
MODES: dict[str, tuple[str, Mapping[str, float]]] = {
    "Static": (STATIC, TOGETHER),
    "Dynamic": (DYNAMIC, APART),
    "Fluid HA": (FLUID, TOGETHER),
    "Fluid HT": (FLUID, APART),
}
EXCHANGING = "Fluid HA, exchanging channels"
"""As HA where the forecast finds that adding logits is as accurate and better otherwise."""


def rows(quick: bool) -> Iterator[Row]:
    """The matrix, the ratios, and what the losses cost in each of Fluid's modes."""
    path = zoo.path("mnist-fluid")
    yield from rows_for(path, QUICK if quick else FULL, full=not quick)
    yield from turn_rows(path, QUICK_ROUNDS if quick else ROUNDS)


def rows_for(
    path: Path, timing: Timing, *, full: bool = False, loopback: bool = False
) -> Iterator[Row]:
    """The rows of one bundle."""
    bundle = load_bundle(path)
    rates: dict[str, float] = {}
    modes = {**MODES, EXCHANGING: (DENSE, TOGETHER)} if full else MODES
    with Scratch.make("fluid") as made:
        for mode, (kind, marks) in modes.items():
            file = write_as(kind, path, made.path, DEVICES)
            scene = scene_of(file, DEVICES, timing.seconds, timing.faults, dict(marks))
            story = play(scene, loopback=loopback)
            found = course(story)
            master = master_of(found, bundle)
            columns = columns_of(found, timing, master)
            rates[mode] = columns[BOTH].rate
            for name, column in columns.items():
                goal = ">= 1" if mode.startswith("Fluid") else None
                yield row(f"{name}, {mode}", column.rate, "images/s", goal)
                share = accuracy_of(mode, name, column, bundle)
                if share is not None:
                    yield row(f"{name}, {mode}: accuracy", 100 * share, "%")
            if mode.startswith("Fluid"):
                yield from _losses(mode, story, found, columns, master)
                if full:
                    for second, rate in enumerate(found.by_second(timing.seconds)):
                        yield row(f"{mode}, second {second}", rate, "images/s")
    yield row("both, Fluid HT over Static", _ratio(rates, "Static"), "ratio", ">= 2.5")
    yield row("both, Fluid HT over Dynamic", _ratio(rates, "Dynamic"), "ratio", ">= 2.0")


def turn_rows(path: Path, rounds: int) -> Iterator[Row]:
    """High throughput over what one host alone answers, in turns."""
    rates, _ = rates_in_turns(path, DEVICES, TURN_S, rounds)
    for count, what in ((1, "one host alone, as Dynamic"), (DEVICES, "both, Fluid HT")):
        values = samples(rates[count])
        yield row(f"in turns: {what}", values, "images/s")
    ratio = over_one(rates, DEVICES)
    yield row("in turns: Fluid HT over one host alone, as Dynamic", ratio, "ratio", ">= 2.0")


class Column(msgspec.Struct, frozen=True):
    """A stretch of a story: images per second, and how many of them by which plan."""

    rate: float
    plans: dict[str, int]


def master_of(found: Course, bundle: Bundle) -> str:
    """Who has the first owner's groups: the hosts are equal, so either may have been measured as
    the faster one."""
    first = bundle.alone(team_of(bundle, DEVICES).owners[0])
    for record in found.records:
        if plan_of(record.plan) == f"{first.variant} {first.name}":
            return record.plan.partition(" on ")[2]
    return FIRST


def columns_of(found: Course, timing: Timing, master: str = FIRST) -> dict[str, Column]:
    """What was answered while both were there, and while each was alone."""
    columns = {BOTH: _column(found, 1.0, timing.calm_s)}
    for column, lost in _columns(master):
        span = next(span for span in found.lost if getattr(span.fault, "host", "") == lost)
        begin_s = span.begin_s + SETTLE_S
        end_s = span.end_s if span.end_s is not None else begin_s + timing.gone_s - SETTLE_S
        columns[column] = _column(found, begin_s, end_s)
    return columns


def _columns(master: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The columns in which one answers alone, and who is lost in them."""
    other = SECOND if master == FIRST else FIRST
    return (ONLY_FIRST, other), (ONLY_SECOND, master)


def _column(found: Course, begin_s: float, end_s: float) -> Column:
    return Column(found.rate(begin_s, end_s), dict(found.plans(begin_s, end_s)))


def accuracy_of(mode: str, name: str, column: Column, bundle: Bundle) -> float | None:
    """The share of right answers in a column; None where nobody answers. Of Static and Dynamic it
    is that of the recorded trainings (of the bundle where there are none): of Dynamic's second
    half also, although nobody would want its answers."""
    team = team_of(bundle, DEVICES)
    first, second = (bundle.alone(owner) for owner in team.owners)
    runs: dict[str, Run] = {}
    for each in recorded("mnist"):
        if each.owners == DEVICES:
            runs.setdefault(each.kind, each)  # the first seed: that of the bundle
    if mode == "Static":
        run = runs.get(STATIC)
        whole = run.of(team.name) if run else team.accuracy
        return whole if name == BOTH else None
    if mode == "Dynamic":
        run = runs.get(DYNAMIC)
        low = run.of(first.name) if run else first.accuracy
        high = run.of(second.name) if run else CHANCE
        return high if name == ONLY_SECOND else low
    known = {f"{subnet.variant} {subnet.name}": subnet.accuracy for subnet in bundle.subnets}
    count = sum(column.plans.values())
    if not count:
        return None
    return sum(known[plan_of(plan)] * n for plan, n in column.plans.items()) / count


def plan_of(name: str) -> str:
    """The way and the sub-network in a plan's name."""
    return name.partition(" on ")[0]


def _losses(
    mode: str, story: Story, found: Course, columns: Mapping[str, Column], master: str
) -> Iterator[Row]:
    what = f"{mode}, each host lost once under load and back"
    yield row(f"{what}: requests", story.totals.asked, "requests")
    yield row(f"{what}: lost", story.totals.lost, "requests", "= 0")
    yield row(f"{what}: answered twice", story.totals.twice, "requests", "= 0")
    for column, lost in _columns(master):
        span = next(span for span in found.lost if getattr(span.fault, "host", "") == lost)
        after_s = found.reaches(columns[column].rate, span.begin_s)
        yield row(f"{mode}, {lost} lost: at the level of the other after", after_s, "s", "<= 1")
        again_s = found.first_answer(lost, span.end_s or span.begin_s)
        if again_s is not None:
            after_s = found.reaches(columns[BOTH].rate, again_s)
            yield row(
                f"{mode}, {lost} back: at the level of both after its first answer",
                after_s,
                "s",
                "<= 1",
            )


def _ratio(rates: Mapping[str, float], other: str) -> float:
    return rates["Fluid HT"] / rates[other] if rates.get(other) else float("nan")
