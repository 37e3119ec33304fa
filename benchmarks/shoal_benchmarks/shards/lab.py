"""Dealt layers on slow hosts, beside a pipeline, replicas, and one device alone; and how right the
forecasts are. Needs root: hosts of a tenth of a core, with a link of 100 Mbit/s between each two.

Energy is an estimate, of the time that hosts compute and the watts that a board is said to draw.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from shoal import zoo
from shoal.errors import ShoalError
from shoal.model.network import Network
from shoal.model.profiles import profile
from shoal.plan.cluster import Power
from shoal.plan.network import Array, RangeProfile, tensor_bytes
from shoal.plan.plan import Playbook
from shoal.plan.profiles import Profiles
from shoal.scratch import Scratch
from shoal.strategies.making import make
from shoal.strategies.shards.record import read_record
from shoal_benchmarks.emulation import emulated
from shoal_benchmarks.measure import samples, turns
from shoal_benchmarks.node.equals import GATE, Equals, Ground
from shoal_benchmarks.node.virtual import wire_of
from shoal_benchmarks.photos import photos
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.subjects import FASHION, FASHION_VGG, LITE0, load

SHARE, MBIT_S, DELAY_MS = 0.1, 100.0, 0.0
POWER = Power(idle_w=2.7, busy_w=6.4, transmit_w=2.7)
"""Of each host: about what a Raspberry Pi 4 draws. To send is said to cost nothing besides."""
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


COMPARED = 4
"""Devices of the lab in which both networks are asked."""
DEVICES = {LITE0: (1, 2, 3, COMPARED, 6, 8), FASHION_VGG: (1, COMPARED)}
QUICK_DEVICES = {LITE0: (COMPARED,), FASHION_VGG: (COMPARED,)}
ROUNDS, QUICK_ROUNDS = 3, 1
SECONDS, QUICK_SECONDS = 12.0, 4.0
WINDOWS = 2
IMAGES = 8
GOAL, SLOWER = "<= 10", "<= 1.1"


@dataclass(frozen=True)
class Found:
    """A round: images per second with many requests under way; the median time of a single one,
    how much of that the slowest device of each stage does not compute, and how long each host
    computes for it, in ms of a core of this machine."""

    images_per_s: float
    single_ms: float
    other_ms: float
    spent_ms: Mapping[str, float]


def rows(quick: bool) -> Iterator[Row]:
    """EfficientNet-Lite0 and a VGG; nothing, and a line in the log, without the right to have a
    lab."""
    if not emulated("shards.lab"):
        return
    counts = QUICK_DEVICES if quick else DEVICES
    networks = {name: network for name in counts if (network := load(name)) is not None}
    measured = {name: profile(network, refresh=True) for name, network in networks.items()}
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    for devices in sorted({count for name in networks for count in counts[name]}):
        ground = Ground(devices, SHARE, MBIT_S, DELAY_MS, power=POWER)
        with Scratch.make("shards") as folder, Equals(ground, folder.path, name="shards") as lab:
            for name, network in networks.items():
                if devices in counts[name]:
                    yield from rows_for(lab, network, measured[name], rounds, seconds)


def images_of(network: Network) -> list[Array]:
    """Some that it takes."""
    if network.name == LITE0:
        return list(photos(IMAGES))
    return [image[None] for image in zoo.samples(FASHION).images[:IMAGES]]


def rows_for(
    lab: Equals, network: Network, measured: RangeProfile, rounds: int, seconds: float
) -> Iterator[Row]:
    """All systems on the hosts of a lab, in turns."""
    cluster = lab.ground.cluster()
    profiles = Profiles.scaled(cluster, measured)
    images = images_of(network)
    books: dict[str, Playbook] = {}
    for system in systems(lab.ground.workers):
        built = make(system.strategy, network, cluster, profiles, store=lab.store, **system.options)
        books[system.name] = built.playbook
    found: dict[str, list[Found]] = {name: [] for name in books}
    for order in turns(books, rounds):
        for name in order:
            try:
                lab.serve(books[name], images)
                found[name].append(one_round(lab, seconds))
            except ShoalError as error:
                print(f"{name} on {lab.ground.workers} devices: {error}", file=sys.stderr)
    for name, book in books.items():
        if found[name]:
            what = f"{network.name}, {lab.ground.workers} devices, {name}"
            yield from system_rows(what, book, found[name])
            if book.strategy == SHARDS:
                goal = SLOWER if lab.ground.workers == COMPARED else None
                yield from line_rows(what, network, book, found[name], goal)


def one_round(lab: Equals, seconds: float) -> Found:
    """One by one, then many requests at once, for so long that the window is filled several
    times."""
    followed = lab.follow(seconds)
    told = [one for one in followed.told if not one.lost]
    times = [(one.answered_s - one.asked_s) * 1e3 for one in told]
    other = [ms - one.computed_ms for ms, one in zip(times, told, strict=True)]
    single_ms, window = statistics.median(times), 2 * lab.ground.workers
    rate = lab.busy(max(seconds, WINDOWS * window * single_ms / 1e3), window).images_per_s
    return Found(rate, single_ms, statistics.median(other), followed.spent_ms)


def system_rows(what: str, book: Playbook, found: list[Found]) -> Iterator[Row]:
    """What was measured, beside what the first plan was forecast to do."""
    plan = book.plans[0]
    forecast = plan.forecast
    names = {GATE, *plan.devices}
    for measure, unit, told, seen in (
        ("throughput", "images/s", forecast.images_per_s, [each.images_per_s for each in found]),
        ("time of a single request", "ms", forecast.latency_ms, [each.single_ms for each in found]),
        (
            "estimate of the energy of a single request",
            "J",
            forecast.energy_j,
            [energy_j(each, names) for each in found],
        ),
    ):
        if told is None:
            continue
        values = samples(seen)
        yield row(f"{what}: {measure}", values, unit)
        yield row(f"{what}: {measure}, forecast", told, unit)
        off = 100 * abs(told / values.median - 1)
        yield row(f"{what}: {measure}, forecast off by", off, "%", GOAL)
    spent = samples([sum(each.spent_ms.values()) for each in found])
    yield row(f"{what}: CPU of all hosts for a single request", spent, "ms")


def energy_j(found: Found, names: Collection[str]) -> float:
    """What these hosts draw during a single request: idle for its time, and more while they
    compute, which takes them as much longer as they are slower than a core of this machine."""
    busy_ms = sum(found.spent_ms[name] for name in names) / SHARE
    idle_j = POWER.idle_w * found.single_ms * len(names) / 1e3
    return idle_j + (POWER.busy_w - POWER.idle_w) * busy_ms / 1e3


def line_rows(
    what: str, network: Network, book: Playbook, found: list[Found], goal: str | None
) -> Iterator[Row]:
    """What of a single request is not the slowest device's computing, beside what the line alone
    takes of it."""
    other = samples([each.other_ms for each in found])
    line_ms = on_line_ms(network, book)
    yield row(f"{what}: of a single request, not computing of the slowest device", other, "ms")
    yield row(f"{what}: what bytes and ways alone take on the line", line_ms, "ms")
    yield row(f"{what}: the one over the other", other.median / line_ms, "ratio", goal)


def on_line_ms(network: Network, book: Playbook) -> float:
    """How long a request of the first plan is on its way at the least: the image to all, then of
    each stage the largest slice from one device to another, or what one device makes. Each two have
    a link of their own; packets have headers."""
    wire = wire_of(MBIT_S, DELAY_MS)
    crossing = {cut.at: cut.bytes for cut in network.cuts}
    crossing[len(network.nodes)] = tensor_bytes(book.outputs)
    steps = read_record(book).steps
    sizes = [float(tensor_bytes(book.inputs))]
    sizes += [max(step.sends) if step.sends else float(crossing[step.end]) for step in steps]
    return 1e3 * sum(size / wire.bytes_per_s + wire.delay_s for size in sizes)
