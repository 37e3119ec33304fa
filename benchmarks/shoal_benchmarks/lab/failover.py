"""Workers on hosts of their own, killed and frozen under load, over and over."""

from __future__ import annotations

import math
import random
import statistics
import sys
from collections.abc import Iterator

from shoal import allowance
from shoal_benchmarks.measure import samples
from shoal_benchmarks.row import Row, row
from shoal_lab import Fault, HostSpec, LabSpec, LinkSpec
from shoal_lab.chaos import Scene, Story, play
from shoal_lab.chaos.verdict import Effect
from shoal_lab.faults import Freeze, Restart
from shoal_lab.spec import Star

WORKERS = (3, 5)
MBIT = 20.0
ROUNDS, QUICK_ROUNDS = 20, 4
ROUND_S = 14.0
GONE_S = 3.0
TAKEN_OVER_S = 1.0
PART = 0.75
"""Of the cores: the rest is for the machine itself."""
GATE = "gate"


def rows(quick: bool) -> Iterator[Row]:
    """For each number of workers: counts over all rounds, and the delays by kind of fault."""
    for workers in WORKERS:
        scene = scene_of(workers, QUICK_ROUNDS if quick else ROUNDS, allowance.cores())
        yield from rows_of(play(scene, on_warning=_warn), workers)


def scene_of(workers: int, rounds: int, cores: float) -> Scene:
    """Equal workers and a gateway that is twice as fast, on links of :data:`MBIT`. In each round a
    worker is killed or frozen, in turn, somewhere in the first third, and then comes back."""
    share = min(0.5, PART * cores / (workers + 2))
    hosts = {GATE: HostSpec(share=2 * share)}
    hosts |= {f"worker-{k + 1}": HostSpec(share=share) for k in range(workers)}
    return Scene(
        spec=LabSpec(name="failover", hosts=hosts, topology=Star(link=LinkSpec(mbit=MBIT))),
        gate=GATE,
        seconds=rounds * ROUND_S,
        faults=schedule([name for name in hosts if name != GATE], rounds),
        options={"stages": workers},
        window=2 * workers,
    )


def schedule(workers: list[str], rounds: int) -> tuple[Fault, ...]:
    """One fault a round: killed (SIGKILL, started again later) or frozen."""
    chance = random.Random(0)
    made: list[Fault] = []
    for number in range(rounds):
        at_s = round(number * ROUND_S + 1 + chance.uniform(0, ROUND_S / 3 - 1), 3)
        kind = (Restart, Freeze)[number % 2]
        made.append(kind(at_s=at_s, host=chance.choice(workers), for_s=GONE_S))
    return tuple(made)


def rows_of(story: Story, workers: int) -> Iterator[Row]:
    """The table of the foundation's failover."""
    found = story.totals
    what = f"{workers} workers, {MBIT:g} Mbit/s, {len(story.effects)} rounds"
    yield row(f"{what}: requests", found.asked, "requests")
    yield row(f"{what}: lost", found.lost, "requests", "= 0")
    yield row(f"{what}: answered twice", found.twice, "requests", "= 0")
    yield row(f"{what}: wrong", found.wrong, "requests", "= 0")
    hits = sum(effect.hit for effect in story.effects)
    yield row(f"{what}: that hit a worker at work", hits, "rounds")
    yield row(f"{what}: answers", found.images_per_s, "images/s")
    yield row(f"{what}: usual time of an answer", found.usual_ms, "ms")
    for name, kind, goal in (("killed", "restart", "<= 100"), ("frozen", "freeze", "<= 600")):
        did = [effect for effect in story.effects if effect.what.startswith(kind)]
        extra = samples([effect.slowest_ms - found.usual_ms for effect in did])
        each = f"{workers} workers: extra delay of the slowest request, {name}"
        yield row(f"{each}, worst round", max(extra.values), "ms", goal, extra.spread)
        yield row(f"{each}, median round", extra, "ms")
        fewer = f"{workers} workers: usual time of an answer while it was {name}, beyond the usual"
        yield row(fewer, samples([_away_ms(story, one) - found.usual_ms for one in did]), "ms")
        back = [effect.back_s for effect in did if effect.back_s is not None]
        if back:
            again = f"{workers} workers: at work again after it was {name} and came back"
            yield row(again, samples(back), "s")


def _away_ms(story: Story, effect: Effect) -> float:
    """The median time of the answers to what was asked when the others had taken over. They have
    the same requests under way with one device less: that much is no matter of failing over."""
    begin_s = story.began_s + effect.at_s + TAKEN_OVER_S
    end_s = story.began_s + effect.at_s + (effect.lasted_s or 0.0)
    times = [one.latency_ms for one in story.records if begin_s <= one.asked_s < end_s]
    return statistics.median(times) if times else math.nan


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
