"""Hosts of which one is twice, another four times as quick as the slowest: how much of what each
does by itself they do together. Needs root."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.scratch import Scratch
from shoal_benchmarks.emulation import emulated
from shoal_benchmarks.measure import samples, turns
from shoal_benchmarks.node.equals import Equals, Ground
from shoal_benchmarks.relay.spread import PER_HOST
from shoal_benchmarks.relay.subject import Subject, subject
from shoal_benchmarks.relay.systems import relayed
from shoal_benchmarks.row import Row, row

TIMES = (1.0, 2.0, 4.0)
GROUND = Ground(workers=3, share=0.1, mbit_s=50.0, delay_ms=0.0, times=TIMES, gate=0.4)
TOGETHER = "together"
ROUNDS, QUICK_ROUNDS = 3, 1
SECONDS, QUICK_SECONDS = 8.0, 4.0
GOAL = ">= 0.9"


def rows(quick: bool) -> Iterator[Row]:
    """Nothing, and a line in the log, without the right to have a lab or without the images."""
    if not emulated("relay.unequal"):
        return
    found = subject()
    if found is None:
        return
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    with Scratch.make("relay-lab") as files, Equals(GROUND, files.path, name="relay") as lab:
        yield from rows_for(lab, found, rounds, seconds)


def rows_for(lab: Equals, subject: Subject, rounds: int, seconds: float) -> Iterator[Row]:
    """In one lab: each host by itself, and all together, in turns."""
    names = lab.ground.names
    books = {name: relayed(lab, subject, "mesh", only=(name,)) for name in names}
    books[TOGETHER] = relayed(lab, subject, "mesh")
    seen: dict[str, list[float]] = {name: [] for name in books}
    for order in turns(books, rounds):
        for name in order:
            lab.serve(books[name], subject.images, subject.labels)
            window = PER_HOST * len(names if name == TOGETHER else (name,))
            seen[name].append(lab.busy(seconds, window).images_per_s)
    for name, rates in seen.items():
        who = name if name == TOGETHER else f"{lab.ground.share_of(name):g} of a core by itself"
        yield row(f"{who}: throughput", samples(rates), "images/s")
    sums = [sum(each) for each in zip(*(seen[name] for name in names), strict=True)]
    share = samples(seen[TOGETHER]).over(samples(sums))
    yield row("together, of the sum of their rates", share, "ratio", GOAL)
