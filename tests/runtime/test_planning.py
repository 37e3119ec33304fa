"""``shoal.plan``: what happens in which order, and what is told of it."""

import time

import pytest
from tests.toys.network import ToyProfile
from tests.toys.strategy import whole

from shoal.errors import PlanError
from shoal.plan.cluster import Cluster
from shoal.plan.profiles import Profiles
from shoal.runtime import planning
from shoal.runtime.planning import plan
from shoal.runtime.survey import Survey
from shoal.strategies import making
from shoal.strategies.base import Strategy

CLUSTER = Cluster.from_yaml("devices: [{name: a}, {name: b}]")
FACTS = Profiles.scaled(CLUSTER, ToyProfile((1.0,) * 8))


def test_without_a_strategy_all_are_compared_and_the_best_is_taken(crowd, net):
    told = []
    book = plan(net, CLUSTER, profiles=FACTS, store=crowd.store, progress=told.append)
    assert book.strategy == "replicas", "the simplest of those that use both devices"
    assert all(not crowd.store.missing(part) for part in book.parts)
    assert told[-1] == "proving the plans of replicas"
    book = plan(net, CLUSTER, None, "bytes", profiles=FACTS, store=crowd.store)
    assert book.strategy == "local"
    with pytest.raises(PlanError, match="'wheels'"):
        plan(net, CLUSTER, profiles=FACTS, store=crowd.store, wheels=2)


def test_what_takes_long_is_done_before_anything_is_measured(crowd, net, monkeypatch):
    order, told = [], []

    def ready(network, cluster, objective, progress):
        for share in (0.0, 0.25, 1.0):
            progress(share, f"step {len(order)}")
            order.append("prepared")

    def surveyed(network, cluster, **given):
        order.append("surveyed")
        return Survey(FACTS, cluster)

    clock = iter(range(100, 10_000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(planning, "survey", surveyed)
    monkeypatch.setattr(making, "find_strategy", {"toy": Strategy("toy", whole, ready)}.__getitem__)
    plan(net, CLUSTER, "toy", store=crowd.store, progress=told.append)
    assert order == ["prepared"] * 3 + ["surveyed"]
    assert told[:3] == [
        "preparing toy: 0%, step 0",
        "preparing toy: 25%, about 30 s left, step 1",
        "preparing toy: 100%, about 0 s left, step 2",
    ]


def test_nothing_is_measured_for_what_makes_no_sense(net, monkeypatch):
    monkeypatch.setattr(planning, "survey", None)
    with pytest.raises(PlanError, match="confidence"):
        plan(net, CLUSTER, "split", confidence=2)
    with pytest.raises(PlanError, match="compute: true"):
        plan(net, CLUSTER, "split")
