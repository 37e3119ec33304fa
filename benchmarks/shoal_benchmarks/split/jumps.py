"""Split while the link jumps and breaks: how soon the plan fits again, and what a break costs.

In the lab of the grid, one request after the other. The plan in use is judged by its forecast on
the link as it is now, against the best plan's.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from functools import partial

from shoal.errors import ShoalError
from shoal.plan.objective import Aim
from shoal.plan.plan import Playbook
from shoal.scratch import Scratch
from shoal.strategies.split.explain import at_bandwidth
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.split.driver import Told
from shoal_benchmarks.split.grid import Prepared, failed, prepared
from shoal_benchmarks.split.scene import Scene
from shoal_benchmarks.split.systems import DEVICE_ONLY, SPLIT

SHARE = 0.2
JUMPS = (50.0, 2.0, 20.0, 1.0, 100.0, 5.0)
"""Mbit/s, one after the other."""
EVERY_S, QUICK_EVERY_S = 8.0, 4.0
NEAR = 1.05
STAYS = 3
BREAK_S = 4.0


def rows(quick: bool) -> Iterator[Row]:
    """The slowest and the median return to a good plan, and the requests of a break."""
    made = prepared((Aim.LATENCY, Aim.BYTES), quick)
    if made is None:
        return
    try:
        yield from _measured(made, QUICK_EVERY_S if quick else EVERY_S)
    except ShoalError as error:
        yield failed("lab", str(error))


def _measured(made: Prepared, every_s: float) -> Iterator[Row]:
    bench, arrays, expected = made
    with (
        Scratch.make("split") as folder,
        Scene(folder.path, arrays, expected) as scene,
    ):
        systems = bench.systems(scene.cluster(SHARE, JUMPS[0]), 0)
        playbook = systems[SPLIT].playbook
        scene.link(JUMPS[0])
        scene.serve(systems[SPLIT])
        changes = [
            (every_s * (k + 1), partial(scene.link, mbit)) for k, mbit in enumerate(JUMPS[1:])
        ]
        at_s, told = scene.follow(SHARE, changes, every_s * len(JUMPS))
        yield from _jumps(playbook, at_s, told)
        yield from _break(scene, systems[DEVICE_ONLY].playbook)


def _jumps(playbook: Playbook, at_s: Sequence[float], told: Sequence[Told]) -> Iterator[Row]:
    """How many requests and seconds it took after each jump."""
    seconds, requests = [], []
    for k, mbit in enumerate(JUMPS[1:]):
        until = at_s[k + 1] if k + 1 < len(at_s) else math.inf
        after = [t for t in told if at_s[k] <= t.asked_s < until]
        good = good_plans(playbook, mbit)
        place = arrived([t.plan in good for t in after])
        if place < len(after):
            seconds.append(after[place].asked_s - at_s[k])
        else:
            seconds.append(float("inf"))
        requests.append(place)
        last = after[-1].plan if after else "nothing"
        best = at_bandwidth(playbook, mbit).chosen.plan
        about = f"jump to {mbit:g} Mbit/s: requests until a plan within 5 % of {best}"
        yield row(f"{about}; in use at the end: {last}", place, "requests")
    # Either is enough: slow devices have few requests a second, quick ones many.
    late = sum(s > 1.0 and n > 5 for s, n in zip(seconds, requests, strict=True))
    yield row("jumps of the link after which it took over 1 s and 5 requests", late, "jumps", "= 0")
    yield row(
        "after a jump until within 5 % of the best plan, median", statistics.median(seconds), "s"
    )
    yield row("the same, requests, worst", max(requests), "requests")
    yield row("requests lost while the link jumped", sum(t.lost for t in told), "requests", "= 0")


def arrived(good: Sequence[bool]) -> int:
    """From which request on a good plan is in use: the first of ``STAYS`` good ones in a row, since
    a single one may be a trial of the link. The number of requests, if there is none."""
    rows = (n for n in range(len(good) - STAYS + 1) if all(good[n : n + STAYS]))
    return next(rows, len(good))


def good_plans(playbook: Playbook, mbit_s: float) -> set[str]:
    """The plans whose forecast latency on this link is within 5 % of the best plan's."""
    at = at_bandwidth(playbook, mbit_s)
    every = [at.chosen, *at.others]
    least = min(each.latency_ms for each in every)
    return {at.chosen.plan} | {e.plan for e in every if e.latency_ms <= NEAR * least}


def _break(scene: Scene, alone: Playbook) -> Iterator[Row]:
    """The link breaks under a request: its delay beyond that of the device alone."""
    scene.link(20.0)
    changes = [(BREAK_S, partial(scene.cut, True)), (2 * BREAK_S, partial(scene.cut, False))]
    at_s, told = scene.follow(SHARE, changes, 3 * BREAK_S)
    during = [t for t in told if t.answered_s > at_s[0] and t.asked_s < at_s[1]]
    usual_ms = statistics.median((t.answered_s - t.asked_s) * 1e3 for t in told)
    slowest_ms = max(((t.answered_s - t.asked_s) * 1e3 for t in during), default=float("nan"))
    yield row("link broken: requests lost", sum(t.lost for t in told), "requests", "= 0")
    yield row("link broken: slowest request beyond the median", slowest_ms - usual_ms, "ms")
    alone_ms = alone.plans[0].forecast.latency_ms
    yield row("device alone, by forecast", alone_ms, "ms")
