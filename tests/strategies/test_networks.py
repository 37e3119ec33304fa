"""Strategies on real networks: every plan of every playbook gives the network's answer."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.toys.network import ToyProfile

from shoal import zoo
from shoal.model.network import load
from shoal.plan.cluster import Cluster
from shoal.plan.playbook import load as load_playbook
from shoal.plan.playbook import plan_without, save
from shoal.plan.profiles import Profiles
from shoal.plan.prove import prove, run_plan
from shoal.strategies.making import make

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
CLUSTER = Cluster.from_yaml(
    "devices: [{name: a}, {name: b, speed: 2}, {name: c}]\nlinks: {default: {rtt_ms: 0.1}}"
)


@pytest.fixture(scope="module", params=["fashion-resnet", "light_squeezenet", "light_shufflenet"])
def network(request):
    name = request.param
    path = LIGHT / f"{name}.onnx" if name.startswith("light") else zoo.path(name)
    return load(path)


def facts(network):
    """Every node takes a millisecond, so that plans do not depend on this machine."""
    return Profiles.scaled(CLUSTER, ToyProfile((1.0,) * len(network.nodes), fixed_ms=0.1))


@pytest.mark.parametrize("strategy", ["local", "remote", "replicas", "pipeline"])
def test_every_plan_gives_the_networks_answer(network, strategy):
    built = make(strategy, network, CLUSTER, facts(network))
    found = prove(built.playbook, built.parts, network, seeds=(1,))
    assert max(found.values()) <= 1e-4
    assert set(built.parts) == set(built.playbook.parts)


def test_a_pipeline_is_cut_survives_and_is_the_same_from_its_file(network, tmp_path):
    built = make("pipeline", network, CLUSTER, facts(network), stages=3)
    assert len(built.playbook.plans[0].stages) == 3
    assert all(plan_without(built.playbook, name) for name in CLUSTER.names)
    save(built.playbook, tmp_path / "book.json")
    playbook = load_playbook(tmp_path / "book.json")
    assert playbook == built.playbook
    feeds = network.probe(7)
    (output,) = network.run(feeds).values()
    (found,) = run_plan(playbook.plans[0], built.parts, feeds).values()
    assert np.allclose(found, output, atol=1e-4 * np.abs(output).max())
