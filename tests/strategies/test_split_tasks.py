"""Split promises what a network is for: a detector its boxes."""

from __future__ import annotations

import logging

import msgspec
import numpy as np
import pytest
from tests.model.nets import model, node, random, tensor
from tests.task.nets import detector, pictures
from tests.toys.network import ToyProfile

from shoal.errors import DataError, PlanError, ProofError
from shoal.model.network import load
from shoal.plan.cluster import Cluster
from shoal.plan.objective import Objective
from shoal.plan.plan import Playbook
from shoal.plan.profiles import Profiles
from shoal.strategies.images import open_folder
from shoal.strategies.making import make
from shoal.strategies.split import prepare as preparing
from shoal.strategies.split.build import strategy
from shoal.strategies.split.calibrate import calibrate
from shoal.strategies.split.calibration import Outcome
from shoal.strategies.split.prepare import SplitOptions
from shoal.strategies.split.proof import APART, _check
from shoal.task import guess, task_of
from shoal.task.agreement import Agreement

COUNT, EMPTY = 60, 6
CLUSTER = Cluster.from_yaml("""
devices: [{name: server, speed: 4}]
gateway: {name: cam, compute: true}
links: {default: {mbit_s: 2, rtt_ms: 2}}
""")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def network():
    return load(detector(), name="finder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    np.save(root / "some.npy", pictures(COUNT, empty=EMPTY))
    return root


def built(network, folder, **limits):
    node_ms = [0.1] * len(network.nodes)
    node_ms[network.nodes.index(max(network.nodes, key=lambda node: node.op == "MatMul"))] = 20.0
    profiles = Profiles.scaled(CLUSTER, ToyProfile(tuple(node_ms), 0.1))
    wish = Objective(**{"min_accuracy": 0.6, **limits})
    return make("split", network, CLUSTER, profiles, wish, calibrate=str(folder))


def test_a_detector_is_told_by_its_graph(network):
    assert guess(network).name == "detector"


def test_a_calibration_of_a_detector_counts_boxes_where_there_are_some(network, folder):
    images = open_folder(folder, network.inputs)
    found = calibrate(network, images, task_of(network), 0.6, 0.95)
    assert (found.count, found.counted) == (COUNT, COUNT - EMPTY)
    assert found.measured == "boxes (F1 at IoU 0.5)"
    assert found.first == tuple(range(EMPTY, EMPTY + 4)), "those that show something"
    rounded = [entry for entry in found.entries if not entry.exact]
    assert any(entry.good != round(entry.good) for entry in rounded), "scores are graded"
    for entry in rounded:
        assert COUNT - EMPTY <= entry.images <= COUNT
        assert 0.6 <= entry.accuracy(0.95) <= 1
        assert len(entry.first) == 4


def test_the_promise_says_what_was_measured(network, folder):
    made = built(network, folder)
    assert any(plan.tolerance is None for plan in made.playbook.plans)
    words = (
        "at least 0.6 of the whole network's boxes (F1 at IoU 0.5), measured on 54 of 60 images "
        "(that show something), sure to 95 %"
    )
    assert any(words in note for note in made.notes)
    explained = strategy.explain(made.playbook, SplitOptions())
    assert "boxes (F1 at IoU 0.5), measured on 54 of 60 images" in explained.notes[0]
    assert explained.data["promised"].counted == 54
    assert msgspec.json.decode(msgspec.json.encode(made.playbook), type=Playbook)


def test_rounded_plans_keep_the_boxes_of_other_images(network, folder):
    """As they are served: what is promised holds on images that were not calibrated on."""
    from shoal.codec.frame import pack, unpack
    from shoal.plan.prove import run_plan

    made = built(network, folder)
    task = task_of(network)
    plans = [p for p in made.playbook.plans if p.tolerance is None and len(p.stages) > 1]
    assert plans
    scores: list[float] = []
    for image in pictures(80, seed=9):
        feeds = {"x": image[None]}
        found = run_plan(plans[0], made.parts, unpack(pack(feeds, plans[0].codec)))
        score = task.compare(network.run(feeds), found).score
        scores += [] if score is None else [score]
    assert np.mean(scores) >= plans[0].forecast.accuracy - 0.1


def test_images_without_one_detection_are_refused(network, tmp_path):
    np.save(tmp_path / "some.npy", pictures(20, empty=20))
    with pytest.raises(DataError, match=r"finds nothing in any of the 20 images \(boxes"):
        built(network, tmp_path)


def test_folders_are_no_labels_of_a_detector(network, tmp_path, caplog):
    for name, images in (("7", pictures(20)), ("8", pictures(20, seed=1))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "some.npy", images)
    with caplog.at_level(logging.WARNING, "shoal"):
        made = built(network, tmp_path)
    assert "the folders of the images are no classes here" in caplog.text
    assert any("measured on 40 images" in note for note in made.notes)


def test_another_task_is_another_calibration(network, folder, tmp_path):
    images = open_folder(folder, network.inputs)
    file = tmp_path / "own.py"
    file.write_text(
        "def alike(whole, found):\n    return float(abs(whole['y'] - found['y']).max() < 1)"
    )
    for task in (task_of(network), task_of(network, agreement=f"{file}:alike")):
        made = calibrate(network, images, task, 0.6, 0.95)
        assert made.measured == task.measured
        assert calibrate(network, images, task, 0.6, 0.95) == made


def test_a_function_of_ones_own_is_promised_by_its_name(network, folder, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "def alike(whole, found):\n    return float(abs(whole['y'] - found['y']).max() < 1)\n"
    )
    made = built(network, folder, agreement=f"{file}:alike")
    assert any("answers (by own.py:alike), measured on 60 images" in each for each in made.notes)


def test_a_function_that_raises_ends_it(network, folder, tmp_path):
    file = tmp_path / "own.py"
    file.write_text("def alike(whole, found):\n    return whole['nothing']\n")
    with pytest.raises(DataError, match=r"own\.py:alike raised KeyError: 'nothing'; mend it"):
        built(network, folder, agreement=f"{file}:alike")


def test_what_is_not_clear_is_asked_and_not_promised(folder, tmp_path):
    unclear = load(
        model(
            [node("Conv", "x w", "r"), node("Tanh", "r", "y")],
            [tensor("x", ["n", 3, 32, 32])],
            ["y"],
            {"w": random(3, 3, 3, 3)},
        ),
        name="painter",
    )
    with pytest.raises(PlanError, match=r"not clear what 'painter' is for.*--task classifier, "):
        built(unclear, folder)
    assert built(unclear, folder, task="embedding").playbook
    with pytest.raises(PlanError, match="no row of scores"):
        built(unclear, folder, task="classifier")


def test_a_plan_that_finds_other_boxes_than_then_is_refused(network, folder, monkeypatch):
    real = preparing.calibrate

    def spoilt(*args):
        found = real(*args)
        entries = tuple(
            msgspec.structs.replace(
                entry, first=tuple(Outcome(each.score, each.apart + 0.1) for each in entry.first)
            )
            for entry in found.entries
        )
        return msgspec.structs.replace(found, entries=entries)

    monkeypatch.setattr(preparing, "calibrate", spoilt)
    with pytest.raises(ProofError, match="calibrate again"):
        built(network, folder)


@pytest.mark.parametrize(
    ("off", "smooth", "refused"),
    [(0, True, False), (1, True, True), (0, False, False), (1, False, False), (2, False, True)],
)
def test_one_of_four_may_lie_at_an_edge_where_things_are_counted(
    network, folder, off, smooth, refused
):
    plan = built(network, folder).playbook.plans[0]
    then = [Outcome(1.0, 0.1)] * 4
    found = [Agreement(1.0, 0.1 + (3 * APART if k < off else APART / 2)) for k in range(4)]
    if not refused:
        _check(plan, found, then, smooth)
        return
    with pytest.raises(ProofError, match="calibrate again"):
        _check(plan, found, then, smooth)
