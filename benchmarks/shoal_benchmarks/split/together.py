"""Split and the baselines with one image in a request, and with several.

In the lab of the grid. What a request costs a weak device beside computing is shared by its images,
whoever asks: so each system is compared with each other both ways. As many images are under way
with one in a request as with several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shoal.errors import ShoalError
from shoal.plan.objective import Aim
from shoal.scratch import Scratch
from shoal_benchmarks.measure import turns
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.split.driver import WINDOW
from shoal_benchmarks.split.grid import Point, Prepared, failed, prepared
from shoal_benchmarks.split.scene import Result, Scene, geometric_mean, merged
from shoal_benchmarks.split.systems import (
    CLOUD_JPEG,
    CLOUD_RAW,
    DEVICE_ONLY,
    NEUROSURGEON,
    SPLIT,
    SPLIT_LOOSE,
    SPLITS,
)

POINTS = ((0.05, 100.0), (0.1, 20.0), (0.2, 50.0), (0.05, 10.0))
QUICK_POINTS = ((0.05, 100.0),)
"""Shares of a core and Mbit/s."""
TOGETHER = 8
ROUNDS, QUICK_ROUNDS = 3, 1
SECONDS, QUICK_SECONDS = 1.5, 1.0
COMPARED = (DEVICE_ONLY, CLOUD_RAW, CLOUD_JPEG, NEUROSURGEON)
SYSTEMS = (*COMPARED, *SPLITS)
GOALS = {DEVICE_ONLY: (">= 10", None), NEUROSURGEON: (">= 7.9", ">= 2")}
"""Of the best case and of the geometric mean, against one image in a request."""

Case = tuple[str, int]
"""A system, and how many images are in a request."""


def rows(quick: bool) -> Iterator[Row]:
    """Each system at each point both ways, then split with several beside the others."""
    made = prepared((Aim.THROUGHPUT, Aim.LATENCY), quick)
    if made is None:
        return
    measured: dict[Point, dict[Case, Result]] = {}
    try:
        with (
            Scratch.make("split") as folder,
            Scene(folder.path, made[1], made[2]) as scene,
        ):
            for point in QUICK_POINTS if quick else POINTS:
                found = at_point(scene, made, point, quick)
                yield from told(point, found)
                measured[point] = {
                    case: each for case, each in found.items() if isinstance(each, Result)
                }
    except ShoalError as error:
        yield failed("lab", str(error))
    yield from claims(measured)


def at_point(scene: Scene, made: Prepared, point: Point, quick: bool) -> dict[Case, Result | str]:
    """All systems both ways, in an order that is drawn for each round; or why one failed."""
    share, mbit_s = point
    systems = made[0].systems(scene.cluster(share, mbit_s), 0)
    cases = [(name, images) for name in SYSTEMS if name in systems for images in (1, TOGETHER)]
    results: dict[Case, list[Result]] = {case: [] for case in cases}
    errors: dict[Case, str] = {}
    scene.link(mbit_s)
    for order in turns(cases, QUICK_ROUNDS if quick else ROUNDS, f"{point}"):
        for name, images in order:
            window = WINDOW * TOGETHER // images
            seconds = QUICK_SECONDS if quick else SECONDS
            try:
                scene.serve(systems[name])
                results[name, images].append(scene.measure(share, seconds, images, window))
            except ShoalError as error:
                errors[name, images] = str(error)
    return {case: merged(found) if found else errors[case] for case, found in results.items()}


def told(point: Point, results: Mapping[Case, Result | str]) -> Iterator[Row]:
    """What was measured at a point, and what could not be."""
    share, mbit_s = point
    for (name, images), result in results.items():
        each = f"{images} images" if images > 1 else "one image"
        where = f"{100 * share:g} % of a core, {mbit_s:g} Mbit/s, {name}, {each} in a request"
        if isinstance(result, str):
            yield failed(where, result)
            continue
        yield row(where, result.images_per_s, "images/s")
        yield row(f"{where}: latency", result.p50_ms, "ms", spread=(0.0, result.p99_ms))
        yield row(f"{where}: device", result.device_ms, "CPU ms/image")


def claims(measured: Mapping[Point, Mapping[Case, Result]]) -> Iterator[Row]:
    """Throughput of split with several images in a request over that of others with one, and
    with as many."""
    for name in COMPARED:
        for images in (1, TOGETHER):
            ratios = over(measured, (SPLIT, TOGETHER), (name, images))
            if not ratios:
                continue
            best, mean = GOALS.get(name, (None, None)) if images == 1 else (None, None)
            about = f"split with {TOGETHER} images in a request over {name} with {images}"
            yield row(f"{about}, best case", max(ratios.values()), "ratio", best)
            yield row(f"{about}, geometric mean", geometric_mean(ratios), "ratio", mean)
    # JPEG changes more answers than split may: the second split keeps as few as it.
    loose = (SPLIT_LOOSE, TOGETHER)
    either = [over(measured, loose, (name, TOGETHER)) for name in (DEVICE_ONLY, CLOUD_JPEG)]
    worst = [ratio for each in either for ratio in each.values()]
    if worst:
        about = f"{SPLIT_LOOSE}, over the better of device only and cloud JPEG, all with {TOGETHER}"
        yield row(f"{about}, worst", min(worst), "ratio", ">= 0.97")


def over(
    measured: Mapping[Point, Mapping[Case, Result]], ours: Case, other: Case
) -> Mapping[object, float]:
    """Throughput of one over that of another, by point."""
    return {
        point: at[ours].images_per_s / at[other].images_per_s
        for point, at in measured.items()
        if ours in at and other in at and at[other].images_per_s > 0
    }
