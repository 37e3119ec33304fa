"""More is asked than can be done: what is answered, how right, and what is refused. Needs root."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from shoal.plan.plan import Playbook
from shoal.scratch import Scratch
from shoal_benchmarks.emulation import emulated
from shoal_benchmarks.measure import samples
from shoal_benchmarks.node.equals import Equals, Ground
from shoal_benchmarks.relay import growth
from shoal_benchmarks.relay.growth import Watch
from shoal_benchmarks.relay.spread import PER_HOST, SHARE
from shoal_benchmarks.relay.subject import Subject, subject
from shoal_benchmarks.relay.systems import PASSED, passed_on, relayed
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.split.driver import Told

GROUND = Ground(workers=3, share=SHARE, mbit_s=50.0, delay_ms=0.0)
CAPACITY = "what all can do without exits"
FIXED, FOLLOWING = "thresholds fixed", "thresholds follow the rate"
TIMES = (0.8, 1.2)
FLOOD = 3.0
"""Of what can be done with exits."""
SECONDS, QUICK_SECONDS = 20.0, 6.0
FLOOD_S, QUICK_FLOOD_S = 60.0, 10.0
BUDGET_MS = 1000.0
IN_TIME = ">= 99"


def rows(quick: bool) -> Iterator[Row]:
    """Accuracy at fixed rates, then a flood; nothing, and a line in the log, without the right to
    have a lab or without the images."""
    if not emulated("relay.overload"):
        return
    found = subject()
    if found is None:
        return
    with Scratch.make("relay-lab") as files, Equals(GROUND, files.path, name="relay") as lab:
        yield from rows_for(lab, found, quick)


def rows_for(lab: Equals, subject: Subject, quick: bool) -> Iterator[Row]:
    """In one lab."""
    seconds = QUICK_SECONDS if quick else SECONDS
    books = {
        PASSED: passed_on(lab, subject, "mesh"),
        FIXED: relayed(lab, subject, "mesh"),
        FOLLOWING: relayed(lab, subject, "mesh", fixed="rate"),
    }
    window = PER_HOST * GROUND.workers
    rates = {}
    for name in (PASSED, FIXED):
        lab.serve(books[name], subject.images, subject.labels)
        rates[name] = lab.busy(seconds, window).images_per_s
        yield row(f"{name}: throughput", rates[name], "images/s")
    for times in TIMES:
        for name, book in books.items():
            told = poured(lab, subject, book, times * rates[PASSED], seconds)
            what = f"asked {times:g} times {CAPACITY}, {name}"
            yield from rows_of(what, told)
    flood_s = QUICK_FLOOD_S if quick else FLOOD_S
    for name in (FIXED, FOLLOWING):
        with Watch(lab.resident_mib) as watch:
            told = poured(lab, subject, books[name], FLOOD * rates[FIXED], flood_s)
        what = f"asked {FLOOD:g} times what all can do with exits, {name}"
        yield from rows_of(what, told, IN_TIME)
        yield from growth.rows_of(what, told, watch.seen)


def poured(
    lab: Equals, subject: Subject, book: Playbook, rate: float, seconds: float
) -> tuple[Told, ...]:
    """What becomes of requests at a rate."""
    lab.serve(book, subject.images, subject.labels)
    return lab.pour(rate, seconds, BUDGET_MS).told


def rows_of(what: str, told: Sequence[Told], goal: str | None = None) -> Iterator[Row]:
    """How many were answered, in time, rightly, and after how many tasks."""
    answered = [one for one in told if not one.lost]
    whys = Counter(one.why for one in told if one.lost)
    refused = whys.pop("OverloadedError", 0)
    admitted = len(told) - refused
    yield row(f"{what}: asked", len(told), "requests")
    yield row(f"{what}: refused at once", 100 * refused / max(1, len(told)), "%")
    late = whys.pop("DeadlineError", 0) + sum(took_ms(one) > BUDGET_MS for one in answered)
    timely = admitted - late - whys.total()
    yield row(
        f"{what}: of the others, answered in time", 100 * timely / max(1, admitted), "%", goal
    )
    yield row(f"{what}: of the others, late", 100 * late / max(1, admitted), "%")
    yield row(f"{what}: of the others, lost", whys.total(), "requests", goal and "= 0")
    if answered:
        right = sum(one.right for one in answered)
        yield row(f"{what}: of the answers, right", 100 * right / len(answered), "%")
        yield row(f"{what}: of all that was asked, right", 100 * right / len(told), "%")
        tasks = sum(one.tasks for one in answered) / len(answered)
        yield row(f"{what}: tasks for an answer", tasks, "tasks")
        times = samples([took_ms(one) for one in answered])
        yield row(f"{what}: time of an answer, p50", times.median, "ms")
        yield row(f"{what}: time of an answer, p99", times.percentile(99), "ms")


def took_ms(one: Told) -> float:
    """From when it was asked to its answer."""
    return (one.answered_s - one.asked_s) * 1e3
