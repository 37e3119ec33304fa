"""The bench of split: its systems, its rows, and what they are held to."""

import random

import numpy as np
import pytest
from tests.toys.network import ToyProfile

from shoal import zoo
from shoal.bench.split import decisions, grid, jumps
from shoal.bench.split.scene import Result
from shoal.bench.split.systems import (
    CLOUD_JPEG,
    CLOUD_RAW,
    DEVICE_ONLY,
    FIXED,
    NEUROSURGEON,
    NEUROSURGEON_ZSTD,
    ORACLE,
    SPLIT,
    Bench,
)
from shoal.model.network import load
from shoal.plan.cluster import Cluster
from shoal.plan.playbook import validate
from shoal.plan.prove import run_plan
from shoal.strategies.split.calibrate import calibrate
from shoal.strategies.split.images import open_folder

CLUSTER = Cluster.from_yaml(
    "devices: [{name: server}]\ngateway: {name: device, compute: true, speed: 0.1}\n"
    "links: {default: {mbit_s: 2, rtt_ms: 2}}"
)


def result(images_per_s, bytes_per_image=1000.0, agreement=1.0):
    return Result(images_per_s, 1.0, 2.0, bytes_per_image, 1.0, agreement, {})


def test_a_decision_is_timed_among_so_many_plans():
    playbook = decisions.random_playbook(random.Random(1), ["a", "b"], 50)
    validate_names = {plan.name for plan in playbook.plans}
    assert len(validate_names) == 50
    times = decisions._times(2, 30)
    assert len(times.values) == 20
    assert min(times.values) >= 0


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    network = load(zoo.path("fashion-resnet"))
    samples = zoo.samples("fashion-resnet")
    folder = tmp_path_factory.mktemp("images")
    np.save(folder / "some.npy", samples.images[:20])
    images = open_folder(folder, network.inputs)
    found = calibrate(network, images, 0.7, 0.95, cache=False)
    node_ms = (0.1,) * (len(network.nodes) - 2) + (10.0, 10.0)
    cases = [feeds for feeds, _ in images]
    bench = Bench(network, ToyProfile(node_ms, fixed_ms=0.1), found, cases, 0.7)
    return network, cases, bench.systems(CLUSTER, tried=2)


def test_every_system_is_a_playbook_that_answers(systems):
    network, cases, made = systems
    assert set(made) >= {DEVICE_ONLY, CLOUD_RAW, NEUROSURGEON, NEUROSURGEON_ZSTD, FIXED, SPLIT}
    assert sum(name.startswith(ORACLE) for name in made) == 2
    (expected,) = network.run(cases[0]).values()
    for name, system in made.items():
        validate(system.playbook)
        (found,) = run_plan(system.playbook.plans[0], system.parts, cases[0]).values()
        assert found.argmax() == expected.argmax(), name


def test_only_split_rounds_and_chooses(systems):
    _, _, made = systems
    for name in (NEUROSURGEON, NEUROSURGEON_ZSTD):
        assert all(plan.tolerance is not None for plan in made[name].playbook.plans)
        assert made[name].playbook.policy.name == "split"
    for name in (DEVICE_ONLY, CLOUD_RAW, FIXED):
        assert len(made[name].playbook.plans) == 1
        assert made[name].playbook.policy.name == "preferred"
    codecs = {s.codec for p in made[NEUROSURGEON].playbook.plans for s in p.stages}
    assert codecs == {"raw"}


def test_what_is_claimed_follows_from_the_grid():
    points = {
        (0.05, 1.0): {SPLIT: 50.0, DEVICE_ONLY: 5.0, NEUROSURGEON: 10.0, CLOUD_JPEG: 100.0},
        (0.2, 10.0): {SPLIT: 40.0, DEVICE_ONLY: 20.0, NEUROSURGEON: 40.0, f"{ORACLE}: x": 50.0},
    }
    made = {
        point: {
            name: result(
                rate,
                100_000.0 if name == NEUROSURGEON else 1000.0,
                0.95 if name == CLOUD_JPEG else 1.0,
            )
            for name, rate in at.items()
        }
        for point, at in points.items()
    }
    rows = {row.name: row for row in grid.claims(made)}
    assert rows["throughput over device only, best case"].value == 10.0
    assert rows["throughput over device only, best case"].met
    assert rows["throughput over Neurosurgeon, best case"].value == 5.0
    assert rows["throughput over Neurosurgeon, geometric mean"].value == pytest.approx(5**0.5)
    assert rows["bytes of Neurosurgeon over ours, best case"].value == 100.0
    worst = "throughput over the better of device only and cloud JPEG"
    assert rows[f"{worst}, worst"].value == 0.5
    assert rows[f"{worst} where 98 % agree, worst"].value == 2.0
    assert rows["throughput over the best fixed plan, worst"].value == 0.8
    assert not rows["throughput over the best fixed plan, worst"].met


def test_nothing_is_claimed_without_measurements():
    assert list(grid.claims({})) == []


def test_the_plan_of_a_bandwidth_is_a_good_one_for_it(systems):
    _, _, made = systems
    playbook = made[SPLIT].playbook
    slow, quick = jumps.good_plans(playbook, 0.01), jumps.good_plans(playbook, 1000.0)
    assert slow
    assert quick
    assert slow != quick
