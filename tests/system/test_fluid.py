"""Real processes answer together and each for itself; one is killed and comes back."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.tiny import soon
from tests.toys import fluid
from tests.toys.network import ToyProfile

import shoal
from shoal.model.bundle import Bundle, load_bundle
from shoal.plan.plan import Playbook
from shoal.plan.profiles import Profiles
from shoal.runtime.answer import Answer
from shoal.runtime.local import LocalCluster
from shoal.runtime.service import Service

pytestmark = pytest.mark.system

TOGETHER, FIRST, SECOND = (0, 1, 2, 3), (0, 1), (2, 3)
ALWAYS_TOGETHER: dict[str, float] = {"high_s": 1e5}
ALWAYS_APART: dict[str, float] = {"high_s": 1e-6, "low_s": 0.0}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(fluid.write(tmp_path_factory.mktemp("fluid") / "tiny.fluid"))


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with shoal.local_cluster(2) as cluster:
        yield cluster


def planned(
    bundle: Bundle, cluster: LocalCluster, store: shoal.PartStore, marks: dict[str, float]
) -> Playbook:
    even = ToyProfile((1.0 / len(bundle.nodes),) * len(bundle.nodes))
    facts = Profiles.scaled(cluster, even)
    return shoal.plan(bundle, cluster, "fluid", profiles=facts, store=store, **marks)


@pytest.fixture
def serve(bundle: Bundle, cluster: LocalCluster, tmp_path: Path) -> Iterator[Any]:
    services: list[Service] = []

    def serve(**marks: float) -> Service:
        store = shoal.PartStore(tmp_path / "store")
        book = planned(bundle, cluster, store, marks)
        services.append(shoal.deploy(book, cluster, store=store))
        return services[-1]

    yield serve
    for service in services:
        service.close()


def in_one_piece(bundle: Bundle, groups: tuple[int, ...], feeds: dict[str, Any]) -> Any:
    part = bundle.part(bundle.alone(groups).stages[0].parts["0"])
    return part.run(feeds)["y"]


def groups_of(answer: Answer) -> tuple[int, ...]:
    """Which sub-network answered: its name is in the plan's."""
    return tuple(map(int, answer.plan.split()[1].split("+")))


def check(bundle: Bundle, answer: Answer, feeds: dict[str, Any]) -> None:
    expected = in_one_piece(bundle, groups_of(answer), feeds)
    np.testing.assert_allclose(answer.outputs["y"], expected, atol=1e-5)


def test_together_they_give_the_answer_of_the_whole_and_apart_that_of_their_groups(
    bundle: Bundle, cluster: LocalCluster, serve: Any
) -> None:
    service = serve(**ALWAYS_TOGETHER)
    for seed in range(20):
        feeds = bundle.probe(seed)
        answer = service.infer(feeds)
        assert groups_of(answer) == TOGETHER
        check(bundle, answer, feeds)
        np.testing.assert_allclose(answer.outputs["y"], bundle.run(feeds)["y"], atol=1e-5)
    batch = bundle.probe(1, batch=3)
    np.testing.assert_allclose(service.infer(batch).outputs["y"], bundle.run(batch)["y"], atol=1e-5)
    cluster.processes["worker-2"].kill()
    for seed in range(5):
        feeds = bundle.probe(seed)
        answer = service.infer(feeds)
        assert groups_of(answer) == FIRST
        check(bundle, answer, feeds)
    cluster.processes["worker-2"].restart()
    soon(lambda: groups_of(service.infer(feeds)) == TOGETHER)
    cluster.processes["worker-1"].kill()
    answer = service.infer(feeds)
    assert groups_of(answer) == SECOND
    check(bundle, answer, feeds)


class Load:
    """Requests without a pause, from another thread."""

    def __init__(
        self, bundle: Bundle, service: Service, count: int, window: int | None = None
    ) -> None:
        self.inputs = [bundle.probe(seed) for seed in range(count)]
        self.answers: list[Answer] = []
        self.error: BaseException | None = None
        self._service = service
        self._window = window
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for answer in self._service.infer_many(self.inputs, window=self._window):
                self.answers.append(answer)
        except BaseException as error:
            self.error = error

    def after(self, count: int) -> None:
        soon(lambda: len(self.answers) >= count or not self._thread.is_alive(), 60)

    def check(self, bundle: Bundle) -> None:
        """Each request was answered once, rightly."""
        self._thread.join(60)
        assert self.error is None
        assert len(self.answers) == len(self.inputs)
        for answer, feeds in zip(self.answers, self.inputs, strict=True):
            check(bundle, answer, feeds)
        stats = self._service.stats()
        assert (stats.failed, stats.pending) == (0, 0)


@pytest.mark.parametrize("marks", [ALWAYS_TOGETHER, ALWAYS_APART], ids=["together", "apart"])
def test_a_worker_killed_under_load_costs_no_request_and_is_used_when_it_is_back(
    bundle: Bundle, cluster: LocalCluster, serve: Any, marks: dict[str, float]
) -> None:
    service = serve(**marks)
    load = Load(bundle, service, 1500)
    load.after(300)
    cluster.processes["worker-2"].kill()
    load.after(600)
    cluster.processes["worker-2"].restart()
    load.check(bundle)
    assert any("worker-2" in answer.plan for answer in load.answers[:300])
    soon(lambda: service.stats().devices["worker-2"].ready)


def test_the_mode_follows_the_load(bundle: Bundle, serve: Any) -> None:
    """One request at a time is answered together; many at once each for itself, and with calm
    the devices are together again."""
    service = serve(high_s=3e-4, low_s=1e-4, calm_s=0.1)
    feeds = bundle.probe()
    assert groups_of(service.infer(feeds)) == TOGETHER
    load = Load(bundle, service, 800, window=32)
    load.check(bundle)
    modes = [groups_of(answer) for answer in load.answers]
    assert {FIRST, SECOND} <= set(modes)
    soon(lambda: groups_of(service.infer(feeds)) == TOGETHER)
