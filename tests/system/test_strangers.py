"""Nodes that are in nobody's cluster file, beside a cluster of real processes."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from tests.runtime import tiny
from tests.runtime.tiny import anywhere, images

import shoal
from shoal.mesh import patience
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster
from shoal.runtime.survey import survey

pytestmark = pytest.mark.system

STRANGER = """
import sys
from shoal.mesh.events import PeerUp
from shoal.mesh.zenoh import ZenohLink
# It cannot be called, and calls nobody that it only hears of.
link = ZenohLink("stranger", [], sys.argv[1:], settings={"scouting/gossip/enabled": False})
def sink(event):
    if isinstance(event, PeerUp):
        print(event.name, flush=True)
    return True
link.start(sink)
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


@pytest.fixture
def hasty(monkeypatch) -> None:
    """The mesh is joined anew soon, where there is a reason."""
    monkeypatch.setattr(patience, "PATIENCE_S", 1.0)


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
        assert process.stdout.readline() == "worker-1\n"
        yield
        process.kill()


def test_a_survey_is_not_disturbed_by_a_node_that_only_a_listed_device_sees(
    net, cluster, tmp_path, hasty, monkeypatch, caplog
):
    """It was: the mesh was joined anew, and what was being measured then was lost."""
    monkeypatch.setattr("shoal.runtime.survey.BATCH_S", 1.5)  # long enough to be disturbed
    with stranger(cluster.devices[0].address):
        found = survey(net, cluster, store=PartStore(tmp_path / "store"))
    assert caplog.text == ""
    for name in cluster.names:
        assert found.profiles.device(name).network.speed < 700  # as measured, not as stated


def test_a_service_is_not_disturbed_either(net, cluster, tmp_path, hasty, caplog):
    """Not even when it has nothing to do."""
    store = tiny.fill(PartStore(tmp_path / "store"), net)
    with (
        stranger(cluster.devices[0].address),
        shoal.deploy(anywhere(net, "worker-1", "worker-2"), cluster, store=store) as service,
    ):
        life = service.node.link.incarnation
        time.sleep(4.0)
        assert "stranger" not in service.node.link.peers()
        assert service.infer(images(1, width=1024)[0]).attempts == 1
        assert service.node.link.incarnation == life
    assert caplog.text == ""
