"""Dealt layers on slow hosts, beside a pipeline, replicas, and one device alone; and how right the
forecasts are. Needs root: hosts of a tenth of a core, with a link of 100 Mbit/s between each two.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from shoal.errors import ShoalError
from shoal.model.network import Network
from shoal.model.profiles import profile
from shoal.plan.network import Array, RangeProfile, tensor_bytes
from shoal.plan.plan import Playbook
from shoal.plan.profiles import Profiles
from shoal.scratch import Scratch
from shoal.strategies.making import make
from shoal.strategies.shards.record import read_record
from shoal_benchmarks.emulation import emulated
from shoal_benchmarks.measure import samples
from shoal_benchmarks.networks import LITE0, load
from shoal_benchmarks.node.equals import Equals, Ground
from shoal_benchmarks.photos import photos
from shoal_benchmarks.row import Row, row

SHARE, MBIT_S = 0.1, 100.0
SHARDS = "shards"


class System(NamedTuple):
    """A strategy with options."""

    name: str
    strategy: str
    options: Mapping[str, Any] = MappingProxyType({})


def systems(devices: int) -> tuple[System, ...]:
    """What is measured on so many devices. Nobody may be lost: nothing is held twice."""
    if devices == 1:
        return (System("local", "local"), System("remote", "remote"))
    return (
        System("replicas", "replicas"),
        System("pipeline", "pipeline", {"stages": devices}),
        System(SHARDS, SHARDS),
        System("shards, all dealt", SHARDS, {"deal": "all"}),
    )


DEVICES = (1, 2, 4)
ROUNDS, QUICK_ROUNDS = 3, 1
SECONDS, QUICK_SECONDS = 12.0, 4.0
WINDOWS = 2
IMAGES = 8
GOAL = "<= 10"


@dataclass(frozen=True)
class Found:
    """A round: images per second with many requests under way; the median time of a single one,
    and how much of that the slowest device of each stage does not compute."""

    images_per_s: float
    single_ms: float
    other_ms: float


def rows(quick: bool) -> Iterator[Row]:
    """EfficientNet-Lite0; nothing, and a line in the log, without the right to have a lab."""
    if not emulated("shards.lab"):
        return
    network = load(LITE0)
    if network is None:
        return
    measured = profile(network, refresh=True)
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    for devices in DEVICES:
        ground = Ground(devices, SHARE, MBIT_S, 0.0)
        with Scratch.make("shards") as folder, Equals(ground, folder.path, name="shards") as lab:
            yield from rows_for(lab, network, measured, rounds, seconds)


def rows_for(
    lab: Equals, network: Network, measured: RangeProfile, rounds: int, seconds: float
) -> Iterator[Row]:
    """All systems on the hosts of a lab, in turns."""
    cluster = lab.ground.cluster()
    profiles = Profiles.scaled(cluster, measured)
    images: list[Array] = list(photos(IMAGES))
    books: dict[str, Playbook] = {}
    for system in systems(lab.ground.workers):
        built = make(system.strategy, network, cluster, profiles, store=lab.store, **system.options)
        books[system.name] = built.playbook
    found: dict[str, list[Found]] = {name: [] for name in books}
    for _ in range(rounds):
        for name, book in books.items():
            try:
                lab.serve(book, images)
                found[name].append(one_round(lab, seconds))
            except ShoalError as error:
                print(f"{name} on {lab.ground.workers} devices: {error}", file=sys.stderr)
    for name, book in books.items():
        if found[name]:
            what = f"{network.name}, {lab.ground.workers} devices, {name}"
            yield from system_rows(what, book, found[name])


def one_round(lab: Equals, seconds: float) -> Found:
    """One by one, then many requests at once, for so long that the window is filled several
    times."""
    told = [one for one in lab.follow(seconds).told if not one.lost]
    times = [(one.answered_s - one.asked_s) * 1e3 for one in told]
    other = [ms - one.computed_ms for ms, one in zip(times, told, strict=True)]
    single_ms, window = statistics.median(times), 2 * lab.ground.workers
    rate = lab.busy(max(seconds, WINDOWS * window * single_ms / 1e3), window).images_per_s
    return Found(rate, single_ms, statistics.median(other))


def system_rows(what: str, book: Playbook, found: list[Found]) -> Iterator[Row]:
    """What was measured, beside what the first plan was forecast to do."""
    forecast = book.plans[0].forecast
    for measure, unit, told, seen in (
        ("throughput", "images/s", forecast.images_per_s, [each.images_per_s for each in found]),
        ("time of a single request", "ms", forecast.latency_ms, [each.single_ms for each in found]),
    ):
        values = samples(seen)
        yield row(f"{what}: {measure}", values, unit)
        yield row(f"{what}: {measure}, forecast", told, unit)
        off = 100 * abs(told / values.median - 1)
        yield row(f"{what}: {measure}, forecast off by", off, "%", GOAL)
    other = samples([each.other_ms for each in found])
    yield row(f"{what}: of a single request, not computing of the slowest device", other, "ms")
    if book.strategy == SHARDS:
        yield row(f"{what}: what its bytes alone take on the links", bytes_ms(book), "ms")


def bytes_ms(book: Playbook) -> float:
    """How long the bytes of a request travel at the least: those of the image to all, of each
    slice from one device to another (each two have a link), and of what one device makes."""
    size = float(tensor_bytes(book.inputs) + tensor_bytes(book.outputs))
    for step in read_record(book).steps:
        size += max(step.sends, default=0.0)
    return size / (MBIT_S * 1e6 / 8) * 1e3
