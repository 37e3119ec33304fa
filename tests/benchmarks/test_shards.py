"""The shards bench: who holds what in each way, what is told of it, and one small run of each."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from tests.model.shards.families import gate, residual

from shoal import zoo
from shoal.core.messages import StageTrace
from shoal.errors import LabError
from shoal.model.network import load
from shoal.model.shards import masked
from shoal.plan.plan import Forecast, Plan, Playbook, PolicySpec
from shoal.strategies.shards.failures import Kept, Sample
from shoal.strategies.shards.prepare import judged
from shoal.task import task_of
from shoal_benchmarks import registry, shards
from shoal_benchmarks.node.equals import GATE, Equals, Followed, Ground
from shoal_benchmarks.shards import accuracy, coded, exact, importance, lab, lost, packed
from shoal_benchmarks.shards.layouts import (
    ALL,
    INNER,
    Weights,
    dealt,
    dealt_share,
    ground_for,
    layout_of,
)
from shoal_benchmarks.shards.subjects import Subject, fashion, some
from shoal_benchmarks.shards.ways import BALANCED, FULL, MEANS, REBUILDS, Way, stretches
from shoal_benchmarks.split.driver import Told, computed_ms
from shoal_benchmarks.subjects import FASHION
from shoal_lab.faults import Cut, Freeze, Restart
from shoal_lab.player import Happening


def test_the_bench_is_known_with_its_sections() -> None:
    for section in shards.SECTIONS:
        assert registry.find(f"shards.{section}").rows


# -- who holds what


def test_in_turn_the_first_are_common_and_the_others_dealt_as_they_stand() -> None:
    found = stretches(10, 3, 4)
    assert found.common == (0, 1, 2, 3)
    assert found.dealt == ((4, 5), (6, 7), (8, 9))
    assert stretches(6, 2, 6).dealt == ((), ())


def test_only_sums_are_dealt_where_only_inner_layers_are() -> None:
    ground = ground_for(load(zoo.path(FASHION)), 4)
    every, inner = (dealt(layout_of(ground, deal)) for deal in (ALL, INNER))
    assert {region.op.value for region in every} == {"channels", "sum"}
    assert {region.op.value for region in inner} == {"sum"}


def test_a_layout_is_the_same_again() -> None:
    network = residual()
    first, again = (layout_of(ground_for(network, 3), ALL) for _ in range(2))
    assert [step.what and step.what.key for step in first] == [
        step.what and step.what.key for step in again
    ]


def test_what_a_gate_reads_is_not_divided() -> None:
    network = gate()
    assert 0 < dealt_share(network, layout_of(ground_for(network, 4), ALL)) < 1


def test_weights_are_those_of_the_steps() -> None:
    network = load(zoo.path(FASHION))
    layout = layout_of(ground_for(network, 4), ALL)
    weights = Weights.of(network, layout)
    assert sum(weights.steps.values()) == pytest.approx(weights.network, rel=0.01)
    assert weights.dealt(layout) < weights.network


# -- what is kept


@pytest.fixture(scope="module")
def subject() -> Subject:
    network, shown = load(zoo.path(FASHION)), zoo.samples(FASHION)
    judges = judged(network, task_of(network), shown.images)
    whole = Sample(shown.images, tuple(shown.labels.tolist()), judges)
    calibration, test = whole.halves(128)
    return Subject(FASHION, network, calibration, test)


@pytest.fixture(scope="module")
def case(subject: Subject) -> accuracy.Case:
    return accuracy.Case.of(subject, INNER)


def test_some_images_keep_their_labels_and_answers(subject: Subject) -> None:
    few = some(subject.test, 10)
    assert len(few) == len(few.labels or ()) == len(few.judges) == 10
    for image, label, judge in zip(few.images, few.labels or (), few.judges, strict=True):
        (number,) = np.flatnonzero((subject.test.images == image).all(axis=(1, 2, 3)))[:1]
        assert (subject.test.labels or ())[number] == label
        assert subject.test.judges[number] is judge
    assert some(subject.test, 10_000) is subject.test


def test_nothing_is_lost_where_all_is_common(case: accuracy.Case) -> None:
    shown = case.shown(FULL, 3, 2, some(case.subject.test, 40))
    assert len(shown.kept) == 3
    assert (shown.mean, shown.worst.share) == (1.0, 1.0)
    assert shown.weights == pytest.approx(1.0, rel=0.01)


def test_more_common_keeps_more_and_weighs_what_the_closed_form_says(case: accuracy.Case) -> None:
    sample = some(case.subject.test, 150)
    bare, half = (case.shown(way, 4, 1, sample) for way in (MEANS[0], MEANS[2]))
    assert bare.mean < half.mean
    assert bare.weights < half.weights
    for shown in (bare, half):
        assert shown.held / shown.dealt == pytest.approx(shown.closed, rel=0.05)


def test_rebuilding_keeps_more_than_means_and_these_more_than_nothing(case: accuracy.Case) -> None:
    sample = some(case.subject.test, 150)
    zero = Way("zeros", 0.25, BALANCED.fill)
    nothing, mean, rebuilt = (
        case.shown(way, 4, 1, sample).mean for way in (zero, MEANS[1], REBUILDS[1])
    )
    assert nothing < mean < rebuilt


def test_per_layer_as_much_is_common_as_with_the_same_share(case: accuracy.Case) -> None:
    common = case.per_layer(MEANS[1], some(case.subject.calibration, 24))
    deck = case.deck
    even = tuple(round(0.25 * layer.units) for layer in deck.layers)
    assert common != even
    assert 0.8 * accuracy.spent(deck, even) <= accuracy.spent(deck, common)
    assert accuracy.spent(deck, common) <= accuracy.spent(deck, even)


def test_the_interval_holds_the_share_and_narrows_with_the_images() -> None:
    low, high = accuracy.between(Kept(90, 100))
    assert low < 0.9 < high
    closer = accuracy.between(Kept(900, 1000))
    assert low < closer[0] < closer[1] < high


def test_a_goal_is_held_by_the_worst_case() -> None:
    shown = accuracy.Shown("w", "means", (Kept(99, 100), Kept(50, 100)), 30, 100, 0.4, 0.25)
    rows = {row.name: row for row in shown.rows(0.6)}
    assert rows["w: kept, mean"].value == pytest.approx(0.745)
    assert (rows["w: kept, worst"].value, rows["w: kept, worst"].met) == (0.5, False)
    off = rows["w: weights of what is dealt, off rho + (1 - rho) / D"]
    assert (off.value, off.met) == (pytest.approx(20), False)


def test_without_the_data_there_is_nothing_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("SHOAL_DATA", raising=False)
    assert fashion() is None
    assert "fashion-mnist" in caplog.text


# -- what a unit matters


def test_slopes_are_how_the_loss_changes_with_what_is_kept(case: accuracy.Case) -> None:
    deck, images = case.deck, case.subject.calibration.images[:3]
    answers = np.array([1, 7, 3])
    slopes = importance.slopes(deck, images, lambda chances: answers, deck.means or {})
    point = deck.trials.points[2]
    name, mean = point.tensor.name, (deck.means or {})[point.tensor.name]
    whole = masked(deck.network, deck.regions)

    def loss(entry: int, kept: float) -> np.ndarray:
        keep, fill = np.ones(point.entries), np.zeros(point.entries)
        keep[entry], fill[entry] = kept, (1 - kept) * mean[entry]
        (rows,) = whole.run({"image": images}, {name: keep}, {name: fill}).values()
        wide = rows.astype(np.float64)
        return np.log(np.exp(wide).sum(axis=1)) - wide[range(3), answers]

    for entry in range(0, point.entries, 5):
        expected = (loss(entry, 1.001) - loss(entry, 0.999)) / 0.002
        assert slopes[name][:, entry] == pytest.approx(expected, rel=0.05, abs=5e-3)
    assert np.abs(slopes[name]).max() > 0.05


def test_the_norm_is_that_of_the_weights_that_make_the_unit(case: accuracy.Case) -> None:
    weights = {node.output[0]: list(node.input)[1:2] for node in case.deck.network.operators}
    for (_, width), values in zip(case.deck.widths, importance.by_norm(case.deck, case.subject),
                                  strict=True):  # fmt: skip
        filters = case.deck.network.graph.weights[weights[width.name][0]].array()
        assert values[1] == pytest.approx(np.abs(filters[1]).sum())
        assert len(values) == width.units


def test_every_judge_ranks_all_units(case: accuracy.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "JUDGING", 8)
    ranked = {name: judge(case.deck, case.subject) for name, judge in importance.JUDGES.items()}
    for values in ranked.values():
        assert [len(each) for each in values] == [width.units for _, width in case.deck.widths]
        assert all((each >= 0).all() and each.std() > 0 for each in values)
    tops = {tuple(int(each.argmax()) for each in values) for values in ranked.values()}
    assert len(tops) > 1


# -- equality


def test_real_parts_are_held_against_the_whole() -> None:
    rows = {row.name: row for row in exact.rows_for({"net": residual})}
    off = rows["net, 4 devices: off the whole"]
    assert off.met
    assert rows["net, 4 devices: answers to two inputs, apart"].value > 100 * off.value
    assert 50 < rows["net, 4 devices: multiplications that are divided"].value <= 100


def test_coded_plans_are_exact_and_hold_what_the_code_takes() -> None:
    rows = {
        row.name.partition(" coded: ")[2]: row
        for row in coded.shaped({"net": lambda: load(zoo.path(FASHION))})
    }
    off = rows["off the whole, worst set"]
    assert off.met
    assert 0 < off.value < 1e-5
    assert rows["multiplications that are coded"].value > 99
    assert 4 / 3 <= rows["weights of all devices"].value < 1.4
    assert rows["on links"].value > 0


def test_packed_slices_cross_at_a_quarter_and_keep_about_as_much() -> None:
    network, samples = load(zoo.path(FASHION)), zoo.samples(FASHION)
    images = samples.images[:48]
    sample = Sample(images, None, judged(network, task_of(network), images))
    subject = Subject(FASHION, network, sample, sample)
    rows = {row.name: row.value for row in packed.rows_of(subject, ("raw", "quant:8"), 24)}
    raw, rounded = (f"{FASHION}, {ALL}, {codec}" for codec in ("raw", "quant:8"))
    assert rows[f"{rounded}: on links"] < 0.35 * rows[f"{raw}: on links"]
    assert rows[f"{raw}: kept, all there"] == 1
    assert rows[f"{rounded}: kept, all there"] >= 0.8
    assert rows[f"{raw}: kept, 1 lost, worst"] <= rows[f"{raw}: kept, 1 lost, mean"] < 1


# -- a device that is lost


def told(*times: tuple[float, float], degraded: bool = False) -> list[Told]:
    return [Told(a, b, "p", degraded=degraded, accuracy=0.9) for a, b in times]


def followed(*requests: Told, done_s: float = 1.0, over_s: float = 3.0) -> Followed:
    happenings = (Happening(done_s, "freeze"), Happening(over_s, "end of freeze", ends=True))
    return Followed(tuple(requests), 10.0, happenings)


def test_the_request_under_way_is_told_from_those_before_and_after() -> None:
    before = told((10.0, 10.1), (10.1, 10.2), (10.2, 10.9))
    after = told((10.9, 11.4), (11.4, 11.5), (11.5, 12.5), degraded=True)
    late = told((13.5, 13.6))
    found = lost.round_of(followed(*before, *after, *late), 1.0)
    assert found.usual_ms == pytest.approx(100)
    assert found.hit_ms == pytest.approx(500)
    assert found.next_ms == pytest.approx((100, 1000))
    assert found.late == pytest.approx((1000,))
    assert found.stated == (0.9, 0.9, 0.9)
    assert found.lost == 0


def test_a_fault_that_takes_a_while_may_hit_a_later_request() -> None:
    """The last of several links is cut when the next request is already asked."""
    requests = told((10.0, 10.5), (10.9, 11.02), (11.02, 12.0))
    assert lost.round_of(followed(*requests, done_s=1.05), 1.0).hit_ms == pytest.approx(980)


def test_nothing_is_told_of_a_fault_that_hit_nobody() -> None:
    with pytest.raises(LabError):
        lost.round_of(followed(*told((10.0, 10.5))), 1.0)


def test_the_goal_is_on_the_worst_round() -> None:
    rounds = [lost.Round(50.0, hit, (50.0, 60.0), 0, (0.9, None)) for hit in (160.0, 260.0)]
    rows = {row.name.partition(" rounds: ")[2]: row for row in lost.rows_of("frozen", rounds, 100)}
    beyond = rows["the same beyond the usual time and the deadline, worst round"]
    assert (beyond.value, beyond.met) == (pytest.approx(110), False)
    assert rows["requests lost"].met
    assert (rows["degraded answers"].value, rows["of them, without an accuracy"].value) == (4, 2)


def test_who_is_cut_off_hears_nobody() -> None:
    ground = Ground(3, 0.2, 100.0, 0.0)
    cuts = lost.faults_of(lost.CUT, "worker-2", ground, 1.0)
    assert all(isinstance(cut, Cut) and "worker-2" in cut.link for cut in cuts)
    ends = {end for cut in cuts if isinstance(cut, Cut) for end in cut.link}
    assert ends == {GATE, *ground.names}
    (killed,) = lost.faults_of(lost.KILLED, "worker-1", ground, 1.0)
    (frozen,) = lost.faults_of(lost.FROZEN, "worker-1", ground, 1.0)
    assert isinstance(killed, Restart)
    assert isinstance(frozen, Freeze)


@pytest.mark.system
@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("CALM_S", 0.5), ("GONE_S", 1.0), ("AFTER_S", 0.5)):
        monkeypatch.setattr(lost, name, seconds)
    ground = lost.GROUND
    with socket.create_server(("127.77.0.2", 0)) as free:
        port = free.getsockname()[1]
    name = f"t{os.getpid()}-lost"
    with Equals(ground, tmp_path, name=name, port=port, loopback=True) as hosts:
        playbook = lost.built_in(tmp_path, hosts, most=10).playbook
        hosts.serve(playbook, [zoo.samples(FASHION).images[:1]])
        (found,) = lost.rounds_of(hosts, (lost.KILLED,), 1)[lost.KILLED]
    assert found.lost == 0
    assert found.stated
    promised = {each.accuracy for each in playbook.plans[0].forecast.missing}
    promised |= {plan.forecast.accuracy for plan in playbook.plans}
    assert set(found.stated) <= promised
    assert lost.deadline_ms(playbook) >= 100


# -- in the lab


def test_the_slowest_device_of_each_stage_counts_as_computing() -> None:
    trace = [
        StageTrace(at, name, run_ms=ms)
        for at, name, ms in ((0, "a", 3.0), (0, "b", 5.0), (1, "a", 2.0))
    ]
    assert computed_ms(trace) == 7.0


def test_forecasts_are_held_against_the_median() -> None:
    plan = Plan("p", (), Forecast(latency_ms=108.0, images_per_s=5.0))
    policy = PolicySpec("preferred")
    book = Playbook("id", "net", "pipeline", policy, (plan,), parts={}, inputs=(), outputs=())
    spent_ms = {GATE: 1.0, "worker-1": 2.0}
    found = [lab.Found(rate, 100.0, 30.0, spent_ms) for rate in (9.0, 10.0, 12.0)]
    rows = {row.name: row for row in lab.system_rows("s", book, found)}
    assert rows["s: throughput, forecast off by"].value == pytest.approx(50)
    single = rows["s: time of a single request, forecast off by"]
    assert (single.value, single.met) == (pytest.approx(8), True)
    assert rows["s: CPU of all hosts for a single request"].value == 3
    assert not any("energy" in name for name in rows), "nothing is forecast of it"
