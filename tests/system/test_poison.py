"""Real workers die of what they run, or load, and a supervisor starts them again."""

import threading
import time

import numpy as np
import pytest
from tests.runtime import tiny
from tests.runtime.tiny import anywhere, expected, halves, images, pipeline, soon

import shoal
from shoal.errors import PoisonError
from shoal.model.store import PartStore
from shoal_benchmarks.trust.supervisor import Supervisor, fragile

pytestmark = pytest.mark.system

DEADLY = 12345.0
NAMES = ("worker-1", "worker-2", "worker-3")


@pytest.fixture
def net():
    return tiny.network()


@pytest.fixture
def store(tmp_path, net):
    return tiny.fill(PartStore(tmp_path / "gateway"), net)


def right(net, image, answer):
    np.testing.assert_allclose(answer.outputs["y"], expected(net, image), rtol=1e-4, atol=1e-5)


def test_one_request_of_many_kills_whoever_runs_it(net, store):
    poison = np.full((1, tiny.WIDTH), DEADLY, np.float32)
    good = images(300)
    with (
        fragile(SHOAL_DEADLY_VALUE=str(DEADLY)),
        shoal.local_cluster(3) as cluster,
        shoal.deploy(anywhere(net, *NAMES), cluster, store=store) as service,
        Supervisor(cluster, 0.3) as supervisor,
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


def test_a_part_that_kills_who_loads_it_is_not_sent_again_and_again(net, store):
    bad = halves(net)[1].hash
    book = pipeline(net, "worker-1", "worker-2")
    with (
        fragile(SHOAL_DEADLY_PART=bad),
        shoal.local_cluster(2) as cluster,
        Supervisor(cluster, 0.3) as supervisor,
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
