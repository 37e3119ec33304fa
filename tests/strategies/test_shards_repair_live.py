"""Dealt layers on real workers, one of which is lost for good: the others get what it held."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from tests.toys.network import ToyProfile

import shoal
from shoal import zoo
from shoal.model.network import load
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.plan.objective import Objective
from shoal.plan.profiles import Profiles
from shoal.runtime.answer import Answer
from shoal.strategies.making import make
from shoal.strategies.shards.record import read_record

pytestmark = pytest.mark.system

AFTER_S = 1.0
SOON_S = 30.0


def until(ask: Callable[[], Answer], plan: str) -> list[Answer]:
    """The answers up to the first whole one that is made by a plan."""
    found, end = [ask()], time.monotonic() + SOON_S
    while found[-1].plan != plan or found[-1].degraded:
        assert time.monotonic() < end, {each.plan for each in found}
        time.sleep(0.02)
        found.append(ask())
    return found


@pytest.mark.parametrize("memory", [0, 10_600_000], ids=["roomy", "tight"])
def test_what_a_lost_device_held_is_brought_to_the_others(tmp_path, memory):
    """In a tight one there is memory for the parts of one plan."""
    network, samples = load(zoo.path("fashion-resnet")), zoo.samples("fashion-resnet")
    images = tmp_path / "images"
    images.mkdir()
    np.save(images / "some.npy", samples.images[:60])
    with shoal.local_cluster(3, memory_limit=memory) as workers:
        cluster = Cluster(**{name: getattr(workers, name) for name in Cluster.__struct_fields__})
        profiles = Profiles.scaled(cluster, ToyProfile((1.0,) * len(network.nodes)))
        store = PartStore(tmp_path / "store")
        wish = Objective(min_accuracy=0.2)
        options = {"calibrate": str(images), "rho": "0.25", "deal": "all", "repair": str(AFTER_S)}
        made = make("shards", network, cluster, profiles, wish, store=store, **options)
        playbook = made.playbook
        main = playbook.plans[0]
        assert {p.reserve.instead for p in playbook.plans if p.reserve} == {bool(memory)}
        with shoal.deploy(playbook, cluster, store=store, wait_s=30) as service:

            def ask() -> Answer:
                answer = service.infer(samples.feed(7))
                (expected,) = network.run(samples.feed(7)).values()
                (found,) = answer.outputs.values()
                off = np.abs(found - expected).max() / np.abs(expected).max()
                assert (off < 1e-4) != answer.degraded
                return answer

            assert ask().plan == main.name
            kept = {name: PartStore(workers.scratch.path / name) for name in cluster.names}
            before = {name: set(store.hashes()) for name, store in kept.items()}
            workers.processes["worker-2"].kill()
            answers = until(ask, "repaired without worker-2")
            assert {each.plan for each in answers[:-1]} == {main.name}
            assert any(each.degraded for each in answers)
            assert answers[-1].accuracy == 1.0
            (brought,) = (r for r in read_record(playbook).repairs if r.lost == "worker-2")
            for name in ("worker-1", "worker-3"):
                new = set(kept[name].hashes()) - before[name]
                bytes_ = sum(len(kept[name].get(each)) for each in new)
                assert bytes_ == brought.weights[name] + brought.graphs[name]
            workers.processes["worker-2"].restart()
            until(ask, main.name)
            end = time.monotonic() + SOON_S
            while any(set(service.stats().devices[name].parts) - set(
                playbook.parts_of(name)) for name in cluster.names):  # fmt: skip
                assert time.monotonic() < end, "what was in reserve is not let go of"
                time.sleep(0.02)
            workers.processes["worker-2"].kill()
            began = time.monotonic()
            until(ask, "repaired without worker-2")
            assert time.monotonic() - began > AFTER_S
