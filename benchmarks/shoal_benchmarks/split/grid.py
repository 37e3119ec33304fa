"""Split and the baselines at points of a grid of devices and links, all on our engine in one lab.

EfficientNet-Lite0, calibrated on the folder ``calibration`` and measured on ``test`` of the photos
in ``SHOAL_DATA``.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from shoal.errors import ShoalError
from shoal.plan.objective import Aim
from shoal.scratch import Scratch
from shoal.strategies.images import Images
from shoal_benchmarks.emulation import emulated
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.split import frames
from shoal_benchmarks.split.scene import Result, Scene, geometric_mean, merged
from shoal_benchmarks.split.systems import (
    CLOUD_JPEG,
    CLOUD_PNG,
    CLOUD_RAW,
    DEVICE_ONLY,
    FIXED,
    NEUROSURGEON,
    NEUROSURGEON_BYTES,
    NEUROSURGEON_ZLIB,
    NEUROSURGEON_ZSTD,
    ORACLE,
    SPLIT,
    SPLITS,
    Bench,
)
from shoal_benchmarks.subjects import LITE0, load

log = logging.getLogger("shoal")

POINTS = (
    (0.05, 1.0), (0.1, 10.0), (0.2, 50.0), (0.05, 100.0), (0.1, 2.0), (0.2, 5.0), (0.05, 20.0),
    (0.2, 1.0), (0.1, 50.0), (0.05, 2.0), (0.1, 5.0), (0.2, 10.0), (0.05, 50.0), (0.1, 1.0),
    (0.2, 20.0), (0.05, 10.0), (0.1, 100.0), (0.2, 2.0), (0.05, 5.0), (0.1, 20.0), (0.2, 100.0),
)  # fmt: skip
"""Shares of a core and Mbit/s: first each share and each link once, then all others."""
QUICK_POINTS = ((0.05, 100.0), (0.2, 10.0), (0.1, 2.0))
ROUNDS, QUICK_ROUNDS = 3, 1
CLOSE = 0.7
"""After the first round only those go on whose rate is at least this share of the best one's."""
SECONDS, QUICK_SECONDS = 1.5, 1.0
"""With a window, in each round; half as long one by one."""
BUDGET_S, QUICK_BUDGET_S = 4500.0, 180.0
"""No point is begun that would end later, judged by the slowest so far."""
TRIED, QUICK_TRIED = 3, 1
IMAGES = 64
MIN_ACCURACY, QUICK_MIN_ACCURACY = 0.97, 0.95
"""Guaranteed with 95 % confidence: 0.97 on 315 photos is about 99 % of the answers."""
LOOSE, QUICK_LOOSE = 0.945, 0.9
"""What a second split guarantees: about what JPEG 90 keeps."""
QUICK_CALIBRATION = 120
"""Photos."""
PHOTOS = "photos"

BASELINES = (
    DEVICE_ONLY, CLOUD_RAW, CLOUD_PNG, CLOUD_JPEG, NEUROSURGEON, NEUROSURGEON_BYTES,
    NEUROSURGEON_ZLIB, NEUROSURGEON_ZSTD, FIXED,
)  # fmt: skip
GOALS = {
    DEVICE_ONLY: (">= 10", None),
    NEUROSURGEON: (">= 7.9", ">= 2"),
    NEUROSURGEON_BYTES: (">= 7.9", ">= 2"),
}
"""Of the best case and of the geometric mean."""
ALONE_BYTES = 1_000
"""Sent for an image by what computes on the device alone: signs of life."""

Point = tuple[float, float]
Grid = dict[Point, dict[str, Result]]


def rows(quick: bool) -> Iterator[Row]:
    """Each system at each point, then what is claimed of all of them."""
    made = prepared((Aim.THROUGHPUT, Aim.LATENCY), quick)
    if made is None:
        return
    yield from frames.rows(made[0])
    yield from frames.noise(made[0].network, made[1], made[2])
    grid: Grid = {}
    for (share, mbit_s), name, result in _until_it_fails(measured(made, quick)):
        where = f"{100 * share:g} % of a core, {mbit_s:g} Mbit/s, {name}"
        if isinstance(result, str):
            yield failed(where, result)
            continue
        grid.setdefault((share, mbit_s), {})[name] = result
        yield row(where, result.images_per_s, "images/s")
        yield row(f"{where}: single request", result.p50_ms, "ms", spread=(0.0, result.p99_ms))
        yield row(f"{where}: sent", result.bytes_per_image, "bytes/image")
        yield row(f"{where}: device", result.device_ms, "CPU ms/image")
        yield row(f"{where}: server", result.server_ms, "server ms/image")
        yield row(f"{where}: agreement", 100 * result.agreement, "%")
    points = QUICK_POINTS if quick else POINTS
    yield row("points of the grid that were not measured", len(points) - len(grid), "points", "= 0")
    yield from claims(grid)


