"""One of several nodes is killed, or slowed, and comes back: what is lost or answered twice, and
how soon the others do what they can. Needs root.

More is asked than can be done. What can be done after a change is learned from the same run: the
*optimum* is the rate from ``STEADY_S`` after the change until the next one. Beside it stands what
the nodes that are left would do if each did its part of what all did before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shoal.scratch import Scratch
from shoal_benchmarks.emulation import emulated
from shoal_benchmarks.node.equals import Equals, Followed, Ground
from shoal_benchmarks.relay.spread import PER_HOST, SHARE
from shoal_benchmarks.relay.subject import Subject, subject
from shoal_benchmarks.relay.systems import relayed
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.split.driver import Told
from shoal_lab import Fault
from shoal_lab.faults import Restart, Slow

GROUND = Ground(workers=3, share=SHARE, mbit_s=50.0, delay_ms=0.0)
SETTLED_S, STEADY_S = 2.0, 5.0
"""After the first the rate is to be the optimum, which is measured from the second on."""
OPTIMUM = ">= 0.95"
HALF, FULL = 0.5, 1.5
"""Of what all can do, by what they do with a window."""
SLOWER = 0.25
BUDGET_MS = 5000.0


class Timing(NamedTuple):
    """Seconds before the fault, while it lasts, and after it."""

    calm_s: float
    gone_s: float
    back_s: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self)


TIMING, QUICK_TIMING = Timing(8.0, 15.0, 20.0), Timing(6.0, 8.0, 12.0)


def rows(quick: bool) -> Iterator[Row]:
    """Each fault in turn; nothing, and a line in the log, without the right to have a lab or
    without the images."""
    if not emulated("relay.faults"):
        return
    found = subject()
    if found is None:
        return
    with Scratch.make("relay-lab") as files, Equals(GROUND, files.path, name="relay") as lab:
        yield from rows_for(lab, found, QUICK_TIMING if quick else TIMING)


def rows_for(lab: Equals, subject: Subject, timing: Timing) -> Iterator[Row]:
    """In one lab: half of what all can do is asked, then more than they can."""
    lab.serve(relayed(lab, subject, "mesh"), subject.images, subject.labels)
    rate = lab.busy(timing.calm_s, PER_HOST * GROUND.workers).images_per_s
    yield row("throughput", rate, "images/s")
    victim, workers = lab.ground.names[1], lab.ground.workers
    at_s, for_s = timing.calm_s, timing.gone_s
    faults: dict[str, tuple[Fault, float]] = {
        "killed": (Restart(at_s=at_s, host=victim, for_s=for_s), 0.0),
        "slowed to a quarter": (
            Slow(at_s=at_s, host=victim, factor=SLOWER, for_s=for_s),
            SLOWER,
        ),
    }
    for what, (fault, left) in faults.items():
        for load in (HALF, FULL):
            followed = lab.pour(load * rate, timing.seconds, BUDGET_MS, (fault,))
            yield from count_rows(f"a node {what}, {load:g} of the load", followed, load < 1)
        share = (workers - 1 + left) / workers
        back_s = joined(followed, victim, at_s + for_s) if left == 0.0 else at_s + for_s
        yield from rate_rows(f"a node {what}", followed, timing, back_s, share)


def count_rows(what: str, followed: Followed, all_answered: bool) -> Iterator[Row]:
    """What was lost, and what was answered twice, by the numbers of requests. Where all can be
    answered nothing may be refused or late; where more is asked, what was let in by the pace of
    before may be late, as there are fewer now."""
    ends = Counter(one.number for one in followed.told)
    never = followed.asked - len(ends)
    whys = Counter(one.why for one in followed.told if one.lost)
    refused = whys.pop("OverloadedError", 0)
    yield row(f"{what}: asked", followed.asked, "requests")
    late, goal = whys.pop("DeadlineError", 0), "= 0" if all_answered else None
    yield row(f"{what}: refused at once", refused, "requests", goal)
    yield row(f"{what}: late", late, "requests", goal)
    yield row(f"{what}: lost", never + whys.total(), "requests", "= 0")
    yield row(f"{what}: answered twice", ends.total() - len(ends), "requests", "= 0")


def joined(followed: Followed, name: str, after_s: float) -> float:
    """When the first answer came for which a node worked that was started again ``after_s``: its
    process has to begin first."""
    times = [
        one.answered_s - followed.began_s
        for one in followed.told
        if name in one.by and one.asked_s >= followed.began_s + after_s
    ]
    return min(times, default=float("inf"))


def rate_rows(
    what: str, followed: Followed, timing: Timing, back_s: float, share: float
) -> Iterator[Row]:
    """How soon the rate is the optimum, once the fault began and once it was over."""
    told, began_s = followed.told, followed.began_s
    fault_s = timing.calm_s
    before = rate_of(told, began_s, fault_s - timing.calm_s / 2, fault_s)
    yield row(f"{what}: rate before", before, "images/s")
    yield row(f"{what}: from its start until it works again", back_s - fault_s, "s")
    ends = (
        ("meanwhile", fault_s, fault_s + timing.gone_s, share),
        ("once it is back", back_s, timing.seconds, 1.0),
    )
    for when, from_s, until_s, part in ends:
        optimum = rate_of(told, began_s, from_s + STEADY_S, until_s)
        soon = rate_of(told, began_s, from_s + SETTLED_S, from_s + STEADY_S)
        yield row(f"{what}, {when}: optimum", optimum, "images/s")
        over = optimum / (part * before) if before else float("nan")
        yield row(f"{what}, {when}: optimum over the part of what was before", over, "ratio")
        reached = soon / optimum if optimum else float("nan")
        said = f"rate from {SETTLED_S:g} to {STEADY_S:g} s after, over the optimum"
        yield row(f"{what}, {when}: {said}", reached, "ratio", OPTIMUM)


def rate_of(told: Sequence[Told], began_s: float, from_s: float, until_s: float) -> float:
    """Answers in a second, between two times after the beginning; not a number for no time."""
    if until_s <= from_s:
        return float("nan")
    times = (one.answered_s - began_s for one in told if not one.lost)
    return sum(from_s <= at < until_s for at in times) / (until_s - from_s)
