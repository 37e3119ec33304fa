"""The bench of split: its systems, its rows, and what they are held to."""

import random

import numpy as np
import pytest
from tests.toys.network import ToyProfile

from shoal import zoo
from shoal.errors import FrameError, LabError, UsageError
from shoal.model.network import load
from shoal.plan.cluster import Cluster
from shoal.plan.playbook import validate
from shoal.plan.prove import run_plan
from shoal.strategies.images import open_folder
from shoal.strategies.split.calibrate import calibrate
from shoal.task import task_of
from shoal_benchmarks.split import (
    baselines,
    decisions,
    frames,
    grid,
    jumps,
    shapes,
    together,
    traces,
)
from shoal_benchmarks.split.driver import Told
from shoal_benchmarks.split.scene import Result, merged
from shoal_benchmarks.split.systems import (
    CLOUD_JPEG,
    CLOUD_RAW,
    DEVICE_ONLY,
    FIXED,
    NEUROSURGEON,
    NEUROSURGEON_BYTES,
    NEUROSURGEON_ZLIB,
    NEUROSURGEON_ZSTD,
    ORACLE,
    SPLIT,
    SPLIT_LOOSE,
    Bench,
)

CLUSTER = Cluster.from_yaml(
    "devices: [{name: server}]\ngateway: {name: device, compute: true, speed: 0.1}\n"
    "links: {default: {mbit_s: 2, rtt_ms: 2}}"
)


def result(images_per_s, bytes_per_image=1000.0, agreement=1.0):
    return Result(images_per_s, 1.0, 2.0, bytes_per_image, 3.0, 1.0, agreement, {})


NEUROSURGEONS = (NEUROSURGEON, NEUROSURGEON_BYTES, NEUROSURGEON_ZLIB, NEUROSURGEON_ZSTD)


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
    found = calibrate(network, images, task_of(network), 0.7, 0.95, cache=False)
    node_ms = (0.1,) * (len(network.nodes) - 2) + (10.0, 10.0)
    cases = [feeds for feeds, _ in images]
    bench = Bench(network, ToyProfile(node_ms, fixed_ms=0.1), found, cases, 0.7)
    return network, cases, bench.systems(CLUSTER, tried=2)


def test_every_system_is_a_playbook_that_answers(systems):
    network, cases, made = systems
    assert set(made) >= {DEVICE_ONLY, CLOUD_RAW, FIXED, SPLIT, *NEUROSURGEONS}
    assert sum(name.startswith(ORACLE) for name in made) == 2
    (expected,) = network.run(cases[0]).values()
    for name, system in made.items():
        validate(system.playbook)
        (found,) = run_plan(system.playbook.plans[0], system.parts, cases[0]).values()
        assert found.argmax() == expected.argmax(), name


def test_only_split_rounds_and_chooses(systems):
    _, _, made = systems
    for name in NEUROSURGEONS:
        assert all(plan.tolerance is not None for plan in made[name].playbook.plans)
        assert made[name].playbook.policy.name == "split"
    for name in (DEVICE_ONLY, CLOUD_RAW, FIXED):
        assert len(made[name].playbook.plans) == 1
        assert made[name].playbook.policy.name == "preferred"
    codecs = {s.codec for p in made[NEUROSURGEON].playbook.plans for s in p.stages}
    assert codecs == {"raw"}


def test_what_is_claimed_follows_from_the_grid():
    points = {
        (0.05, 1.0): {
            SPLIT: 50.0,
            SPLIT_LOOSE: 95.0,
            DEVICE_ONLY: 5.0,
            NEUROSURGEON: 10.0,
            CLOUD_JPEG: 100.0,
        },
        (0.2, 10.0): {SPLIT: 40.0, DEVICE_ONLY: 20.0, NEUROSURGEON: 40.0, f"{ORACLE}: x": 50.0},
    }
    made = {
        point: {
            name: result(
                rate,
                100_000.0 if name == NEUROSURGEON else 2000.0,
                0.95 if name == CLOUD_JPEG else 1.0,
            )
            for name, rate in at.items()
        }
        for point, at in points.items()
    }
    rows = {row.name: row for row in grid.claims(made)}
    assert rows["throughput over device only, best case"].value == 10.0
    assert rows["throughput over device only, best case"].met
    assert rows[f"throughput over {NEUROSURGEON}, best case"].value == 5.0
    assert rows[f"throughput over {NEUROSURGEON}, geometric mean"].value == pytest.approx(5**0.5)
    name = f"bytes of {NEUROSURGEON} over ours at the same point with >= 99 % agreement"
    assert rows[f"{name}, best case (5 % of a core, 1 Mbit/s)"].value == 50.0
    worst = "over the better of device only and cloud JPEG, worst"
    assert rows[f"throughput of {SPLIT} {worst}"].value == 0.5
    assert rows[f"throughput of {SPLIT_LOOSE} {worst}"].value == 0.95
    assert rows["throughput over device only, worst"].value == 2.0
    assert rows["throughput over the best fixed plan, worst"].value == 0.8
    assert not rows["throughput over the best fixed plan, worst"].met


