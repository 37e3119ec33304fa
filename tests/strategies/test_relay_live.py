"""``relay`` on real workers: what leaves early, what goes on, and one that is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.model import exit_nets
from tests.toys.network import ToyProfile

import shoal
from shoal.model.confidence import confidences
from shoal.model.network import Network, load
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.plan.objective import Objective
from shoal.plan.profiles import Profiles
from shoal.strategies.making import Candidate, build, finish, prepare
from shoal.strategies.relay.build import strategy
from shoal.strategies.relay.options import RelayOptions

pytestmark = pytest.mark.system

COUNT = 40


@contextmanager
def serving(network: Network, folder: Path, thresholds: str) -> Iterator[tuple[Any, Any]]:
    with shoal.local_cluster(3) as workers:
        cluster = Cluster(**{name: getattr(workers, name) for name in Cluster.__struct_fields__})
        profiles = Profiles.scaled(cluster, ToyProfile((1.0,) * len(network.nodes)))
        candidate = Candidate(strategy, RelayOptions(thresholds=thresholds))
        offered = prepare([candidate], network, cluster, Objective())
        (made,) = build(offered, network, cluster, profiles, Objective())
        store = PartStore(folder / "store")
        playbook = finish(made, network, store).playbook
        with shoal.deploy(playbook, cluster, store=store, wait_s=30) as service:
            yield service, workers


def images() -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    return [{"x": random.random((1, 3, 8, 8), np.float32)} for _ in range(COUNT)]


@pytest.mark.parametrize(("thresholds", "tasks", "tensor"), [("0,0", 1, "early"), ("2,2", 3, "y")])
def test_all_leave_at_the_first_exit_or_none_before_the_end(
    tmp_path: Path, thresholds: str, tasks: int, tensor: str
) -> None:
    network = load(exit_nets.with_exits())
    (whole,) = network.with_exits.split((), prove=False)
    with serving(network, tmp_path, thresholds) as (service, _):
        for feeds in images()[:5]:
            answer = service.infer(feeds)
            assert len(answer.trace) == tasks
            expected = whole.run(feeds)[tensor]
            np.testing.assert_allclose(answer.outputs["y"], expected, rtol=1e-4, atol=1e-5)


def test_what_an_exit_said_travels_to_the_next(tmp_path: Path) -> None:
    """Of some images both exits are as sure as the later one asks for, of others they are not."""
    network = load(exit_nets.agreeing())
    (whole,) = network.with_exits.split((), prove=False)
    made = [whole.run(feeds) for feeds in images()]
    sure = [float(confidences(each["second"], "agreement", 1.0)[0]) for each in made]
    threshold = float(np.median(sure))
    with serving(network, tmp_path, f"2,{threshold}") as (service, _):
        for feeds, expected, each in zip(images(), made, sure, strict=True):
            answer = service.infer(feeds)
            assert abs(each - threshold) < 1e-5 or len(answer.trace) == 3 - (each > threshold)
            tensor = "y" if len(answer.trace) == 3 else "second"
            np.testing.assert_allclose(answer.outputs["y"], expected[tensor], rtol=1e-4, atol=1e-5)
    assert min(sure) < threshold < max(sure)


@pytest.mark.parametrize("file", [exit_nets.with_exits, exit_nets.agreeing])
def test_a_device_that_dies_loses_nothing(tmp_path: Path, file: Callable[[], bytes]) -> None:
    network = load(file())
    with serving(network, tmp_path, "2,2") as (service, workers):
        asked = [service.submit(feeds) for feeds in images()]
        workers.processes["worker-2"].kill()
        answers = [future.result(60) for future in asked]
        for feeds, answer in zip(images(), answers, strict=True):
            (expected,) = network.run(feeds).values()
            np.testing.assert_allclose(answer.outputs["y"], expected, rtol=1e-4, atol=1e-5)
        used = {step.device for feeds in images() for step in service.infer(feeds).trace}
        assert used <= {"worker-1", "worker-3"}
