"""Real workers die of what they run, or load, and a supervisor starts them again."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.runtime import tiny
from tests.runtime.tiny import anywhere, expected, halves, images, pipeline, soon

import shoal
import shoal.bench.trust
from shoal.errors import PoisonError
from shoal.model.store import PartStore
from shoal.runtime.local import LocalCluster

pytestmark = pytest.mark.system

FRAGILE = Path(shoal.bench.trust.__file__).parent / "fragile"
DEADLY = 12345.0
NAMES = ("worker-1", "worker-2", "worker-3")


class Supervisor:
    """Starts workers again a moment after they died; ``deaths`` counts."""

    def __init__(self, cluster: LocalCluster, pause_s: float = 0.3) -> None:
        self.deaths = 0
        self._cluster, self._pause_s = cluster, pause_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            for process in self._cluster.processes.values():
                if not process.running:
                    self.deaths += 1
                    self._over.wait(self._pause_s)
                    process.restart()

    def __enter__(self) -> "Supervisor":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def net():
    return tiny.network()


@pytest.fixture
def store(tmp_path, net):
    return tiny.fill(PartStore(tmp_path / "gateway"), net)


@pytest.fixture(autouse=True)
def fragile(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FRAGILE), prepend=":")


def right(net, image, answer):
    np.testing.assert_allclose(answer.outputs["y"], expected(net, image), rtol=1e-4, atol=1e-5)


def test_one_request_of_many_kills_whoever_runs_it(net, store, monkeypatch):
    monkeypatch.setenv("SHOAL_DEADLY_VALUE", str(DEADLY))
    poison = np.full((1, tiny.WIDTH), DEADLY, np.float32)
    good = images(300)
    with (
        shoal.local_cluster(3) as cluster,
        shoal.deploy(anywhere(net, *NAMES), cluster, store=store) as service,
        Supervisor(cluster) as supervisor,
    ):
        window = threading.Semaphore(8)
        futures = []
        bad = None
        for k, image in enumerate(good):
            assert window.acquire(timeout=20)
            if k == 100:
                bad = service.submit(poison)
            futures.append(service.submit(image))
            futures[-1].add_done_callback(lambda future: window.release())
        for image, future in zip(good, futures, strict=True):
            right(net, image, future.result(10))
        with pytest.raises(PoisonError, match=r"SIGSEGV.*refused for 10 minutes"):
            bad.result(10)
        assert supervisor.deaths <= 2

        began = time.monotonic()
        with pytest.raises(PoisonError):
            service.infer(poison)
        assert time.monotonic() - began < 0.2
        first, second, third = service.submit_together([good[0], poison, good[1]])
        right(net, good[0], first.result(10))
        right(net, good[1], third.result(10))
        assert isinstance(second.exception(10), PoisonError)
        soon(lambda: all(d.ready for d in service.stats().devices.values()))
        assert supervisor.deaths <= 2
        assert service.stats().failed == 3


def test_a_part_that_kills_who_loads_it_is_not_sent_again_and_again(net, store, monkeypatch):
    bad = halves(net)[1].hash
    monkeypatch.setenv("SHOAL_DEADLY_PART", bad)
    book = pipeline(net, "worker-1", "worker-2")
    with (
        shoal.local_cluster(2) as cluster,
        Supervisor(cluster) as supervisor,
        shoal.deploy(book, cluster, store=store, wait_s=20.0) as service,
    ):

        def refused():
            return " ".join(service.stats().devices["worker-2"].refused)

        soon(refused)
        assert f"worker-2 died twice while loading part {bad[:12]}" in refused()
        (image,) = images(1)
        right(net, image, service.infer(image))
        time.sleep(1.0)
        assert supervisor.deaths == 2
