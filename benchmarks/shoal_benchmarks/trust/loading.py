"""What it costs to load networks and to plan one of many cuts, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import shoal
from shoal.errors import MissingExtraError
from shoal_benchmarks.measure import samples
from shoal_benchmarks.random_networks import mobilenet_v2_onnx, resnet50_onnx, vgg16_onnx
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.subjects import LITE0
from shoal_benchmarks.trust.large import chain_onnx, vit_onnx, yolo_onnx

if TYPE_CHECKING:
    import onnx

WORKERS = 3
LOADS, QUICK_LOADS = 5, 3
GENERATED: dict[str, Callable[[], onnx.ModelProto]] = {
    "a YOLO-shaped network": yolo_onnx,
    "ResNet-50": resnet50_onnx,
    "MobileNetV2": mobilenet_v2_onnx,
    "VGG-16": vgg16_onnx,
}
FEW, MANY = 2_000, 8_000
"""Nodes of the chains that are compared."""
FILES, ROOM_BYTES = 3, 200 * 2**20
"""What loading may take: so many times the file, and so much besides."""


def rows(quick: bool) -> Iterator[Row]:
    """A plan, the loads of a transformer, then the peaks of other networks and the growth of time
    with the nodes."""
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as name:
        folder, times = Path(name), QUICK_LOADS if quick else LOADS
        yield from _plan(folder)
        yield from _transformer(folder, times)
        yield from _peaks(folder)
        yield _growth(folder, times)


def _plan(folder: Path) -> Iterator[Row]:
    """``shoal plan`` with workers that are there and nothing known from before."""
    model, file = _written(folder, yolo_onnx()), folder / "cluster.yaml"
    with shoal.local_cluster(WORKERS) as cluster:
        file.write_text(cluster.to_yaml())
        command = [sys.executable, "-m", "shoal", "plan", str(model), "--cluster", str(file)]
        command += ["-o", str(folder / "playbook.json")]
        began_s = time.monotonic()
        environment = {**os.environ, "SHOAL_CACHE": str(folder / "cache")}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        took_s = time.monotonic() - began_s
    yield row("YOLO-shaped network: cuts", _load(model)["cuts"], "cuts", ">= 320")
    yield row(f"YOLO-shaped network: plan for {WORKERS} workers", took_s, "s", "<= 30")


def _transformer(folder: Path, times: int) -> Iterator[Row]:
    path = _written(folder, vit_onnx())
    loads = [_load(path) for _ in range(times)]
    what = f"transformer of {path.stat().st_size / 1e6:.0f} MB"
    peaks = samples([load["peak"] / 1e6 for load in loads])
    yield row(f"{what}: peak of memory while loading", peaks, "MB", "<= 500")
    yield row(f"{what}: time to load", samples([load["seconds"] for load in loads]), "s", "<= 5")


def _peaks(folder: Path) -> Iterator[Row]:
    """Peaks of other networks over what loading may take."""
    for name, path in _files(folder):
        most = FILES * path.stat().st_size + ROOM_BYTES
        peak = _load(path)["peak"] / most
        yield row(f"loading {name}: peak over 3 times the file and 200 MiB", peak, "ratio", "<= 1")


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    from shoal import zoo
    from shoal.zoo.making import make

    for name, generate in GENERATED.items():
        yield name, _written(folder, generate())
    for name in zoo.names():
        if zoo.is_ready(name):
            yield name, zoo.path(name)
    try:
        yield LITE0, make("efficientnet-lite0")
    except MissingExtraError as error:
        print(f"no row for {LITE0}: {error}", file=sys.stderr)


def _growth(folder: Path, times: int) -> Row:
    """How much longer four times as many nodes take."""
    few = _written(folder, chain_onnx(FEW)).rename(folder / "few.onnx")
    many = _written(folder, chain_onnx(MANY))
    longer = [_load(many)["seconds"] / _load(few)["seconds"] for _ in range(times)]
    what = f"loading {MANY:,} nodes in the order of last to first, over {FEW:,}"
    return row(what, samples(longer), "ratio", f"<= {1.25 * MANY / FEW:g}")


def _written(folder: Path, model: onnx.ModelProto) -> Path:
    """The only copy of a model: in a file, over that of the one before."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _load(path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "shoal_benchmarks.trust.loading", str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def loaded(path: str) -> dict[str, float]:
    """What loading a network costs this process: ``seconds``, and ``peak``, the most bytes of
    resident memory beyond those of before. Its number of ``cuts``."""
    from shoal.model.network import load

    before, began_s = _resident("VmRSS"), time.perf_counter()
    network = load(path)
    took_s = time.perf_counter() - began_s
    return {"seconds": took_s, "peak": _resident("VmHWM") - before, "cuts": len(network.cuts)}


def _resident(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


if __name__ == "__main__":
    print(json.dumps(loaded(sys.argv[1])))
