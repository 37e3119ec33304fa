"""From the facts of all rounds to rows: each rival, then Shoal against each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from shoal_benchmarks.measure import Samples, samples
from shoal_benchmarks.rivals.facts import Facts
from shoal_benchmarks.row import Row, row

AGAINST = {
    "torch": "shoal-pipeline",
    "ray": "shoal-pipeline",
    "grpc": "shoal-pipeline",
    "whole": "shoal-replicas",
    "replicas": "shoal-replicas",
}
"""Each rival, and the way of Shoal that does the same: parts against parts, whole against whole."""

Rounds = Sequence[Facts | None]
"""The facts of each round; None where a run failed."""


def rows_of(
    scene: str, titles: Mapping[str, str], found: Mapping[str, Rounds], patience_s: float
) -> Iterator[Row]:
    """All rows of a scene. ``titles`` and ``found`` are by the name of the rival."""
    for name, title in titles.items():
        done = [facts for facts in found[name] if facts is not None]
        if done:
            yield from _rival(f"{scene}: {title}", done, patience_s)
    for name, ours in AGAINST.items():
        if name in titles and ours in titles:
            what = f"{scene}: {titles[ours]} over {titles[name]}"
            yield from _against(what, found[ours], found[name], patience_s)


def back_s(facts: Facts, patience_s: float) -> float:
    """Time to the first right answer after the kill; never counts as the patience."""
    return patience_s if facts.back_s is None else facts.back_s


def pause_s(facts: Facts, patience_s: float) -> float:
    """The longest time without a right answer after the kill; for ever counts as the patience."""
    return patience_s if facts.back_s is None else facts.pause_s


def _rival(what: str, done: Sequence[Facts], patience_s: float) -> Iterator[Row]:
    def of(value: Callable[[Facts], float]) -> Samples:
        return samples([value(facts) for facts in done])

    never = sum(facts.back_s is None for facts in done)
    note = f" (never within {patience_s:g} s in {never} of {len(done)} rounds)" if never else ""
    yield row(f"{what}: start", of(lambda f: f.start_s), "s")
    yield row(f"{what}: rate", of(lambda f: f.images_per_s), "images/s")
    yield row(f"{what}: latency p50", of(lambda f: f.p50_ms), "ms")
    yield row(f"{what}: latency p99", of(lambda f: f.p99_ms), "ms")
    yield row(f"{what}: on the wire", of(lambda f: f.wire_bytes / 1024), "KiB/image")
    yield row(f"{what}: CPU", of(lambda f: f.cpu_s * 1e3), "CPU ms/image")
    yield row(f"{what}: resident memory", of(lambda f: f.memory_bytes / 2**20), "MiB")
    ours = "Shoal" in what
    yield row(
        f"{what}: after a kill, lost",
        sum(facts.lost for facts in done),
        "requests",
        "= 0" if ours else None,
    )
    yield row(
        f"{what}: after a kill, no answer for{note}",
        of(lambda f: 1e3 * pause_s(f, patience_s)),
        "ms",
    )
    yield row(
        f"{what}: after a kill, first answer to a new request{note}",
        of(lambda f: 1e3 * back_s(f, patience_s)),
        "ms",
    )


def _against(what: str, ours: Rounds, theirs: Rounds, patience_s: float) -> Iterator[Row]:
    both = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if not both:
        return
    rates = [a.images_per_s / b.images_per_s for a, b in both if b.images_per_s]
    if rates:
        yield row(f"{what}: rate", samples(rates), "ratio", ">= 1")
    pauses = [pause_s(b, patience_s) / pause_s(a, patience_s) for a, b in both]
    yield row(f"{what}: after a kill, shorter without an answer", samples(pauses), "ratio", ">= 20")
