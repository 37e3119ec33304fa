"""The shards bench: subjects that others trained, promises, memory, energy, and the simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.model.shards.families import residual
from tests.toys.network import ToyProfile

from shoal import zoo
from shoal.model.network import Network, load
from shoal.plan.objective import Objective
from shoal.plan.plan import Missing, Playbook, PolicySpec
from shoal.plan.profiles import Profiles
from shoal.sim.faults import Freeze, Kill
from shoal.sim.handling import FREE
from shoal.strategies.base import Built
from shoal.strategies.making import make
from shoal.strategies.shards.failures import Kept, Sample
from shoal.strategies.shards.prepare import judged
from shoal.strategies.shards.record import Record, Step
from shoal.task import task_of
from shoal_benchmarks.node.agreement import Case
from shoal_benchmarks.node.equals import GATE, Ground
from shoal_benchmarks.node.gauge import Gauged
from shoal_benchmarks.shards import lab, memory, promised, simulated, texts
from shoal_benchmarks.shards.layouts import ground_for, weight_bytes
from shoal_benchmarks.shards.subjects import Subject
from shoal_benchmarks.split.driver import Told, moments
from shoal_benchmarks.subjects import FASHION, TEXT_SHAPE

# -- lines of text


def test_lines_are_the_same_again_and_half_of_them_on_their_head() -> None:
    images, labels = texts.lines(range(60))
    again, told = texts.lines(range(60))
    assert images.shape == (60, *TEXT_SHAPE)
    assert np.array_equal(images, again)
    assert labels == told
    assert 20 < sum(labels) < 40
    assert np.abs(images).max() < 1 + 12 * texts.NOISE
    assert len({image.tobytes() for image in images}) == 60


def test_a_line_on_its_head_is_turned_by_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first pixels are those that are last when it stands upright."""
    monkeypatch.setattr(texts, "NOISE", 0.0)
    monkeypatch.setattr(texts, "WORDS", (1, 2))
    monkeypatch.setattr(texts, "LENGTHS", (2, 3))  # short enough to be there as a whole
    seed = next(seed for seed in range(99) if texts.line(seed)[1])
    turned, _ = texts.line(seed)
    drawn = texts._drawn
    monkeypatch.setattr(
        texts, "_drawn", lambda d, b: drawn(d, b) * 0 if b == (0, 2) else drawn(d, b)
    )
    upright, label = texts.line(seed)
    assert label == 0
    width = int(np.flatnonzero(np.abs(upright).sum(axis=(0, 1)))[-1]) + 1
    assert turned[:, :, :width] == pytest.approx(upright[:, ::-1, width - 1 :: -1], abs=0.02)


# -- what is promised


@pytest.fixture(scope="module")
def subject() -> Subject:
    network, shown = load(zoo.path(FASHION)), zoo.samples(FASHION)
    judges = judged(network, task_of(network), shown.images)
    whole = Sample(shown.images, tuple(shown.labels.tolist()), judges)
    return Subject(FASHION, network, *whole.halves(250))


def test_images_lie_in_folders_of_their_class(subject: Subject, tmp_path: Path) -> None:
    promised.write(subject.calibration, tmp_path)
    counts = {int(each.name): len(np.load(each / "images.npy")) for each in tmp_path.iterdir()}
    labels = list(subject.calibration.labels or ())
    assert counts == {label: labels.count(label) for label in set(labels)}


@pytest.mark.parametrize("fill", promised.FILLS)
def test_each_set_that_may_be_lost_is_tried_as_it_is_served(
    subject: Subject, tmp_path: Path, fill: str
) -> None:
    promised.write(subject.calibration, tmp_path / "images")
    ground = ground_for(subject.network, 3)
    built = make(
        "shards",
        subject.network,
        ground.cluster,
        ground.profiles,
        Objective(min_accuracy=0.1, survive=1),
        calibrate=str(tmp_path / "images"),
        fill=fill,
        deal="all",
        rho=0.5,
        repair="0",
    )
    found = list(promised.held(built, subject, subject.test))
    assert [each.lost for each in found] == [(name,) for name in ground.devices]
    first, *others = built.playbook.plans
    if fill == "rebuilt":
        stated = {first.devices - plan.devices: plan.forecast.accuracy for plan in others}
        assert [each.promised for each in found] == [stated[frozenset(e.lost)] for e in found]
    else:
        missing = first.forecast.missing
        assert [Missing(each.lost, each.promised) for each in found] == list(missing)
    assert all(0.5 < each.kept.share < 1 for each in found)


