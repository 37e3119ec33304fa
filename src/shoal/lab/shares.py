"""Measures the CPU share of a host in two ways that ask nothing of what limits it.

Machines, virtual ones above all, change their speed by more from one second to the next than a
share may be off. So work in the host is held against the same work outside of any lab, on the same
core, in turns (outside, host, outside, host, ...), and each turn of the host against the two beside
it. The other way is the CPU time that the kernel counted for the work in the host.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import msgspec

from shoal.errors import LabError
from shoal.lab import probe
from shoal.lab.host import Host
from shoal.lab.reading import TOLERANCE, Reading

FIRST = ("nice", "-n", "-20")
"""Before others: what else runs here is another matter."""
ROUNDS = 7
TURN_S = 1.0
CPU_IN_TURN_S = 0.05
"""At least: ten times what a host may use before the kernel notices."""
WHOLE_S = 0.1
WARM_S = 0.1
PIECE_S = 0.01
"""A piece of work on the whole core, for the spread: as much as inference of a small network."""
DRIFT = 0.025
"""Of the machine's own speed, from which on it is told."""


class Turn(msgspec.Struct, frozen=True):
    """What a turn of work did. ``piece_ms`` are the times of the whole pieces in it,
    ``longest_pause_ms`` is the longest time in which it did not run."""

    units: int
    wall_s: float
    cpu_s: float
    piece_ms: tuple[float, ...]
    longest_pause_ms: float


Worker = Callable[[float, int], Turn]
"""Works for so many seconds, in pieces of so many units."""


def share(host: Host, asked: float) -> Iterator[Reading]:
    """The share of a core that one busy program on ``host`` gets: by work done and by CPU time.

    ``asked`` is its quota in cores, at most 1. LabError if the program there fails.
    """
    core = max(os.sched_getaffinity(0))  # the first ones take the interrupts
    words = [sys.executable, "-I", "-S", probe.__file__, "turns", str(core)]
    turn_s = max(TURN_S, CPU_IN_TURN_S / asked)
    with _whole(words) as whole, _on(host, words) as slow:
        first = whole(WHOLE_S, 0)
        piece = max(round(PIECE_S * first.units / first.cpu_s), 1)
        wholes = [whole(WHOLE_S, piece)]
        turns = []
        for _ in range(ROUNDS):
            turns.append(slow(turn_s, piece))
            wholes.append(whole(WHOLE_S, piece))
    what = f"of {host.name} at {100 * asked:g} %"
    yield _reading(f"CPU {what}", asked, by_work(wholes, turns), _notes(asked, wholes, turns))
    yield _reading(f"CPU time {what}", asked, [turn.cpu_s / turn.wall_s for turn in turns], "")


def by_work(wholes: list[Turn], turns: list[Turn]) -> list[float]:
    """The share of each turn: its work a second, against the work of a second of CPU time in the
    turns on the whole core before and after it (one more than ``turns``)."""
    speeds = [turn.units / turn.cpu_s for turn in wholes]
    return [
        turn.units / turn.wall_s / ((before + after) / 2)
        for turn, (before, after) in zip(turns, pairwise(speeds), strict=True)
    ]


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


def _notes(asked: float, wholes: list[Turn], turns: list[Turn]) -> str:
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
    speeds = [turn.units / turn.cpu_s for turn in wholes]
    drift = (max(speeds) - min(speeds)) / statistics.median(speeds)
    if drift > DRIFT:
        notes.append(f"the machine's own speed changed by {100 * drift:.0f} % meanwhile")
    return "; ".join(notes)


@contextmanager
def _whole(words: list[str]) -> Iterator[Worker]:
    """A worker outside of any lab."""
    with (
        subprocess.Popen(
            [*FIRST, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process,
        _ended(process),
    ):
        yield _worker(process, "outside of the lab")


@contextmanager
def _on(host: Host, words: list[str]) -> Iterator[Worker]:
    """A worker on a host."""
    process = host.spawn(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with _ended(process):
        yield _worker(process, f"on {host.name}")


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


def _worker(process: subprocess.Popen[bytes], where: str) -> Worker:
    asks, says = process.stdin, process.stdout
    if asks is None or says is None:
        raise LabError(f"the work {where} has no pipes")

    def work(seconds: float, piece: int) -> Turn:
        with contextlib.suppress(OSError):  # it ended: then it says nothing
            asks.write(f"{seconds} {WARM_S} {piece}\n".encode())
            asks.flush()
        line = says.readline()
        if not line:
            raise LabError(f"the work {where} ended with {process.wait()}")
        return msgspec.convert(json.loads(line), Turn)

    return work
