"""Split on a real worker: rounded answers, and what becomes of requests when the server is gone."""

import numpy as np
import pytest
from tests.toys.network import ToyProfile

import shoal
from shoal import zoo
from shoal.model.network import load
from shoal.model.store import PartStore
from shoal.plan.cluster import Cluster, Gateway
from shoal.plan.objective import Aim, Objective
from shoal.plan.profiles import Profiles

pytestmark = pytest.mark.system

COUNT = 30


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A worker, the network, its store, and a playbook whose best plans cross the link rounded."""
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path / "cache"))
    network = load(zoo.path("fashion-resnet"))
    images = tmp_path / "images"
    images.mkdir()
    np.save(images / "some.npy", zoo.samples("fashion-resnet").images[:COUNT])
    with shoal.local_cluster(1) as workers:
        fields = {name: getattr(workers, name) for name in Cluster.__struct_fields__}
        device = Gateway(host="here", compute=True, speed=0.001)
        cluster = Cluster(**{**fields, "gateway": device})
        profile = ToyProfile((0.01,) * (len(network.nodes) - 2) + (1.0, 1.0))
        playbook = shoal.plan(
            network,
            cluster,
            "split",
            Objective(aims=(Aim.LATENCY,), min_accuracy=0.7),
            profiles=Profiles.scaled(cluster, profile),
            store=PartStore(tmp_path / "store"),
            calibrate=str(images),
        )
        yield network, workers, cluster, playbook, PartStore(tmp_path / "store")


def test_plans_that_cross_the_link_answer_and_the_device_does_when_the_server_is_gone(scene):
    network, workers, cluster, playbook, store = scene
    # No plan is given up because a busy machine makes it slow: only the server's loss counts.
    settings = {**playbook.policy.settings, "aims": ["server-cost"], "limits": []}
    rounded = [plan for plan in playbook.plans if plan.tolerance is None]
    assert rounded
    samples = zoo.samples("fashion-resnet")
    for plan in (rounded[0], playbook.plan("image, raw")):
        only = one_plan(playbook, plan, settings)
        with shoal.deploy(only, cluster, store=store, wait_s=30) as service:
            agreed = 0
            for number in range(COUNT):
                answer = service.infer(samples.feed(number))
                (expected,) = network.run(samples.feed(number)).values()
                (found,) = answer.outputs.values()
                assert answer.plan == plan.name
                agreed += found.argmax() == expected.argmax()
            assert agreed >= COUNT * plan.forecast.accuracy
    with shoal.deploy(playbook, cluster, store=store, wait_s=30) as service:
        service.infer(samples.feed(0))
        asked = [service.submit(samples.feed(number)) for number in range(COUNT)]
        workers.processes["worker-1"].kill()
        answers = [future.result(60) for future in asked]
        assert len(answers) == COUNT
        last = service.infer(samples.feed(1))
        assert {stage.device for stage in last.trace} == {"gateway"}


def one_plan(playbook, plan, settings):
    """The playbook with one plan, and the policy with nothing else to choose."""
    from shoal.plan.plan import PolicySpec
    from shoal.plan.playbook import make_playbook

    return make_playbook(
        network=playbook.network,
        strategy="split",
        policy=PolicySpec("split", settings),
        plans=[plan],
        parts=playbook.parts,
        inputs=playbook.inputs,
        outputs=playbook.outputs,
    )
