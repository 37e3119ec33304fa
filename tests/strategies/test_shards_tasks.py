"""Shards promise what a network is for: a detector its boxes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.model.nets import model, node, random, tensor
from tests.task.nets import detector, pictures
from tests.toys.network import ToyProfile

from shoal.errors import DataError, PlanError
from shoal.model.network import Network, load
from shoal.plan.cluster import Cluster
from shoal.plan.objective import Objective
from shoal.plan.profiles import Profiles
from shoal.plan.prove import run_plan
from shoal.strategies.base import Built
from shoal.strategies.making import make
from shoal.strategies.shards.build import strategy
from shoal.strategies.shards.prepare import ShardOptions, judged
from shoal.strategies.shards.record import read_record
from shoal.task import task_of

COUNT, EMPTY = 120, 12
THREE = Cluster.from_yaml("devices: [{name: a}, {name: b}, {name: c}]")


@pytest.fixture(scope="module")
def network():
    return load(detector(width=12), name="finder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    np.save(root / "some.npy", pictures(COUNT, empty=EMPTY))
    return root


def built(network: Network, folder, **limits) -> Built:
    profiles = Profiles.scaled(THREE, ToyProfile((5.0,) * len(network.nodes), 0.1))
    wish = Objective(**{"survive": 1, "min_accuracy": 0.2, **limits})
    options = {"calibrate": str(folder), "rho": "0", "deal": "all", "repair": "0"}
    return make("shards", network, THREE, profiles, wish, **options)


def test_what_is_kept_of_a_detector_are_its_boxes(network, folder):
    made = built(network, folder, min_accuracy=0.0)
    stands = read_record(made.playbook).stands
    assert stands.measured == "boxes (F1 at IoU 0.5)"
    assert 0 < stands.counted < stands.images == COUNT // 2
    words = f"boxes (F1 at IoU 0.5), measured on {stands.counted} of {stands.images} images"
    assert words in made.notes[0]
    assert words in " ".join(strategy.explain(made.playbook, ShardOptions()).notes)
    plan = made.playbook.plans[0]
    kept = {each.devices: each.accuracy for each in plan.forecast.missing}
    assert min(kept.values()) < 0.9, "without who holds a colour its boxes are not found"
    task, others = task_of(network), pictures(60, seed=5)
    for (name,), sure in kept.items():
        scores = []
        for image in others:
            feeds = {"x": image[None]}
            found = run_plan(plan, made.parts, feeds, absent=(name,))
            scores.append(task.compare(network.run(feeds), found).score)
        assert np.mean([each for each in scores if each is not None]) >= sure - 0.1


def test_images_run_together_are_judged_as_if_alone(network):
    images = pictures(40, empty=2)
    together = judged(network, task_of(network), images)
    assert [judge.says for judge in together] == [False] * 2 + [True] * 38
    for judge, image in zip(together, images, strict=True):
        score = judge.agreement(network.run({"x": image[None]})).score
        assert score == (1.0 if judge.says else None)


def test_images_without_one_detection_are_refused(network, tmp_path):
    np.save(tmp_path / "some.npy", pictures(20, empty=20))
    with pytest.raises(DataError, match=r"finds nothing in any of the 20 images \(boxes"):
        built(network, tmp_path)


def test_what_is_not_clear_is_asked_and_not_promised(folder):
    nodes = [node("Conv", "x w", "r"), node("Tanh", "r", "t"), node("Conv", "t v", "y")]
    weights = {"w": random(12, 3, 3, 3), "v": random(3, 12, 3, 3) / 10}
    painter = load(model(nodes, [tensor("x", ["n", 3, 32, 32])], ["y"], weights), name="painter")
    with pytest.raises(PlanError, match=r"not clear what 'painter' is for.*--task classifier, "):
        built(painter, folder)
    notes = built(painter, folder, task="embedding", min_accuracy=0.0).notes
    assert "embeddings (cosine), measured on 60 images" in notes[0]
