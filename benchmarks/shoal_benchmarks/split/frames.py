"""How many bytes rounding saves at each cut, by the calibration, and how much of a change of the
image the answers bear: without a lab."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from shoal.plan.network import Network
from shoal.strategies.split.calibration import Entry
from shoal.strategies.split.cuts import places
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.split.systems import Bench

AGREEMENT, EVEN = 0.99, 0.5
"""The share that stays, and the confidence at which the share itself is what may be promised."""
NOISE = (0.3, 1.0)
"""Standard deviations, in grey levels of 0 to 255."""
DRAWS = 5


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
            f"{what}: frame ({100 * found.accuracy(EVEN):.1f} % agree on {found.images} photos)",
            found.bytes_mean,
            "bytes",
        )
        if place.at:
            ratios.append(place.raw_bytes / found.bytes_mean)
    if ratios:
        name = "bytes of float32 over ours at the same cut with >= 99 % agreement"
        yield row(f"{name}, best case", max(ratios), "ratio", ">= 8")


def noise(network: Network, images: Sequence[Any], expected: Sequence[int]) -> Iterator[Row]:
    """How many answers stay when each pixel is changed by chance, which no way to send the image
    can do better than: what is lost there is lost whatever bytes are spent."""
    chance = np.random.default_rng(0)
    (whole,) = network.split((), prove=False)
    session, name = whole.session(), network.inputs[0].name
    for deviation in NOISE:
        good = 0
        for image, top1 in list(zip(images, expected, strict=True)) * DRAWS:
            changed = np.rint(image + chance.normal(0, deviation, image.shape)).clip(0, 255)
            scores = whole.run_on(session, {name: changed.astype(image.dtype)})
            good += int(next(iter(scores.values())).argmax()) == top1
        about = (
            f"answers that stay when pixels are changed by {deviation:g} grey levels (deviation)"
        )
        yield row(about, 100 * good / (DRAWS * len(images)), "%")


def fewest(entries: tuple[Entry, ...], at: int) -> Entry | None:
    """The smallest frames of a place with which enough classes stay."""
    able = [e for e in entries if e.at == at and e.accuracy(EVEN) >= AGREEMENT]
    return min(able, key=lambda e: e.bytes_mean, default=None)
