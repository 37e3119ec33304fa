"""Nodes that are in nobody's cluster file, beside a cluster of real processes."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from tests.runtime import tiny
from tests.runtime.tiny import anywhere, images, soon

import shoal
from shoal.mesh.watchdog import Watchdog
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.runtime.survey import survey

pytestmark = pytest.mark.system

STRANGER = """
import sys
from shoal.mesh.zenoh import ZenohLink
# It cannot be called, and calls nobody that it only hears of.
link = ZenohLink("stranger", [], sys.argv[1:], settings={"scouting/gossip/enabled": False})
link.start(lambda event: True)
print("ready", flush=True)
sys.stdin.read()
link.close()
"""


@pytest.fixture
def net():
    return tiny.network(layers=6, width=1024)  # 1,000 runs take seconds


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with shoal.local_cluster(2, speeds={"worker-1": 777.0, "worker-2": 777.0}) as cluster:
        yield cluster


@contextlib.contextmanager
def stranger(address: str) -> Iterator[None]:
    """A node that only the one at this address sees."""
    process = subprocess.Popen(
        [sys.executable, "-c", STRANGER, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
        process.kill()


@pytest.fixture
def seen(monkeypatch) -> dict[str, set[str]]:
    """Whom each node says to see, as this process hears it."""
    heard, seen = Watchdog.heard, {}

    def hear(self, name, incarnation, sees, now):
        seen.setdefault(name, set()).update(sees)
        heard(self, name, incarnation, sees, now)

    monkeypatch.setattr(Watchdog, "heard", hear)
    return seen


def test_a_survey_is_not_disturbed_by_a_node_that_only_a_listed_device_sees(
    net, cluster, tmp_path, monkeypatch, caplog, seen
):
    """It was: the session was opened anew, and what was being measured then was lost."""
    monkeypatch.setattr("shoal.mesh.watchdog.PATIENCE_S", 1.5)
    monkeypatch.setattr("shoal.runtime.survey.BATCH_S", 1.5)  # long enough to be disturbed
    with stranger(cluster.devices[0].address):
        found = survey(net, cluster, store=PartStore(tmp_path / "store"))
    assert "stranger" in seen["worker-1"]
    assert "stranger" not in seen["worker-2"]
    assert caplog.text == ""
    for name in cluster.names:
        assert found.profiles.device(name).network.speed < 700  # as measured, not as stated


def test_a_service_is_not_disturbed_either(net, cluster, tmp_path, monkeypatch, caplog, seen):
    """Not even when it has nothing to do."""
    monkeypatch.setattr("shoal.mesh.watchdog.PATIENCE_S", 1.5)
    store = tiny.fill(PartStore(tmp_path / "store"), net)
    with (
        stranger(cluster.devices[0].address),
        shoal.deploy(anywhere(net, "worker-1", "worker-2"), cluster, store=store) as service,
    ):
        life = service.node.link.incarnation
        soon(lambda: "stranger" in seen.get("worker-1", ()))
        time.sleep(6.0)
        assert service.infer(images(1, width=1024)[0]).attempts == 1
        assert service.node.link.incarnation == life
    assert caplog.text == ""
