"""Split along the traces of the lab, against each way that does not change with the link.

One request after the other, on EfficientNet-Lite0. The fixed plans tried are those of split with
the best forecasts for the trace's mean rate; the best of them as measured is the best fixed plan.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping

import msgspec
import numpy as np

from shoal.errors import ShoalError
from shoal.plan.objective import Aim
from shoal.scratch import Scratch
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.split.driver import Told
from shoal_benchmarks.split.grid import Prepared, failed, prepared
from shoal_benchmarks.split.scene import Scene
from shoal_benchmarks.split.systems import (
    CLOUD_JPEG,
    CLOUD_PNG,
    CLOUD_RAW,
    DEVICE_ONLY,
    ORACLE,
    SPLIT,
)
from shoal_lab.trace import SHIPPED, Trace, load_trace

SHARE = 0.1
SECONDS, QUICK_SECONDS = 20.0, 5.0
"""Of each system on each trace."""
QUICK_TRACES = ("square",)
FASTER = 4.0
"""How much faster time goes in a quick trace, so that it shows a jump."""
TRIED, QUICK_TRIED = 2, 1
COMPARED = (DEVICE_ONLY, CLOUD_JPEG, CLOUD_PNG, CLOUD_RAW)


def rows(quick: bool) -> Iterator[Row]:
    """Each system on each trace, and split beside the others."""
    made = prepared((Aim.LATENCY, Aim.BYTES), quick)
    if made is None:
        return
    try:
        with (
            Scratch.make("split") as folder,
            Scene(folder.path, made[1], made[2]) as scene,
        ):
            for name in QUICK_TRACES if quick else SHIPPED:
                yield from _on(scene, made, load_trace(name, folder.path), quick)
    except ShoalError as error:
        yield failed("lab", str(error))


def _on(scene: Scene, made: Prepared, trace: Trace, quick: bool) -> Iterator[Row]:
    mean_mbit = statistics.fmean(sample.up_mbit for sample in trace.samples)
    systems = made[0].systems(scene.cluster(SHARE, mean_mbit), QUICK_TRIED if quick else TRIED)
    if quick:
        trace = msgspec.structs.replace(trace, step_s=trace.step_s / FASTER)
    means = {}
    for name, system in systems.items():
        if name not in (*COMPARED, SPLIT) and not name.startswith(ORACLE):
            continue
        where = f"trace {trace.name}, {name}"
        try:
            scene.serve(system)
            with scene.trace(trace):
                _, told = scene.follow(SHARE, (), QUICK_SECONDS if quick else SECONDS)
        except ShoalError as error:
            yield failed(where, str(error))
            continue
        times = times_ms(told)
        if not times:
            yield failed(where, "no request was answered")
            continue
        means[name] = statistics.fmean(times)
        spread = (float(np.percentile(times, 50)), float(np.percentile(times, 99)))
        yield row(
            f"{where}: latency, mean (median to 99th percentile)", means[name], "ms", None, spread
        )
        yield row(f"{where}: requests lost", sum(t.lost for t in told), "requests", "= 0")
    yield from beside(trace.name, means)


def times_ms(told: tuple[Told, ...]) -> list[float]:
    """How long the requests took that were answered; the first ones teach the policy."""
    return [(t.answered_s - t.asked_s) * 1e3 for t in told[2:] if not t.lost]


def beside(trace: str, means: Mapping[str, float]) -> Iterator[Row]:
    """Mean latency of each other way over that of split."""
    if SPLIT not in means:
        return
    for name in COMPARED:
        if name in means:
            about = f"trace {trace}: latency of {name} over that of split"
            yield row(about, means[name] / means[SPLIT], "ratio")
    fixed = [mean for name, mean in means.items() if name.startswith(ORACLE)]
    if fixed:
        about = f"trace {trace}: latency of the best fixed plan over that of split"
        yield row(about, min(fixed) / means[SPLIT], "ratio", ">= 0.95")
