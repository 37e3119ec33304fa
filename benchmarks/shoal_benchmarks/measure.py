"""How benches measure: interleaved runs, medians, spread.

What is compared is run in turn within each round, in an order that changes from round to round,
so that a machine that slows down or is shared slows all of it alike.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from shoal.observe.load_generator import Arrays
    from shoal.runtime.service import Service

Name = TypeVar("Name", bound=Hashable)


class Samples(msgspec.Struct, frozen=True):
    """Measured values, in the order of the rounds."""

    values: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """The value below which ``percent`` of the samples lie, linear between neighbours."""
        ordered = sorted(self.values)
        place = (len(ordered) - 1) * percent / 100
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (ordered[above] - ordered[below]) * (place - below)

    @property
    def median(self) -> float:
        """The 50th percentile."""
        return self.percentile(50)

    @property
    def spread(self) -> tuple[float, float]:
        """The 10th and the 90th percentile."""
        return self.percentile(10), self.percentile(90)

    def over(self, other: Samples) -> Samples:
        """Ratios round by round: what the two share (a slow moment) cancels out."""
        return Samples(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))


def samples(values: Sequence[float]) -> Samples:
    """Samples of at least one value."""
    if not values:
        raise ValueError("a measurement needs at least one sample")
    return Samples(tuple(values))


def turns(names: Iterable[Name], rounds: int, seed: int | str = 0) -> Iterator[tuple[Name, ...]]:
    """The order of each round: drawn, and never that of the round before where there is another."""
    order, shuffle = list(names), random.Random(seed).shuffle
    for _ in range(rounds):
        before = list(order)
        while True:
            shuffle(order)
            if order != before or len(set(order)) < 2:
                break
        yield tuple(order)


def interleaved(
    variants: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 3,
    seed: int = 0,
) -> dict[str, Samples]:
    """Time of each variant in ms, over ``rounds`` rounds that each run all of them once."""
    for _ in range(warm_up):
        for run in variants.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in variants}
    with quiet_collector():
        for order in turns(variants, rounds, seed):
            for name in order:
                start = perf_counter()
                variants[name]()
                times[name].append((perf_counter() - start) * 1e3)
    return {name: samples(values) for name, values in times.items()}


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep Python's garbage collector from running in the middle of a measurement."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def rate_of(service: Service, feeds: Arrays, seconds: float) -> float:
    """Images per second when as many requests are under way as keep everybody busy."""
    begin_s = monotonic()
    count = 0

    def inputs() -> Iterator[Arrays]:
        while monotonic() < begin_s + seconds:
            yield feeds

    for _ in service.infer_many(inputs()):
        count += 1
    return count / (monotonic() - begin_s)


def resident_mib(pid: int) -> float:
    """Resident memory of a process in MiB."""
    import psutil

    return float(psutil.Process(pid).memory_info().rss) / 2**20
