"""Measures the CPU share of a host in two ways that ask nothing of what limits it.

One is work done, against the same work on the same core outside of any lab: when the work in the
host ran by its own clock, and how fast it was then. Machines, virtual ones above all, change their
speed by more from one moment to the next than a share may be off, and a core that rests between
bursts is slower in them. So the work outside takes the very pauses of the work in the host: the
kernel changes between them every few milliseconds, and the core never rests. Speeds are those of
undisturbed moments (the lower quartile of some 35 microseconds' times): who else is at work on the
same physical core takes up to half of it, and not of both alike. What all work did is told, too.
The other way is the CPU time that the kernel counted for the work in the host.

A turn of the host lasts from one moment at which a used up quota is given again to another, so
that no part of a pause is counted or left out by chance.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import msgspec

from shoal.errors import LabError
from shoal_lab import probe
from shoal_lab.host import Host
from shoal_lab.reading import TOLERANCE, Reading

ROUNDS = 20
TURN_S = 0.2
CPU_IN_TURN_S = 0.03
"""At least: several times what a host may use before the kernel notices."""
WARM_S = 0.1
GAP_S = 0.1
"""Between turns, for the work outside: a host of 100 % leaves it no pause."""
END_S = 10.0
PIECE_S = 0.01
"""A piece of work on the whole core, for the spread: as much as inference of a small network."""
DRIFT = 0.025
"""Of the machine's own speed, from which on it is told."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn of work did, from ``began_s`` to ``ended_s`` on the monotonic clock; the rest
    leaves out its warm-up. ``ran_s`` is when it ran by its own clock, ``piece_ms`` are the times of
    the whole pieces in it, ``chunk_us`` those of undisturbed bits of it, ``longest_pause_ms`` is
    the longest time in which it did not run."""

    began_s: float
    ended_s: float
    units: int
    wall_s: float
    ran_s: float
    cpu_s: float
    piece_ms: tuple[float, ...]
    chunk_us: tuple[float, ...]
    longest_pause_ms: float


Worker: TypeAlias = Callable[[float, int], Turn]
"""Works for so many seconds, in pieces of so many units."""


class Speed(msgspec.Struct, frozen=True):
    """Of work on the whole core: units in a second of CPU time, microseconds of an undisturbed
    bit."""

    units_per_s: float
    chunk_us: float


class Whole(msgspec.Struct, frozen=True):
    """Work on the core outside of any lab: units done and CPU seconds used at each moment, and the
    time of an undisturbed bit before it."""

    at_s: tuple[float, ...]
    units: tuple[int, ...]
    cpu_s: tuple[float, ...]
    chunk_us: tuple[float, ...]

    def speed(self, begin_s: float, end_s: float) -> Speed:
        """Between two moments; LabError if it did not run then."""
        first = max(bisect_right(self.at_s, begin_s) - 1, 0)
        last = min(bisect_left(self.at_s, end_s), len(self.at_s) - 1)
        used_s = self.cpu_s[last] - self.cpu_s[first] if self.at_s else 0.0
        if used_s <= 0:
            raise LabError(
                "no time was left to measure the speed of the whole core: this machine is busy; "
                "end what else runs on it"
            )
        return Speed(
            (self.units[last] - self.units[first]) / used_s,
            undisturbed(self.chunk_us[first + 1 : last + 1]),
        )


def undisturbed(chunk_us: Sequence[float]) -> float:
    """The lower quartile."""
    return sorted(chunk_us)[len(chunk_us) // 4]


def share(host: Host, asked: float) -> Iterator[Reading]:
    """The share of a core that one busy program on ``host`` gets: by work done and by CPU time.

    ``asked`` is its quota in cores, at most 1. LabError if the program there fails.
    """
    core = str(max(os.sched_getaffinity(0)))  # the first ones take the interrupts
    turn_s = max(TURN_S, CPU_IN_TURN_S / asked)
    turns = []
    with _outside(core) as outside, _inside(host, core) as work:
        first = work(turn_s, 0)  # to know how much a piece is
        piece = max(round(PIECE_S * first.units / first.cpu_s), 1)
        for _ in range(ROUNDS):
            time.sleep(GAP_S)
            turns.append(work(turn_s, piece))
        time.sleep(GAP_S)
        whole = _log_of(outside)
    what = f"of {host.name} at {100 * asked:g} %"
    yield _reading(f"CPU {what}", asked, by_work(whole, turns), _notes(asked, whole, turns))
    yield _reading(f"CPU time {what}", asked, [turn.cpu_s / turn.wall_s for turn in turns], "")


def by_work(whole: Whole, turns: list[Turn]) -> list[float]:
    """The share of each turn: the part of its time in which it ran, times its speed against that of
    the whole core in its pauses and beside it, both undisturbed."""
    return [
        turn.ran_s / turn.wall_s * speed.chunk_us / undisturbed(turn.chunk_us)
        for turn, speed in _beside(whole, turns)
    ]


def by_all_work(whole: Whole, turns: list[Turn]) -> list[float]:
    """The same by all units done, whoever disturbed them."""
    return [turn.units / turn.wall_s / speed.units_per_s for turn, speed in _beside(whole, turns)]


def _beside(whole: Whole, turns: list[Turn]) -> Iterator[tuple[Turn, Speed]]:
    for turn in turns:
        yield turn, whole.speed(turn.began_s - GAP_S, turn.ended_s + GAP_S)


def _reading(what: str, asked: float, shares: list[float], note: str) -> Reading:
    return Reading(
        what=what,
        way="cgroup quota",
        asked=100 * asked,
        got=100 * statistics.median(shares),
        low=100 * min(shares),
        high=100 * max(shares),
        within=TOLERANCE * 100 * asked,
        unit="% of a core",
        note=note,
    )


def _notes(asked: float, whole: Whole, turns: list[Turn]) -> str:
    """The spread of latencies, and what the machine itself did."""
    pieces = [ms for turn in turns for ms in turn.piece_ms]
    paused = max(turn.longest_pause_ms for turn in turns)
    notes = []
    if len(pieces) > 1:
        tenths = statistics.quantiles(pieces, n=10)
        notes.append(
            f"{1e3 * PIECE_S:g} ms of work in {tenths[0]:.0f} to {tenths[-1]:.0f} ms (p10 to p90; "
            f"{1e3 * PIECE_S / asked:.0f} if it were even)"
        )
    notes.append(f"longest pause {paused:.0f} ms")
    speeds = [speed.units_per_s for _, speed in _beside(whole, turns)]
    drift = (max(speeds) - min(speeds)) / statistics.median(speeds)
    if drift > DRIFT:
        raw = [100 * one for one in by_all_work(whole, turns)]
        notes.append(
            f"the machine's own speed changed by {100 * drift:.0f} % meanwhile, with its disturbed "
            f"moments {statistics.median(raw):.1f} % ({min(raw):.1f} to {max(raw):.1f})"
        )
    return "; ".join(notes)


def _program(*words: str) -> list[str]:
    return [sys.executable, "-I", "-S", probe.__file__, *words]


@contextmanager
def _outside(core: str) -> Iterator[subprocess.Popen[bytes]]:
    """Work outside of any lab, in all the time that is left on the core."""
    process = subprocess.Popen(
        _program("fill", core),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with _ended(process):
        yield process


def _log_of(process: subprocess.Popen[bytes]) -> Whole:
    """Let the work outside end, and what it did."""
    out, _ = process.communicate(timeout=END_S)
    return msgspec.convert(json.loads(out), Whole)


@contextmanager
def _inside(host: Host, core: str) -> Iterator[Worker]:
    """A worker on a host."""
    process = host.spawn(_program("turns", core), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with _ended(process):
        yield _worker(process, host.name)


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _worker(process: subprocess.Popen[bytes], host: str) -> Worker:
    asks, says = process.stdin, process.stdout
    if asks is None or says is None:
        raise LabError(f"the work on {host} has no pipes")

    def work(seconds: float, piece: int) -> Turn:
        with contextlib.suppress(OSError):  # it ended: then it says nothing
            asks.write(f"{seconds} {WARM_S} {piece}\n".encode())
            asks.flush()
        line = says.readline()
        if not line:
            raise LabError(f"the work on {host} ended with {process.wait()}")
        return msgspec.convert(json.loads(line), Turn)

    return work
