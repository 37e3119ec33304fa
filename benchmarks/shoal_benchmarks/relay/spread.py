"""Images per second and accuracy with as many requests as keep all hosts busy. Needs root."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

from shoal.errors import ShoalError
from shoal.scratch import Scratch
from shoal_benchmarks.emulation import emulated
from shoal_benchmarks.measure import samples, turns
from shoal_benchmarks.node.equals import Equals, Ground
from shoal_benchmarks.node.virtual import Busy
from shoal_benchmarks.relay.subject import Subject, subject
from shoal_benchmarks.relay.systems import ALONE, PASSED, RELAY, SYSTEMS
from shoal_benchmarks.row import Row, row

SHARE = 0.2


class Place(NamedTuple):
    """Hosts and how they are joined."""

    workers: int
    topology: str
    mbit_s: float

    @property
    def words(self) -> str:
        """What it is called."""
        shape = f" in a {self.topology}" if self.workers > 2 else ""
        return f"{self.workers} hosts{shape}, {self.mbit_s:g} Mbit/s"


PLACES = (
    Place(1, "mesh", 50.0),
    Place(2, "mesh", 50.0),
    Place(3, "mesh", 50.0),
    Place(3, "ring", 50.0),
    Place(5, "mesh", 50.0),
    Place(3, "mesh", 10.0),
)
ROUNDS, QUICK_ROUNDS = 3, 1
SECONDS, QUICK_SECONDS = 8.0, 4.0
PER_HOST = 6
"""Requests under way."""


def rows(quick: bool) -> Iterator[Row]:
    """All systems at all places; nothing, and a line in the log, without the right to have a lab
    or without the images."""
    if not emulated("relay.spread"):
        return
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    found = subject()
    if found is None:
        return
    for place in PLACES:
        ground = Ground(place.workers, SHARE, place.mbit_s, 0.0)
        with (
            Scratch.make("relay-lab") as files,
            Equals(ground, files.path, name="relay") as lab,
        ):
            yield from rows_for(lab, place, found, rounds, seconds)


def rows_for(
    lab: Equals, place: Place, subject: Subject, rounds: int, seconds: float
) -> Iterator[Row]:
    """All systems at one place, in turns."""
    books = {each.name: each.book(lab, subject, place.topology) for each in SYSTEMS}
    window = PER_HOST * place.workers
    taken: list[dict[str, Busy]] = []
    for order in turns(books, rounds):
        taken.append({})
        for name in order:
            try:
                lab.serve(books[name], subject.images, subject.labels)
                taken[-1][name] = lab.busy(seconds, window)
            except ShoalError as error:
                print(f"{place.words}, {name}: {error}", file=sys.stderr)
    for name in books:
        each = [one[name] for one in taken if name in one]
        if each:
            what = f"{place.words}, {name}"
            yield row(
                f"{what}: throughput", samples([one.images_per_s for one in each]), "images/s"
            )
            yield row(f"{what}: accuracy", samples([one.right for one in each]), "share")
            spent = samples([sum(one.spent_ms.values()) for one in each])
            yield row(f"{what}: CPU for an image", spent, "ms")
            handed = samples([one.handed for one in each])
            yield row(f"{what}: handed on, for an image", handed, "tasks")
    ahead = ">= 1" if place.mbit_s <= 10 else None
    for other, goal, least in ((PASSED, ">= 2", " (the least: 1.5)"), (ALONE, ahead, "")):
        both = [one for one in taken if RELAY in one and other in one]
        if both:
            ratio = samples([one[RELAY].images_per_s / one[other].images_per_s for one in both])
            yield row(f"{place.words}: relay over {other}{least}", ratio, "ratio", goal)