def _until_it_fails(
    results: Iterator[tuple[Point, str, Result | str]],
) -> Iterator[tuple[Point, str, Result | str]]:
    """The results; a lab that cannot be had is one more failure, not the end of the rows."""
    try:
        yield from results
    except ShoalError as error:
        yield (0.0, 0.0), "lab", str(error)


def failed(where: str, why: str) -> Row:
    """The row of what could not be measured; the reason is logged."""
    log.warning("%s: %s", where, why)
    return row(f"{where}: not measured ({why[:60]})", 1, "failures", "= 0")


Prepared = tuple[Bench, list[Any], list[int]]


def prepared(aims: tuple[Aim, ...], quick: bool) -> Prepared | None:
    """The calibrated network, images to ask for and the whole network's classes; None, and a line
    in the log, where something is missing for that."""
    from shoal.model.profiles import profile
    from shoal.strategies.images import open_folder
    from shoal.strategies.split.calibrate import calibrate
    from shoal.strategies.split.prepare import CONFIDENCE
    from shoal.task import task_of

    photos = photos_for_lab()
    if photos is None:
        return None
    network = load(LITE0)
    if network is None:
        return None
    images = open_folder(photos / "calibration", network.inputs)
    least, loose = MIN_ACCURACY, LOOSE
    if quick:
        images = fewer(images, QUICK_CALIBRATION)
        least, loose = QUICK_MIN_ACCURACY, QUICK_LOOSE
    found = calibrate(network, images, task_of(network), loose, CONFIDENCE)
    cases = [feeds for feeds, _ in islice(open_folder(photos / "test", network.inputs), IMAGES)]
    expected = [int(next(iter(network.run(feeds).values())).argmax()) for feeds in cases]
    bench = Bench(network, profile(network), found, cases, least, aims, loose)
    return bench, [next(iter(feeds.values())) for feeds in cases], expected


def photos_for_lab() -> Path | None:
    """The folder of photos; None, and a line in the log, without it or the right to have a lab."""
    photos = Path(os.environ.get("SHOAL_DATA", "")) / PHOTOS
    if not emulated("the bench split"):
        return None
    if "SHOAL_DATA" not in os.environ or not (photos / "calibration").is_dir():
        log.warning("the bench split needs the photos in the folder SHOAL_DATA: left out")
        return None
    return photos


