"""What requests, runs and messages cost a processor of the lab, beside computing.

A network that computes next to nothing is served by the gateway itself, then by a worker. Of a
request the gateway spends ``A + R`` in the first case (asking and a run) and ``A + 2 M`` in the
second (asking and two messages), the worker ``R + 2 M``: three sums for three unknowns. How long
each takes depends on how busy the host is, as its caches do: so they are told twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np

from shoal.model.profiles import profile
from shoal.plan.plan import Playbook
from shoal.plan.playbook import make_playbook
from shoal.plan.profiles import Profiles
from shoal.sim.handling import MEASURED, Handling
from shoal.strategies.making import make
from shoal_benchmarks.node.equals import GATE, Equals
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.wire.system import relay

CHANNELS, SIDE = 1, 8


class Gauged(msgspec.Struct, frozen=True):
    """What is spent on a whole core while many requests are under way, and while there is one at a
    time."""

    busy: Handling
    single: Handling


def gauge(lab: Equals, seconds: float, window: int) -> Gauged:
    """Measure it."""
    network = relay(CHANNELS, SIDE)
    cluster = lab.ground.cluster()
    profiles = Profiles.scaled(cluster, profile(network))
    images = [np.ones((1, CHANNELS, SIDE, SIDE), np.float32)]
    busy: dict[str, Mapping[str, float]] = {}
    single: dict[str, Mapping[str, float]] = {}
    worker = lab.ground.names[0]
    for strategy in ("local", "remote"):
        built = make(strategy, network, cluster, profiles, store=lab.store)
        lab.serve(by_one(built.playbook, worker), images)
        busy[strategy] = lab.busy(seconds, window).spent_ms
        single[strategy] = lab.single(seconds).spent_ms
    return Gauged(solved(busy, worker), solved(single, worker))


def by_one(playbook: Playbook, worker: str) -> Playbook:
    """With one plan: the only one, or that of this worker. Others would be turned to where it is
    slower than was forecast, as everything is that computes next to nothing."""
    plans = [plan for plan in playbook.plans if worker in plan.devices] or playbook.plans
    return make_playbook(
        network=playbook.network,
        strategy=playbook.strategy,
        policy=playbook.policy,
        plans=plans[:1],
        parts=playbook.parts,
        inputs=playbook.inputs,
        outputs=playbook.outputs,
        stacks=playbook.stacks,
    )


def solved(spent_ms: Mapping[str, Mapping[str, float]], worker: str) -> Handling:
    """From what gateway and worker spent on a request in each case."""
    here, there, away = (
        spent_ms["local"][GATE],
        spent_ms["remote"][GATE],
        spent_ms["remote"][worker],
    )
    return Handling(
        asked_s=max(0.0, here + there - away) / 2e3,
        run_s=max(0.0, here + away - there) / 2e3,
        message_s=max(0.0, there + away - here) / 4e3,
        byte_s=MEASURED.byte_s,
    )


def rows_of(gauged: Gauged, where: str) -> Iterator[Row]:
    """What was found."""
    for when, found in (("busy", gauged.busy), ("one at a time", gauged.single)):
        for what, seconds in (
            ("a request", found.asked_s),
            ("a run", found.run_s),
            ("a message", found.message_s),
        ):
            yield row(f"{where}, {when}: CPU for {what} beside computing", seconds * 1e3, "ms")
