"""Split and the baselines on a grid of devices and links, all on our engine in one lab.

EfficientNet-Lite0, calibrated on the folder ``calibration`` and measured on ``test`` of the photos
in ``SHOAL_DATA``.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from shoal.bench.networks import LITE0, load
from shoal.bench.row import Row, row
from shoal.bench.split.scene import Result, Scene, geometric_mean
from shoal.bench.split.systems import (
    CLOUD_JPEG,
    DEVICE_ONLY,
    NEUROSURGEON,
    ORACLE,
    SPLIT,
    Bench,
)
from shoal.errors import ShoalError
from shoal.plan.objective import Aim, Objective

log = logging.getLogger("shoal")

SHARES, QUICK_SHARES = (0.05, 0.1, 0.2), (0.1,)
LINKS, QUICK_LINKS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0), (1.0, 10.0, 100.0)
SECONDS, QUICK_SECONDS = 6.0, 3.0
TRIED, QUICK_TRIED = 4, 2
IMAGES = 64
MIN_ACCURACY = 0.97
"""Guaranteed with 95 % confidence on 315 photos: about 99 % of the answers."""
KEPT = 0.98
"""Share of answers that a baseline must keep to be a fair one."""
PHOTOS = "photos"

Grid = dict[tuple[float, float], dict[str, Result]]


def rows(quick: bool) -> Iterator[Row]:
    """Each system at each point, then what is claimed of all of them."""
    from shoal.lab.machine import look

    photos = Path(os.environ.get("SHOAL_DATA", "")) / PHOTOS
    if not look().can_emulate:
        log.warning("split.grid needs root and network namespaces: left out")
        return
    if "SHOAL_DATA" not in os.environ or not (photos / "calibration").is_dir():
        log.warning("split.grid needs the photos in the folder SHOAL_DATA: left out")
        return
    grid: Grid = {}
    for point, name, result in measured(photos, quick):
        grid.setdefault(point, {})[name] = result
        share, mbit_s = point
        where = f"{100 * share:g} % of a core, {mbit_s:g} Mbit/s, {name}"
        yield row(where, result.images_per_s, "images/s")
        yield row(f"{where}: single request", result.p50_ms, "ms", spread=(0.0, result.p99_ms))
        yield row(f"{where}: sent", result.bytes_per_image, "bytes/image")
        yield row(f"{where}: server", result.server_ms, "server ms/image")
        yield row(f"{where}: agreement", 100 * result.agreement, "%")
    yield from claims(grid)


def prepared(photos: Path, aims: tuple[Aim, ...]) -> tuple[Bench, list[Any], list[int]] | None:
    """The calibrated network, images to ask for and the whole network's classes; None without
    the network."""
    from shoal.model.profiles import profile
    from shoal.strategies.split.build import calibration
    from shoal.strategies.split.images import open_folder

    network = load(LITE0)
    if network is None:
        return None
    wanted = Objective(min_accuracy=MIN_ACCURACY)
    found = calibration(network, open_folder(photos / "calibration", network.inputs), wanted)
    cases = [feeds for feeds, _ in islice(open_folder(photos / "test", network.inputs), IMAGES)]
    expected = [int(next(iter(network.run(feeds).values())).argmax()) for feeds in cases]
    bench = Bench(network, profile(network), found, cases, MIN_ACCURACY, aims)
    return bench, [next(iter(feeds.values())) for feeds in cases], expected


def measured(photos: Path, quick: bool) -> Iterator[tuple[tuple[float, float], str, Result]]:
    """Every system at every point."""
    made = prepared(photos, (Aim.THROUGHPUT, Aim.LATENCY))
    if made is None:
        return
    bench, arrays, expected = made
    seconds = QUICK_SECONDS if quick else SECONDS
    with (
        tempfile.TemporaryDirectory(prefix="shoal-split-") as folder,
        Scene(Path(folder), arrays, expected) as scene,
    ):
        for share in QUICK_SHARES if quick else SHARES:
            for mbit_s in QUICK_LINKS if quick else LINKS:
                cluster = scene.cluster(share, mbit_s)
                systems = bench.systems(cluster, QUICK_TRIED if quick else TRIED)
                for name, system in systems.items():
                    try:
                        scene.serve(name, system)
                        yield (share, mbit_s), name, scene.measure(share, mbit_s, seconds)
                    except ShoalError as error:
                        log.warning("%s at %g Mbit/s: %s", name, mbit_s, error)


def claims(grid: Grid) -> Iterator[Row]:
    """The numbers that the strategy is held to."""
    if not grid or any(SPLIT not in at for at in grid.values()):
        return
    over = {name: _over(grid, name) for name in (DEVICE_ONLY, NEUROSURGEON)}
    if over[DEVICE_ONLY]:
        best = max(over[DEVICE_ONLY].values())
        yield row("throughput over device only, best case", best, "ratio", ">= 10")
    if over[NEUROSURGEON]:
        ratios = over[NEUROSURGEON]
        yield row(
            "throughput over Neurosurgeon, best case", max(ratios.values()), "ratio", ">= 7.9"
        )
        mean = geometric_mean(ratios)
        yield row("throughput over Neurosurgeon, geometric mean", mean, "ratio", ">= 2")
        fewer = {
            point: at[NEUROSURGEON].bytes_per_image / max(at[SPLIT].bytes_per_image, 1.0)
            for point, at in grid.items()
            if NEUROSURGEON in at and at[NEUROSURGEON].bytes_per_image > 2_000
        }
        if fewer:
            most = max(fewer.values())
            yield row("bytes of Neurosurgeon over ours, best case", most, "ratio", ">= 60")
    clouds = (DEVICE_ONLY, CLOUD_JPEG)
    name = "throughput over the better of device only and cloud JPEG"
    yield row(f"{name}, worst", _least(grid, lambda n, _: n in clouds), "ratio", ">= 0.97")
    # JPEG changes answers, and which of them is not promised to anybody.
    kept = _least(grid, lambda n, r: n in clouds and r.agreement >= KEPT)
    yield row(f"{name} where {100 * KEPT:g} % agree, worst", kept, "ratio", ">= 0.97")
    fixed = _least(grid, lambda n, _: n.startswith(ORACLE))
    yield row("throughput over the best fixed plan, worst", fixed, "ratio", ">= 0.95")
    agreement = min(at[SPLIT].agreement for at in grid.values())
    yield row("agreement of split with the whole network, worst", 100 * agreement, "%", ">= 99")


def _over(grid: Grid, name: str) -> Mapping[object, float]:
    """Throughput of split over that of another, by point."""
    return {
        point: at[SPLIT].images_per_s / at[name].images_per_s
        for point, at in grid.items()
        if name in at and at[name].images_per_s > 0
    }


def _least(grid: Grid, counts: Callable[[str, Result], bool]) -> float:
    """The least throughput of split over the best of those that count."""
    ratios = []
    for at in grid.values():
        others = [result.images_per_s for name, result in at.items() if counts(name, result)]
        if others:
            ratios.append(at[SPLIT].images_per_s / max(others))
    return min(ratios, default=float("nan"))
