"""What is compared: the same network over the same hosts, spread in different ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.plan.objective import Objective
from shoal.plan.plan import Playbook, PolicySpec
from shoal.plan.profiles import Profiles
from shoal.strategies.base import Built
from shoal.strategies.making import make
from shoal_benchmarks.node.equals import Equals
from shoal_benchmarks.relay.subject import Subject

KEPT = 0.995
"""Of the network's accuracy (.93): half a point may be lost."""
RELAY, PASSED, ALONE, REPLICAS = "relay", "no exits", "each alone", "replicas"


class System(NamedTuple):
    """A way to spread the network."""

    name: str
    book: Callable[[Equals, Subject, str], Playbook]


def relayed(
    lab: Equals, subject: Subject, topology: str, only: Sequence[str] = (), **options: str
) -> Playbook:
    """By ``relay``, over hosts that are joined so; over these ``only``, where some are named."""
    cluster = lab.ground.cluster()
    if only:
        devices = tuple(each for each in cluster.devices if each.name in only)
        cluster = msgspec.structs.replace(cluster, devices=devices)
    return exits_over(cluster, subject, lab.store, topology=topology, **options).playbook


def exits_over(
    cluster: Cluster, subject: Subject, store: PartStore | None = None, **options: str
) -> Built:
    """What ``relay`` makes of the network on a cluster."""
    return make(
        "relay",
        subject.network,
        cluster,
        Profiles.scaled(cluster, subject.measured),
        Objective(min_accuracy=KEPT),
        store=store,
        confidence="0.5",
        **options,
    )


def passed_on(lab: Equals, subject: Subject, topology: str) -> Playbook:
    """The same, but nothing leaves early."""
    assert subject.network.exits is not None, "they were trained"
    never = ",".join("2" for _ in subject.network.exits.heads)
    return relayed(lab, subject, topology, thresholds=never)


def each_alone(lab: Equals, subject: Subject, topology: str) -> Playbook:
    """The same exits, but each device runs all tasks of what it is given."""
    book = relayed(lab, subject, topology)
    nobody: dict[str, tuple[str, ...]] = dict.fromkeys(lab.ground.names, ())
    policy = PolicySpec(book.policy.name, {**book.policy.settings, "neighbours": nobody})
    return renamed(msgspec.structs.replace(book, policy=policy))


def replicas(lab: Equals, subject: Subject, topology: str) -> Playbook:
    """The whole network without exits on each host."""
    cluster = lab.ground.cluster()
    profiles = Profiles.scaled(cluster, subject.measured)
    return make("replicas", subject.network, cluster, profiles, store=lab.store).playbook


def renamed(book: Playbook) -> Playbook:
    """With the id of what it is now."""
    from shoal.plan.playbook import playbook_id

    return msgspec.structs.replace(book, id=playbook_id(book))


SYSTEMS = (
    System(RELAY, relayed),
    System(PASSED, passed_on),
    System(ALONE, each_alone),
    System(REPLICAS, replicas),
)