def test_a_promise_is_broken_by_any_set() -> None:
    kept = {("a",): 95, ("b",): 99, ("a", "b"): 91}
    found = [promised.Held(lost, 0.92, Kept(good, 100)) for lost, good in kept.items()]
    rows = {row.name.removeprefix("net"): row for row in promised.held_rows("net", found)}
    assert rows[", without a: kept"].met
    assert not rows[", without a+b: kept"].met
    worst = rows[": kept, worst pair"]
    assert (worst.value, worst.met) == (0.91, True)
    least = rows[": kept beyond what is promised, least"]
    assert (least.value, least.met) == (pytest.approx(-0.01), False)


# -- memory


def test_a_plan_is_within_its_limit_or_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LIMITS", (8.0, 0.1))
    network = load(zoo.path(FASHION))
    rows = {row.name.partition("devices with ")[2]: row for row in memory.rows_for(network)}
    assert rows["8 of its memory: stages"].value > 1
    assert rows["8 of its memory: memory of the fullest, of the limit"].met
    assert 0.2 < rows["8 of its memory: weights of the heaviest"].value < 1
    assert rows["0.1 of its memory: stages"].value == 0
    assert len(rows) == 4


def test_all_weights_count_those_in_the_graph_too() -> None:
    network = load(zoo.path(FASHION))
    (whole,) = network.split((), prove=False)
    total = sum(weight.array().nbytes for weight in network.graph.weights.values()
                if weight.array().dtype.kind == "f")  # fmt: skip
    assert whole.weight_bytes < weight_bytes(whole) == total


# -- in the lab


LITTLE = Objective(min_accuracy=0.1)


def dealt(network: Network, ground: Ground, **options: object) -> Built:
    cluster = ground.cluster()
    profiles = Profiles.scaled(cluster, ToyProfile((2.0,) * len(network.nodes)))
    return make("shards", network, cluster, profiles, LITTLE, **options)


def test_energy_counts_idle_hosts_and_more_for_those_that_compute() -> None:
    found = lab.Found(5.0, 200.0, 10.0, {GATE: 0.0, "worker-1": 2.0, "worker-2": 99.0})
    idle_j = 2 * lab.POWER.idle_w * 0.2
    busy_j = (lab.POWER.busy_w - lab.POWER.idle_w) * 0.002 / lab.SHARE
    assert lab.energy_j(found, {GATE, "worker-1"}) == pytest.approx(idle_j + busy_j)


def test_a_forecast_of_energy_counts_the_same() -> None:
    """A device that computes all of the time, and a gateway that waits."""
    ground = Ground(1, lab.SHARE, 1e5, 0.0, power=lab.POWER)
    network = residual()
    cluster = ground.cluster()
    profiles = Profiles.scaled(cluster, ToyProfile((2.0,) * len(network.nodes)))
    plan = make("remote", network, cluster, profiles).playbook.plans[0]
    run_ms = plan.forecast.stage_ms[0]
    spent_ms = {GATE: 0.0, "worker-1": run_ms * lab.SHARE}
    found = lab.Found(5.0, plan.forecast.latency_ms, 0.0, spent_ms)
    assert plan.forecast.energy_j == pytest.approx(lab.energy_j(found, spent_ms), rel=0.05)


@pytest.mark.parametrize("ends_alone", [False, True])
def test_the_largest_slice_of_each_stage_is_on_the_line_or_what_one_device_makes(
    ends_alone: bool,
) -> None:
    network = load(zoo.path(FASHION))
    end, sends = (26, (500.0, 900.0)) if ends_alone else (34, (40.0, 40.0))
    steps = [
        Step(0, 8, "", "a", (), (), (), ()),
        Step(8, end, "sum", "b", (), (), (), sends),
        *([Step(26, 34, "", "c", (), (), (), ())] if ends_alone else []),
    ]
    policy = PolicySpec("shards", Record(("x", "y"), tuple(steps), (), (), ()).plain())
    book = Playbook("id", "net", "shards", policy, (), {}, network.inputs, network.outputs)
    stem = next(cut.bytes for cut in network.cuts if cut.at == 8)
    size = 4 * 28 * 28 + stem + (900 if ends_alone else 0) + 4 * 10
    with_headers = 1514 / 1448
    expected_ms = size * with_headers * 8 / (lab.MBIT_S * 1e6) * 1e3
    assert lab.on_line_ms(network, book) == pytest.approx(expected_ms)