def fewer(images: Images, count: int) -> Images:
    """``count`` of the files, spread evenly."""
    files = images.files[:: max(1, len(images.files) // count)][:count]
    digest = f"{images.digest} {len(files)}"
    return dataclasses.replace(images, files=files, digest=digest, count=len(files))


def measured(made: Prepared, quick: bool) -> Iterator[tuple[Point, str, Result | str]]:
    """Every system at every point: the result, or why there is none."""
    bench, arrays, expected = made
    began, slowest = time.monotonic(), 0.0
    with (
        Scratch.make("split") as folder,
        Scene(folder.path, arrays, expected) as scene,
    ):
        for point in QUICK_POINTS if quick else POINTS:
            start = time.monotonic()
            if start - began + slowest > (QUICK_BUDGET_S if quick else BUDGET_S):
                log.warning("%g of a core, %g Mbit/s: no time left", *point)
                continue
            for name, result in at_point(scene, bench, point, quick).items():
                yield point, name, result
            slowest = max(slowest, time.monotonic() - start)


def at_point(scene: Scene, bench: Bench, point: Point, quick: bool) -> dict[str, Result | str]:
    """All systems in the first round, those that are close to the best in the others; the order
    of a round is drawn."""
    share, mbit_s = point
    seconds, tried = (QUICK_SECONDS, QUICK_TRIED) if quick else (SECONDS, TRIED)
    systems = bench.systems(scene.cluster(share, mbit_s), tried)
    order, results, errors = list(systems), dict[str, list[Result]](), dict[str, str]()
    chance = random.Random(f"{point}")
    scene.link(mbit_s)
    for _ in range(QUICK_ROUNDS if quick else ROUNDS):
        chance.shuffle(order)
        for name in order:
            try:
                scene.serve(systems[name])
                results.setdefault(name, []).append(scene.measure(share, seconds))
            except ShoalError as error:
                errors[name] = str(error)
        order = close({name: found[0].images_per_s for name, found in results.items()})
    return {name: merged(results[name]) if name in results else errors[name] for name in systems}


def close(rates: Mapping[str, float]) -> list[str]:
    """The systems whose rate is near the best one's, and split."""
    least = CLOSE * max(rates.values(), default=0.0)
    return [name for name, rate in rates.items() if rate >= least or name in SPLITS]


def claims(grid: Grid) -> Iterator[Row]:
    """The numbers that the strategy is held to."""
    grid = {point: at for point, at in grid.items() if SPLIT in at}
    if not grid:
        return
    for name in BASELINES:
        ratios = _over(grid, name)
        if ratios:
            best, mean = GOALS.get(name, (None, None))
            yield row(f"throughput over {name}, best case", max(ratios.values()), "ratio", best)
            yield row(
                f"throughput over {name}, geometric mean", geometric_mean(ratios), "ratio", mean
            )
    for other in (NEUROSURGEON, NEUROSURGEON_BYTES):
        fewer_bytes = {
            point: at[other].bytes_per_image / at[SPLIT].bytes_per_image
            for point, at in grid.items()
            if other in at
            and min(at[other].bytes_per_image, at[SPLIT].bytes_per_image) > ALONE_BYTES
            and at[SPLIT].agreement >= 0.99
        }
        if fewer_bytes:
            (share, mbit_s), most = max(fewer_bytes.items(), key=lambda item: item[1])
            where = f"{100 * share:g} % of a core, {mbit_s:g} Mbit/s"
            name = f"bytes of {other} over ours at the same point with >= 99 % agreement"
            yield row(f"{name}, best case ({where})", most, "ratio", ">= 60")
    clouds = (DEVICE_ONLY, CLOUD_JPEG)
    alone = _least(grid, SPLIT, DEVICE_ONLY.__eq__)
    yield row("throughput over device only, worst", alone, "ratio", ">= 0.97")
    # JPEG changes more answers than split may: the second split keeps as few as it.
    for name in SPLITS:
        either = _least(grid, name, clouds.__contains__)
        about = f"throughput of {name} over the better of device only and cloud JPEG, worst"
        yield row(about, either, "ratio", ">= 0.97")
    fixed = _beside(grid, SPLIT, lambda other: other.startswith(ORACLE))
    if fixed:
        about = "throughput over the best fixed plan, geometric mean"
        yield row(about, geometric_mean(fixed), "ratio")
    worst = min(fixed.values(), default=float("nan"))
    yield row("throughput over the best fixed plan, worst", worst, "ratio", ">= 0.95")
    for name in (*SPLITS, CLOUD_JPEG):
        agreement = [at[name].agreement for at in grid.values() if name in at]
        if agreement:
            goal = ">= 99" if name == SPLIT else None
            about = f"agreement of {name} with the whole network, mean of all points"
            yield row(about, 100 * statistics.fmean(agreement), "%", goal)


def _over(grid: Grid, name: str) -> Mapping[object, float]:
    """Throughput of split over that of another, by point."""
    return {
        point: at[SPLIT].images_per_s / at[name].images_per_s
        for point, at in grid.items()
        if name in at and at[name].images_per_s > 0
    }


def _least(grid: Grid, split: str, counts: Callable[[str], bool]) -> float:
    """The least throughput of a split over the best of those that count."""
    return min(_beside(grid, split, counts).values(), default=float("nan"))


def _beside(grid: Grid, split: str, counts: Callable[[str], bool]) -> Mapping[object, float]:
    """Throughput of a split over the best of those that count, by point."""
    ratios: dict[object, float] = {}
    for point, at in grid.items():
        others = [result.images_per_s for name, result in at.items() if counts(name)]
        if others and split in at:
            ratios[point] = at[split].images_per_s / max(others)
    return ratios