def test_a_point_without_split_claims_nothing_and_hides_nothing():
    made = {(0.1, 1.0): {DEVICE_ONLY: result(5.0)}, (0.1, 2.0): {SPLIT: result(8.0)}}
    made[0.1, 2.0][DEVICE_ONLY] = result(4.0)
    rows = {row.name: row for row in grid.claims(made)}
    assert rows["throughput over device only, best case"].value == 2.0


def test_bytes_are_not_compared_where_split_sends_nothing():
    made = {(0.1, 1.0): {SPLIT: result(8.0, 50.0), NEUROSURGEON: result(8.0, 100_000.0)}}
    assert not any(row.name.startswith("bytes") for row in grid.claims(made))


def test_those_far_behind_the_best_are_measured_once():
    rates = {DEVICE_ONLY: 3.0, CLOUD_JPEG: 10.0, CLOUD_RAW: 7.5, SPLIT: 5.0}
    assert set(grid.close(rates)) == {CLOUD_JPEG, CLOUD_RAW, SPLIT}


def test_rounds_are_taken_together():
    first, second = result(4.0, 1000.0), result(8.0, 3000.0)
    assert merged([first, second]).images_per_s == 6.0
    assert merged([first, second]).bytes_per_image == 2000.0


def test_points_have_every_share_and_every_link():
    assert {share for share, _ in grid.POINTS} == {0.05, 0.1, 0.2}
    assert {mbit for _, mbit in grid.POINTS} == {1, 2, 5, 10, 20, 50, 100}


def test_a_lab_that_cannot_be_had_is_a_row():
    def broken():
        raise LabError("no room")
        yield

    ((_, name, why),) = grid._until_it_fails(broken())
    assert (name, why) == ("lab", "no room")
    assert grid.failed(name, why).met is False


def test_the_codec_of_the_baseline_is_exact_and_refuses_what_does_not_fit():
    codec = baselines.make_zlib("6")
    array = np.arange(500, dtype=np.float32).reshape(5, 100)
    data, meta = codec.encode(array)
    np.testing.assert_array_equal(
        codec.decode(memoryview(data), meta, array.dtype, array.shape), array
    )
    for broken, shape in ((data, (5, 99)), (data[:-9], (5, 100)), (b"x", (5, 100))):
        with pytest.raises(FrameError):
            codec.decode(memoryview(broken), meta, array.dtype, shape)
    with pytest.raises(UsageError):
        baselines.make_zlib("fast")


def test_an_image_as_float32_takes_four_times_the_bytes_and_comes_back_the_same():
    codec = baselines.make_wide("")
    image = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    data, meta = codec.encode(image)
    assert memoryview(data).nbytes == 4 * image.nbytes
    back = codec.decode(memoryview(data), meta, image.dtype, image.shape)
    np.testing.assert_array_equal(back, image)
    assert back.dtype == image.dtype
    with pytest.raises(FrameError):
        codec.decode(memoryview(data)[:-4], meta, image.dtype, image.shape)
    with pytest.raises(UsageError):
        baselines.make_wide("16")


def test_nothing_is_claimed_without_measurements():
    assert list(grid.claims({})) == []


def test_the_plan_of_a_bandwidth_is_a_good_one_for_it(systems):
    _, _, made = systems
    playbook = made[SPLIT].playbook
    slow, quick = jumps.good_plans(playbook, 0.01), jumps.good_plans(playbook, 1000.0)
    assert slow
    assert quick
    assert slow != quick


def test_what_the_answers_bear_is_told(monkeypatch):
    network, samples = load(zoo.path("fashion-resnet")), zoo.samples("fashion-resnet")
    images = [np.rint(255 * image[None]) for image in samples.images[:8]]
    name = network.inputs[0].name
    top1 = [int(next(iter(network.run({name: image}).values())).argmax()) for image in images]
    monkeypatch.setattr(frames, "NOISE", (0.0, 200.0))
    none, much = frames.noise(network, images, top1)
    assert none.value == 100.0
    assert much.value < 100.0


