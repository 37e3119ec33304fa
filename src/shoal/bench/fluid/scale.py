"""Each for itself on one, two, three, four equal hosts: how much more that is.

Four hosts answer, then one after the other is lost, so that all rates are of one deployment.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shoal.bench.chaos import play
from shoal.bench.fluid.bundles import asked_for
from shoal.bench.fluid.scenes import APART, SETTLE_S, course, scene_of
from shoal.bench.row import Row, row
from shoal.lab.faults import Kill

HOSTS = 4
STEP_S, QUICK_STEP_S = 12.0, 5.0


def rows(quick: bool) -> Iterator[Row]:
    """Images per second by number of hosts, and over that of one."""
    path = asked_for("fashion")
    if path is not None:
        yield from rows_for(path, QUICK_STEP_S if quick else STEP_S)


def rows_for(path: Path, step_s: float, *, loopback: bool = False) -> Iterator[Row]:
    """The rows of one bundle."""
    faults = [
        Kill(at_s=(HOSTS - left) * step_s, host=f"worker-{left + 1}")
        for left in range(HOSTS - 1, 0, -1)
    ]
    scene = scene_of(path, HOSTS, HOSTS * step_s, faults, APART)
    story = play(scene, loopback=loopback)
    found = course(story)
    rates = {}
    for left in range(HOSTS, 0, -1):
        begin_s = (HOSTS - left) * step_s
        rates[left] = found.rate(begin_s + 2 * SETTLE_S, begin_s + step_s)
    for count, rate in sorted(rates.items()):
        yield row(f"each for itself, {count} of {HOSTS} equal hosts", rate, "images/s")
        if count > 1:
            ratio = rate / rates[1] if rates[1] else float("nan")
            goal = f">= {0.9 * count:g}"
            yield row(f"each for itself, {count} hosts over one", ratio, "ratio", goal)
    yield row("requests lost while three of four hosts die", story.totals.lost, "requests", "= 0")
