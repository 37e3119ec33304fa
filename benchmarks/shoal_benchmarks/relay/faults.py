"""One of several nodes is killed, or slowed, and comes back: what is lost, and how soon the others
do what they can. Needs root."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.scratch import Scratch
from shoal_benchmarks.emulation import emulated
from shoal_benchmarks.node.equals import Equals, Ground
from shoal_benchmarks.relay.spread import PER_HOST, SHARE
from shoal_benchmarks.relay.subject import Subject, subject
from shoal_benchmarks.relay.systems import relayed
from shoal_benchmarks.row import Row, row
from shoal_lab import Fault
from shoal_lab.faults import Restart, Slow

GROUND = Ground(workers=3, share=SHARE, mbit_s=50.0, delay_ms=0.0)
CALM_S, GONE_S, BACK_S = 5.0, 8.0, 5.0
SETTLED_S = 2.0
"""After so long the rate is to be that of the nodes that are there."""
LOAD = 0.5
"""Of what all can do."""
BUDGET_MS = 5000.0


def rows(quick: bool) -> Iterator[Row]:
    """Each fault in turn; nothing, and a line in the log, without the right to have a lab or
    without the images."""
    if not emulated("relay.faults"):
        return
    found = subject()
    if found is None:
        return
    with Scratch.make("relay-lab") as files, Equals(GROUND, files.path, name="relay") as lab:
        yield from rows_for(lab, found, quick)


def rows_for(lab: Equals, subject: Subject, quick: bool) -> Iterator[Row]:
    """In one lab: half of what all can do is asked, then more than they can."""
    lab.serve(relayed(lab, subject, "mesh"), subject.images, subject.labels)
    rate = lab.busy(4.0 if quick else 10.0, PER_HOST * GROUND.workers).images_per_s
    yield row("throughput", rate, "images/s")
    victim = GROUND.names[1]
    faults: dict[str, Fault] = {
        "killed": Restart(at_s=CALM_S, host=victim, for_s=GONE_S),
        "slowed to a quarter": Slow(at_s=CALM_S, host=victim, factor=0.25, for_s=GONE_S),
    }
    seconds = CALM_S + GONE_S + BACK_S
    for what, fault in faults.items():
        followed = lab.pour(LOAD * rate, seconds, BUDGET_MS, (fault,))
        lost = sum(one.lost for one in followed.told)
        yield row(f"a node {what}, half of the load: requests lost", lost, "requests", "= 0")
        followed = lab.pour(1.5 * rate, seconds, BUDGET_MS, (fault,))
        began_s = followed.began_s
        spans = {
            "before": (CALM_S - 3.0, CALM_S),
            "meanwhile": (CALM_S + SETTLED_S, CALM_S + GONE_S),
            "after it is back": (CALM_S + GONE_S + SETTLED_S, seconds),
        }
        for when, (first, last) in spans.items():
            done = [
                one
                for one in followed.told
                if not one.lost and began_s + first <= one.answered_s < began_s + last
            ]
            yield row(f"a node {what}, all it can: {when}", len(done) / (last - first), "images/s")