def test_the_line_is_held_against_what_is_not_computing() -> None:
    network = load(zoo.path(FASHION))
    book = dealt(network, Ground(3, 0.1, lab.MBIT_S, 0.0), deal="all").playbook
    line_ms = lab.on_line_ms(network, book)
    found = [lab.Found(1.0, 100.0, times * line_ms, {}) for times in (1.0, 1.05, 2.0)]
    *_, ratio = lab.line_rows("s", network, book, found, lab.SLOWER)
    assert (ratio.value, ratio.met) == (pytest.approx(1.05), True)


# -- the simulator while devices fail


def test_requests_come_at_the_same_moments_again() -> None:
    first, again = (list(moments(50.0, 20.0)) for _ in range(2))
    assert first == again == sorted(first)
    assert first[0] > 0
    assert first[-1] <= 20
    assert len(first) == pytest.approx(1000, rel=0.1)


def test_faults_are_drawn_once_and_the_last_one_stays() -> None:
    names = ("a", "b", "c")
    seconds, faults = simulated.schedule(4, names)
    assert simulated.schedule(4, names) == (seconds, faults)
    *frozen, killed = faults
    assert isinstance(killed, Kill)
    assert all(isinstance(each, Freeze) for each in frozen)
    ends = [each.at_s + each.for_s for each in frozen if isinstance(each, Freeze)]
    starts = [each.at_s for each in faults]
    assert all(end < start for end, start in zip(ends, starts[1:], strict=True))
    assert starts[-1] + simulated.CALM_S < seconds


def test_a_killed_device_is_seen_in_what_answers_state(subject: Subject, tmp_path: Path) -> None:
    promised.write(subject.calibration, tmp_path / "images")
    ground = Ground(3, 0.5, 100.0, 0.0)
    images = str(tmp_path / "images")
    built = dealt(subject.network, ground, calibrate=images, rho=0.5, deal="all", repair="0")
    feeds = [zoo.samples(FASHION).feed(0)]
    profiles = Profiles.scaled(ground.cluster(), ToyProfile((2.0,) * len(subject.network.nodes)))
    case = Case("shards", ground, built.playbook, built.parts, feeds, profiles, (1,))
    free = Gauged(FREE, FREE)
    calm = simulated.simulated(case, free, 4.0, [])
    assert (calm.stated, calm.degraded, calm.lost) == (1.0, 0, 0)
    killed = simulated.simulated(case, free, 4.0, [Kill(at_s=2.0, host="worker-2")])
    (stated,) = {
        each.accuracy
        for each in built.playbook.plans[0].forecast.missing
        if each.devices == ("worker-2",)
    }
    asked = sum(1 for _ in moments(simulated.RATE, 4.0))
    assert killed.lost == 0
    assert 0 < killed.degraded < asked
    share = killed.degraded / asked
    assert killed.stated == pytest.approx(share * stated + 1 - share)


def test_what_was_seen_is_the_share_of_what_the_whole_network_gets_right() -> None:
    told = [Told(0.0, at, "p", right=right, accuracy=accuracy) for at, right, accuracy in (
        (0.1, True, 1.0), (0.2, True, 0.9), (0.3, False, None))]  # fmt: skip
    seen = simulated.seen_of([*told, Told(0.0, 9.0, "", lost=True)], 4)
    assert seen == simulated.Failing(pytest.approx(200), pytest.approx(0.95), 2, 1, 0.5)
    rows = {row.name: row for row in simulated.failing_rows(seen, seen._replace(p50_ms=230.0))}
    assert not rows["shards, while devices fail, time of a request, p50, simulator off by"].met
    assert rows[
        "shards, while devices fail, accuracy that answers state, mean, simulator off by"
    ].met
    assert rows["shards, while devices fail, requests lost, lab"].value == 1
