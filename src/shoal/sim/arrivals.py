"""When requests come: times in seconds from the beginning, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import TypeAlias

from shoal.errors import DataError

BURST_S, PAUSE_S = 1.0, 2.0
"""Bursts: all that comes in this time comes in the first second of it, so three times as fast."""
MAX_TRACE_BYTES = 64 << 20

Arrivals: TypeAlias = Callable[[float, int], Iterator[float]]
"""The times for a rate (per second) and a seed. They do not end."""


def steady(rate: float, seed: int) -> Iterator[float]:
    """One every ``1 / rate`` seconds."""
    return (number / rate for number in count())


def poisson(rate: float, seed: int) -> Iterator[float]:
    """Each independent of all others: the times between two are exponential."""
    dice, at = Random(f"arrivals {seed}"), 0.0
    while True:
        at += dice.expovariate(rate)
        yield at


def bursts(rate: float, seed: int) -> Iterator[float]:
    """For :data:`BURST_S` so much faster, then nothing for :data:`PAUSE_S`, that it is ``rate`` on
    the whole."""
    period_s = BURST_S + PAUSE_S
    for at in steady(rate, seed):
        whole, part = divmod(at, period_s)
        yield whole * period_s + part * BURST_S / period_s


KINDS: dict[str, Arrivals] = {"steady": steady, "poisson": poisson, "bursts": bursts}


def trace(path: str | Path) -> list[float]:
    """The times in a file, a number on each line; empty lines and those that begin with ``#`` say
    nothing. DataError names the line that is wrong."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TRACE_BYTES + 1)
        if len(data) > MAX_TRACE_BYTES:
            raise DataError(f"{path}: larger than {MAX_TRACE_BYTES >> 20} MiB; shorten it")
        text = data.decode("utf-8")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); arrivals are "
            f"{', '.join(KINDS)}, or a file of times"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text; write a time in seconds on each line") from None
    times: list[float] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            at = float(line)
        except ValueError:
            raise DataError(
                f"{path}, line {number}: {line.strip()[:40]!r} is no time; write seconds"
            ) from None
        if not (math.isfinite(at) and at >= 0):
            raise DataError(f"{path}, line {number}: {at:g} s is no time; begin at 0")
        if times and at < times[-1]:
            raise DataError(
                f"{path}, line {number}: time goes back from {times[-1]:g} to {at:g} s; sort the "
                "lines"
            )
        times.append(at)
    if not times:
        raise DataError(f"{path}: holds no time; write seconds, one on each line")
    return times
