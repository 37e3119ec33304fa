"""How many bytes rounding saves at each cut, by the calibration: without a lab."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.bench.row import Row, row
from shoal.bench.split.systems import Bench
from shoal.strategies.split.calibration import Entry
from shoal.strategies.split.cuts import places

AGREEMENT = 0.99


def rows(bench: Bench) -> Iterator[Row]:
    """At each place the fewest bytes with which 99 % of the classes stay, then the best ratio to
    float32 at the same cut."""
    ratios = []
    for place in places(bench.network):
        found = fewest(bench.found.entries, place.at)
        if found is None:
            continue
        where = f"cut {place.at}" if place.at else "image"
        what = f"{where}, {found.codec.split(';')[0]} of {place.raw_bytes:,} bytes"
        yield row(
            f"{what}: frame ({100 * found.agreement:.1f} % agree on {found.images} photos)",
            found.bytes_mean,
            "bytes",
        )
        if place.at:
            ratios.append(place.raw_bytes / found.bytes_mean)
    if ratios:
        name = "bytes of float32 over ours at the same cut with >= 99 % agreement"
        yield row(f"{name}, best case", max(ratios), "ratio", ">= 8")


def fewest(entries: tuple[Entry, ...], at: int) -> Entry | None:
    """The smallest frames of a place with which enough classes stay."""
    able = [e for e in entries if e.at == at and e.agreement >= AGREEMENT]
    return min(able, key=lambda e: e.bytes_mean, default=None)
