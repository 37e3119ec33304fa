"""Nothing grows with the number of requests, failures, or comings and goings."""

import gc
import itertools
import time
from collections import Counter, deque

import pytest
from tests.runtime.tiny import Crowd, SlowEngine, anywhere, images, pipeline, soon

from shoal.core import log
from shoal.core.shared import membership
from shoal.errors import DeadlineError
from shoal.mesh import peers
from shoal.runtime import stats

CONTAINERS = dict | list | set | deque
ROUNDS = 4
SETTLE_S = 20.0
"""Longer than a peer is expected back (``grace_s``), after which it may be forgotten."""


def objects() -> Counter:
    """How many there are of each type, and how much all containers hold together."""
    gc.collect()
    everything = gc.get_objects()
    counts = Counter(type(thing).__name__ for thing in everything)
    # Of the type, not of the thing: asking some of PyTorch's things what they are makes them warn.
    counts["held"] = sum(len(thing) for thing in everything if issubclass(type(thing), CONTAINERS))
    return counts


def growth(do, times: int, each: int) -> dict[str, int]:
    """Of what there is more after doing something many times, as much as if one in two of the
    ``each`` things done each time had left something behind. What is on its way may end, and what
    only happens to be there at that moment does not become more when it is all done again."""
    do()
    do()
    before = objects()
    grown: dict[str, int] = {}
    for done in range(times, (ROUNDS + 1) * times, times):
        for _ in range(times):
            do()
        end = time.monotonic() + SETTLE_S
        while True:
            more = objects() - before
            more["held"] -= len(before)  # what was counted is itself held by now
            grown = {name: n for name, n in more.items() if n >= done * each / 2}
            if not grown:
                return {}
            if time.monotonic() > end:
                break
            time.sleep(0.05)
    return grown


@pytest.fixture(autouse=True)
def short_memory(monkeypatch):
    """Times of the last answers, incarnations of the past and steps of nodes are kept up to a
    number, and what is told of nodes that are gone for a time, which take long to reach."""
    monkeypatch.setattr(log, "MAX_STEPS", 2)
    monkeypatch.setattr(stats, "RECENT", 2)
    monkeypatch.setattr(membership, "MAX_STRANGERS", 2)
    monkeypatch.setattr(peers, "HEARSAY_S", 0.5)


@pytest.fixture
def busy(crowd: Crowd, net):
    crowd.start("a", "b")
    return crowd.serve(pipeline(net))


def test_answers_leave_nothing_behind(busy):
    inputs = images(100)

    def ask():
        for _ in busy.infer_many(inputs):
            pass

    ask()
    assert growth(ask, 10, 100) == {}


def test_cancelled_requests_leave_nothing_behind(busy):
    inputs = images(50)

    def ask():
        for future in [busy.submit(image) for image in inputs]:
            future.cancel()
        soon(lambda: busy.stats().pending == 0)

    assert growth(ask, 10, 50) == {}


def test_deadlines_leave_nothing_behind(crowd, net):
    crowd.start("a", engine=SlowEngine(0.02))
    service = crowd.serve(anywhere(net, "a"))

    def ask():
        for future in [service.submit(image, deadline_ms=5.0) for image in images(20)]:
            with pytest.raises(DeadlineError):
                future.result(60)
        worker = crowd.nodes["a"]
        soon(lambda: worker.ask(lambda: not worker.core.worker.inbox.jobs))

    assert growth(ask, 10, 20) == {}


def test_workers_that_come_and_go_leave_nothing_behind(crowd, busy):
    def restart():
        crowd.kill("b")
        crowd.start("b")
        soon(lambda: busy.stats().devices["b"].ready)
        list(busy.infer_many(images(10)))

    assert growth(restart, 16, 2) == {}


def test_services_that_come_and_go_leave_nothing_behind(crowd, net):
    crowd.start("a")
    worker = crowd.nodes["a"]

    def serve():
        with crowd.serve(anywhere(net, "a")) as service:
            service.infer(images(1)[0])
        crowd.services.clear()
        soon(lambda: worker.ask(lambda: not worker.core.worker.library._shelves))

    assert growth(serve, 8, 1) == {}


def test_clients_under_ever_new_names_leave_nothing_behind(crowd, net, busy):
    """Neither with workers nor with other clients."""
    numbers = itertools.count()
    crowd.start("c")

    def serve():
        with crowd.serve(anywhere(net, "a", "c"), f"client-{next(numbers)}") as service:
            list(service.infer_many(images(4)))
        crowd.services.remove(service)
        list(busy.infer_many(images(2)))

    assert growth(serve, 16, 1) == {}


def test_playbooks_that_come_and_go_leave_nothing_behind(crowd, net, busy):
    books = [pipeline(net), anywhere(net, "a"), anywhere(net, "b")]

    def adopt():
        for book in books:
            busy.adopt(book)
            soon(lambda book=book: not busy.node.ask(lambda: busy._gateway.unready(book)))
            busy.infer(images(1)[0])

    assert growth(adopt, 16, 3) == {}