def test_with_several_images_in_a_request_each_is_compared_both_ways():
    several = together.TOGETHER
    rates = {
        DEVICE_ONLY: (4.0, 5.0),
        CLOUD_RAW: (20.0, 40.0),
        CLOUD_JPEG: (25.0, 50.0),
        NEUROSURGEON: (10.0, 20.0),
        SPLIT: (20.0, 60.0),
        SPLIT_LOOSE: (25.0, 60.0),
    }
    at = {
        (name, images): result(rate)
        for name, each in rates.items()
        for images, rate in zip((1, several), each, strict=True)
    }
    rows = {row.name: row for row in together.claims({(0.1, 10.0): at, (0.2, 5.0): at})}
    ours = f"split with {several} images in a request over"
    best = rows[f"{ours} {DEVICE_ONLY} with 1, best case"]
    assert (best.value, best.met) == (15.0, True)
    same = rows[f"{ours} {DEVICE_ONLY} with {several}, best case"]
    assert (same.value, same.met) == (12.0, None)
    assert rows[f"{ours} {NEUROSURGEON} with 1, geometric mean"].value == pytest.approx(6.0)
    assert next(row for name, row in rows.items() if name.endswith("worst")).value == 1.2
    assert not list(together.claims({}))


def test_a_single_good_request_after_a_jump_may_be_a_trial():
    assert jumps.arrived([False, True, False, True, True, True, False]) == 3
    assert jumps.arrived([True] * 3) == 0
    assert jumps.arrived([True, True]) == 2
    assert jumps.arrived([]) == 0


def test_on_a_trace_split_stands_beside_the_best_fixed_plan():
    means = {SPLIT: 50.0, DEVICE_ONLY: 100.0, f"{ORACLE}: a": 60.0, f"{ORACLE}: b": 45.0}
    rows = {row.name: row for row in traces.beside("walk", means)}
    assert rows["trace walk: latency of device only over that of split"].value == 2.0
    best = rows["trace walk: latency of the best fixed plan over that of split"]
    assert (best.value, best.met) == (0.9, False)
    assert not list(traces.beside("walk", {DEVICE_ONLY: 1.0}))


def test_lost_requests_take_no_time():
    told = tuple(Told(float(k), k + 0.5, "p", lost=k == 3) for k in range(5))
    assert traces.times_ms(told) == [500.0, 500.0]


def test_other_networks_are_rounded_without_a_promise_and_keep_few_cuts(monkeypatch):
    monkeypatch.setattr(shapes, "CUTS", 1)
    network = load(zoo.path("fashion-resnet"))
    cases = [{network.inputs[0].name: i[None]} for i in zoo.samples("fashion-resnet").images[:2]]
    node_ms = (0.1,) * (len(network.nodes) - 2) + (10.0, 10.0)
    costs = shapes.Costs.of(network, cases)
    assert costs.whole_ms > 0
    made = shapes.systems(network, ToyProfile(node_ms, fixed_ms=0.1), costs, CLUSTER)
    assert list(made) == [DEVICE_ONLY, CLOUD_RAW, NEUROSURGEON_BYTES, SPLIT]
    for name, system in made.items():
        validate(system.playbook)
        for plan in system.playbook.plans:
            (found,) = run_plan(plan, system.parts, cases[0]).values()
            assert np.isfinite(found).all(), name
    cut = {
        name: [plan for plan in system.playbook.plans if plan.name.startswith("cut")]
        for name, system in made.items()
    }
    assert len(cut[NEUROSURGEON_BYTES]) == len(cut[SPLIT]) == 1
    assert {plan.stages[0].codec for plan in cut[NEUROSURGEON_BYTES]} == {"raw"}
    assert {plan.stages[0].codec for plan in cut[SPLIT]} == {shapes.CODEC}
    assert {plan.forecast.accuracy for plan in cut[SPLIT]} == {0.0}
    assert all(plan.tolerance is None for plan in cut[SPLIT])


def test_what_failed_on_another_network_is_a_row_and_no_ratio():
    rates = {DEVICE_ONLY: 2.0, CLOUD_RAW: "no answer", NEUROSURGEON_BYTES: 4.0, SPLIT: 8.0}
    rows = {row.name: row for row in shapes.told("net", rates)}
    assert rows["net, split at 8 bits"].value == 8.0
    assert rows[f"net: split at 8 bits over {DEVICE_ONLY}"].value == 4.0
    assert rows[f"net: split at 8 bits over {NEUROSURGEON_BYTES}"].value == 2.0
    assert rows[f"net, {CLOUD_RAW}: not measured (no answer)"].met is False
    rows = [row.name for row in shapes.told("net", {**rates, SPLIT: "gone"})]
    assert not any("over" in name for name in rows)


def test_a_network_for_which_memory_is_missing_is_not_begun():
    shapes._check_memory(1)
    with pytest.raises(LabError, match="GiB of free memory"):
        shapes._check_memory(1 << 50)
