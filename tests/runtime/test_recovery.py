"""Workers die, freeze, leave and come back under load: every request is answered once, rightly."""

import threading
import time

import pytest
from tests.runtime.test_service import right
from tests.runtime.tiny import SlowEngine, anywhere, images, pipeline, soon

from shoal.runtime.threads import NodeThreads

COUNT = 300


class Load:
    """Requests without a pause, and what became of them."""

    def __init__(self, net, service, count=COUNT, seed=5):
        self.net, self.service = net, service
        self.inputs = images(count, seed, net.inputs[0].shape[1])
        self.answers = []
        self.error = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            for answer in self.service.infer_many(self.inputs):
                self.answers.append(answer)
        except BaseException as error:
            self.error = error

    def after(self, count):
        """Wait for so many answers."""
        soon(lambda: len(self.answers) >= count or not self.thread.is_alive(), 60)
        assert self.error is None

    def check(self):
        """All are answered, each rightly."""
        self.thread.join(60)
        assert self.error is None
        assert len(self.answers) == len(self.inputs)
        for answer, image in zip(self.answers, self.inputs, strict=True):
            right(self.net, answer, image)
        stats = self.service.stats()
        assert (stats.failed, stats.pending) == (0, 0)
        return stats


@pytest.fixture
def busy(crowd, net):
    """A pipeline over two slow workers, under load."""
    crowd.start("a", "b", engine=SlowEngine(0.002))
    service = crowd.serve(pipeline(net))
    load = Load(net, service)
    load.after(20)
    yield load
    load.thread.join(60)


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_worker_dies(crowd, busy, name):
    crowd.kill(name)
    stats = busy.check()
    assert stats.devices[name].state in ("suspect", "gone")  # the latter when that took long
    other = "ab".replace(name, "")
    assert busy.answers[-1].plan == f"only {other}"


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_worker_freezes_and_thaws(crowd, busy, name):
    crowd.mesh.freeze(name)
    busy.after(120)
    crowd.mesh.thaw(name)
    stats = busy.check()
    assert stats.devices[name].state == "alive"


def test_a_worker_restarts_and_is_used_again(crowd, busy):
    crowd.kill("b")
    busy.after(80)
    crowd.start("b", engine=SlowEngine(0.002))
    busy.after(COUNT)
    busy.check()
    soon(lambda: busy.service.stats().devices["b"].ready)
    soon(lambda: busy.service.infer(images(1)[0]).plan == "both")


def test_a_worker_drains_and_nothing_is_sent_twice_for_it(crowd, busy):
    node = crowd.nodes.pop("b")
    node.drain()
    assert node.drained.wait(60)
    assert node.flush(60)
    node.close()
    stats = busy.check()
    assert stats.answered == COUNT
    assert busy.answers[-1].plan == "only a"


def test_the_way_between_two_workers_is_cut(crowd, busy):
    """The gateway sees both; ``a`` has to say that it cannot pass anything on."""
    crowd.mesh.cut("a", "b")
    busy.check()
    assert {answer.plan for answer in busy.answers[-20:]} <= {"only a", "only b"}
    crowd.mesh.heal("a", "b")
    soon(lambda: busy.service.infer(images(1)[0]).plan == "both")


def test_the_gateway_is_cut_off_for_a_moment(crowd, busy):
    for name in "ab":
        crowd.mesh.cut("gateway", name)
    time.sleep(0.1)
    for name in "ab":
        crowd.mesh.heal("gateway", name)
    busy.check()


def test_everybody_dies_and_comes_back(crowd, busy):
    crowd.kill("a")
    crowd.kill("b")
    time.sleep(0.1)
    crowd.start("a", "b")
    busy.check()


def test_one_after_the_other_dies_and_comes_back(crowd, net):
    crowd.start("a", "b", "c", engine=SlowEngine(0.001))
    service = crowd.serve(anywhere(net, "a", "b", "c"))
    load = Load(net, service, 600)
    for k, name in enumerate("abcabc"):
        load.after(80 * (k + 1))
        crowd.kill(name)
        crowd.start(name, engine=SlowEngine(0.001))
    stats = load.check()
    assert stats.answered == 600


def test_a_gateway_that_dies_is_forgotten_and_comes_back(crowd, busy, net):
    busy.after(COUNT)
    worker = crowd.nodes["a"]
    crowd.mesh.kill("gateway")
    again = crowd.serve(pipeline(net))
    (image,) = images(1)
    right(net, again.infer(image), image)
    assert worker.ask(lambda: worker.core.worker.library.playbook(again.playbook.id))


def test_a_slow_device_is_hedged(crowd, net):
    """A second device is asked when the first takes too long; one answer is given."""
    slow = SlowEngine()
    crowd.start("a", engine=slow)
    crowd.start("b")
    service = crowd.serve(anywhere(net, "a", "b"), hedge_ms=50.0)
    for image in images(5):
        service.infer(image)
    slow.gate.clear()
    for image in images(10):
        # Unhedged, the deadline would pass after this test's own.
        right(net, service.infer(image, deadline_ms=600_000.0), image)
    slow.gate.set()
    assert service.stats().answered == 15


@pytest.mark.parametrize("breaks", [1, 4])
def test_breaks_while_parts_are_fetched_cost_no_deployment(crowd, net, breaks, monkeypatch):
    """A busy machine misses a beat just then: each break loses what was asked for."""
    worker = crowd.start("a")
    left = breaks

    give = NodeThreads.give

    def trip(chores, sender, asked):
        nonlocal left
        if left:
            left -= 1
            crowd.mesh.drop("a", "gateway")
        give(chores, sender, asked)

    monkeypatch.setattr(NodeThreads, "give", trip)
    service = crowd.serve(pipeline(net, "a", "gateway"), wait_s=60.0)
    assert left == 0
    (image,) = images(1)
    soon(lambda: service.infer(image).plan == "both")
    assert worker.ask(lambda: len(worker.core.worker.library._ready)) == 2
