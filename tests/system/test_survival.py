"""Real processes die, freeze and come back under load: nothing is lost, doubled or wrong."""

import random
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest
from tests.runtime import tiny
from tests.runtime.test_recovery import Load
from tests.runtime.tiny import anywhere, expected, images, pipeline, soon

import shoal
from shoal.model.store import PartStore
from shoal.plan.playbook import save
from shoal.runtime.local import WorkerProcess
from shoal.runtime.service import Service

pytestmark = pytest.mark.system

WIDTH = 192


@pytest.fixture
def net():
    return tiny.network(layers=12, width=WIDTH)


@pytest.fixture
def store(tmp_path, net):
    return tiny.fill(PartStore(tmp_path / "gateway"), net)


@dataclass
class Pair:
    service: Service
    workers: dict[str, WorkerProcess]


@pytest.fixture
def pair(net, store):
    """Two workers in a pipeline, each with the whole network as a spare."""
    with (
        shoal.local_cluster(2) as cluster,
        shoal.deploy(pipeline(net, "worker-1", "worker-2"), cluster, store=store) as service,
    ):
        yield Pair(service, cluster.processes)


def slowest_ms(load):
    return max(answer.latency_ms for answer in load.answers)


@pytest.mark.parametrize("name", ["worker-1", "worker-2"])
def test_a_killed_worker_costs_no_request(pair, net, name):
    load = Load(net, pair.service, 600)
    load.after(200)
    pair.workers[name].kill()
    load.check()
    print(f"\nkilled {name}: slowest answer {slowest_ms(load):.0f} ms")
    assert load.answers[-1].plan.startswith("only")


@pytest.mark.parametrize("name", ["worker-1", "worker-2"])
def test_a_frozen_worker_costs_no_request_and_is_used_again(pair, net, name):
    load = Load(net, pair.service, 800)
    load.after(200)
    pair.workers[name].freeze()
    load.after(500)
    pair.workers[name].thaw()
    load.check()
    print(f"\nfroze {name}: slowest answer {slowest_ms(load):.0f} ms")
    (image,) = images(1, width=WIDTH)
    soon(lambda: pair.service.infer(image).plan == "both")


def test_a_worker_frozen_for_a_moment_only(pair, net):
    """Shorter than the lease: nobody is lost, answers are merely late."""
    load = Load(net, pair.service, 500)
    load.after(200)
    pair.workers["worker-2"].freeze()
    time.sleep(0.15)
    pair.workers["worker-2"].thaw()
    load.check()


def test_workers_restart_in_turn_under_load(pair, net):
    load = Load(net, pair.service, 1500)
    for k, name in enumerate(["worker-1", "worker-2", "worker-1"]):
        load.after(300 * (k + 1))
        pair.workers[name].restart()
        soon(lambda name=name: pair.service.stats().devices[name].ready)
    load.check()
    (image,) = images(1, width=WIDTH)
    soon(lambda: pair.service.infer(image).plan == "both")


def test_both_workers_die_and_come_back(pair, net):
    load = Load(net, pair.service, 500)
    load.after(200)
    for worker in pair.workers.values():
        worker.kill()
    for worker in pair.workers.values():
        worker.start()
    for worker in pair.workers.values():
        worker.wait_ready()
    load.check()


def test_random_faults(net, store):
    """Any of three workers is killed, frozen, thawed or started again, at random moments."""
    dice = random.Random(4)
    names = ["worker-1", "worker-2", "worker-3"]
    with (
        shoal.local_cluster(3) as cluster,
        shoal.deploy(anywhere(net, *names), cluster, store=store) as service,
    ):
        load = Load(net, service, 1200)
        for round in range(5):
            load.after(180 * (round + 1))
            worker = cluster.processes[dice.choice(names)]
            if dice.random() < 0.5:
                worker.kill()
                time.sleep(dice.random() * 0.2)
                worker.restart()
            else:
                worker.freeze()
                time.sleep(dice.random() * 0.8)
                worker.thaw()
        stats = load.check()
        assert stats.answered == 1200
        list(service.infer_many(images(100, width=WIDTH)))


def test_a_gateway_that_is_killed_leaves_workers_that_serve_the_next(net, store, tmp_path):
    """They forget what the first one asked of them."""
    with shoal.local_cluster(2) as cluster:
        book = pipeline(net, "worker-1", "worker-2")
        save(book, tmp_path / "book.json")
        (tmp_path / "cluster.yaml").write_text(cluster.to_yaml())
        script = (
            "import sys, itertools, numpy as np, shoal\n"
            "from shoal.plan.playbook import load\n"
            "cluster = shoal.Cluster.load(sys.argv[2])\n"
            "store = shoal.PartStore(sys.argv[3])\n"
            "service = shoal.deploy(load(sys.argv[1]), cluster, store=store)\n"
            f"x = np.ones((1, {WIDTH}), np.float32)\n"
            "for k, _ in enumerate(service.infer_many(itertools.repeat(x))):\n"
            "    if k == 200: print('busy', flush=True)\n"
        )
        paths = [tmp_path / "book.json", tmp_path / "cluster.yaml", tmp_path / "gateway"]
        with subprocess.Popen(
            [sys.executable, "-c", script, *map(str, paths)], stdout=subprocess.PIPE
        ) as gateway:
            assert gateway.stdout.readline() == b"busy\n"
            gateway.kill()
        with shoal.deploy(book, cluster, store=store) as service:
            for image in images(50, width=WIDTH):
                answer = service.infer(image)
                np.testing.assert_allclose(
                    answer.outputs["y"], expected(net, image), rtol=1e-4, atol=1e-5
                )
