"""A device is lost for good: what is brought to the others, and how long that takes.

Four workers on hosts of their own share a network, all of it dealt. One is killed while one request
is asked after the other. When it counts as lost, what only it held is brought to the others from
the gateway, by links of 20 Mbit/s. Later it is back. EfficientNet-Lite0, where it is there, is
dealt without images: until it is repaired, one worker alone answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shoal import zoo
from shoal.core.messages import Install
from shoal.errors import LabError
from shoal.model.network import Network
from shoal.model.profiles import profile
from shoal.model.store import PartStore
from shoal.plan.identity import from_reserve
from shoal.plan.objective import Objective
from shoal.plan.plan import Playbook
from shoal.plan.profiles import Profiles
from shoal.runtime import wire
from shoal.scratch import Scratch
from shoal.strategies.making import make
from shoal.strategies.shards.record import Brought, read_record
from shoal_benchmarks.node.equals import Equals, Followed, Ground
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.shards.lost import built_in
from shoal_benchmarks.subjects import FASHION, LITE0, load
from shoal_lab.faults import Restart

GROUND = Ground(workers=4, share=0.2, mbit_s=20.0, delay_ms=0.0)
LOST = "worker-2"
CALM_S, AFTER_S, GONE_S, BACK_S = 3.0, 2.0, 30.0, 30.0
"""Seconds before it is killed, until it counts as lost, until it is started again, and after."""


class Times(NamedTuple):
    """Seconds from when the device counts as lost, and from when it is started again, until
    requests are asked that follow the plan of the others, and the first one again."""

    repaired_s: float
    whole_s: float


def rows(quick: bool) -> Iterator[Row]:
    """The network that ships, then EfficientNet-Lite0 (not when ``quick``)."""
    for name in (FASHION,) if quick else (FASHION, LITE0):
        network = load(name)
        if network is not None:
            yield from _rows(name, network)


def _rows(name: str, network: Network) -> Iterator[Row]:
    with Scratch.make("shards") as folder, Equals(GROUND, folder.path, name="repair") as lab:
        playbook = _playbook(folder.path, lab, name, network)
        lab.serve(playbook, _images(name, network))
        stores = [PartStore(folder.path / each) for each in GROUND.names if each != LOST]
        before = sum(store.size_bytes() for store in stores)
        fault = Restart(at_s=CALM_S, host=LOST, for_s=GONE_S)
        followed = lab.follow(CALM_S + GONE_S + BACK_S, [fault])
        came = sum(store.size_bytes() for store in stores) - before
    (brought,) = (each for each in read_record(playbook).repairs if each.lost == LOST)
    times = times_of(followed, playbook)
    alone, graphs = alone_bytes(playbook), sum(brought.graphs.values())
    yield row(f"{name}: weights that only the lost device held", alone, "bytes")
    goal = f"<= {alone:.0f}"
    yield row(f"{name}: weights that came to the others", came - graphs, "bytes", goal)
    yield row(f"{name}: graphs of parts, beside them", graphs, "bytes")
    yield row(f"{name}: playbooks, beside them", heads(playbook, brought), "bytes")
    at_best_s = max(brought.weights.values()) * 8 / (GROUND.mbit_s * 1e6)
    yield row(f"{name}: the weights alone on their links", at_best_s, "s")
    yield row(f"{name}: until nothing is missing, once it counts as lost", times.repaired_s, "s")
    yield row(f"{name}: until all share again, once it is started", times.whole_s, "s")
    lost = sum(one.lost for one in followed.told)
    yield row(f"{name}: requests lost", lost, "requests", "= 0")


def _playbook(folder: Path, lab: Equals, name: str, network: Network) -> Playbook:
    if name == FASHION:
        return built_in(folder, lab, fill="mean", repair=str(AFTER_S)).playbook
    cluster = GROUND.cluster()
    profiles = Profiles.scaled(cluster, profile(network))
    options = {"deal": "all", "repair": str(AFTER_S)}
    built = make("shards", network, cluster, profiles, Objective(), store=lab.store, **options)
    return built.playbook


def _images(name: str, network: Network) -> Sequence[np.ndarray]:
    if name == FASHION:
        return [zoo.samples(FASHION).images[:1]]
    return list(network.probe(0).values())


def alone_bytes(playbook: Playbook) -> float:
    """Bytes of the weights of the units that the lost device held and nobody else."""
    record = read_record(playbook)
    lost = record.devices.index(LOST)
    layers = (layer for step in record.steps for layer in step.layers)
    return sum(layer.unit_bytes * layer.dealt[lost] for layer in layers)


def heads(playbook: Playbook, brought: Brought) -> int:
    """Bytes of what all others are told to install."""
    (plan,) = (p for p in playbook.plans if p.reserve and p.reserve.without == (LOST,))
    return len(brought.weights) * len(wire.encode(Install(from_reserve(playbook, plan))))


def times_of(followed: Followed, playbook: Playbook) -> Times:
    """When requests followed which plan. LabError where they never did."""
    main, repaired = playbook.plans[0].name, f"repaired without {LOST}"
    lost_s = followed.began_s + CALM_S
    mended = [one.asked_s for one in followed.told if one.plan == repaired]
    if not mended:
        raise LabError(f"{LOST} was lost, and no request followed {repaired!r}")
    back = [one.asked_s for one in followed.told if one.plan == main and one.asked_s > mended[0]]
    if not back:
        raise LabError(f"{LOST} was started again, and no request followed {main!r}")
    return Times(mended[0] - lost_s - AFTER_S, back[0] - lost_s - GONE_S)
