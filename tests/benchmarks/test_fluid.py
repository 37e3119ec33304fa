"""What the fluid bench makes of a story and of recorded trainings; nothing is measured here."""

import math
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.toys import fluid

from shoal.model.bundle import Bundle, Variant, load_bundle
from shoal.observe.load_generator import Record
from shoal_benchmarks.fluid import ballast, matrix, scale
from shoal_benchmarks.fluid.accuracy import (
    Run,
    mnist_rows,
    read_runs,
    sets_of,
    subset_rows,
    worst_fall,
)
from shoal_benchmarks.fluid.bundles import DYNAMIC, FLUID, STATIC, kept_by, team_of, write_as
from shoal_benchmarks.fluid.exact import in_one_piece
from shoal_benchmarks.fluid.matrix import BOTH, ONLY_FIRST, ONLY_SECOND, QUICK, Column, columns_of
from shoal_benchmarks.fluid.scenes import APART, Course, scene_of
from shoal_benchmarks.fluid.switch import delays
from shoal_lab.chaos.verdict import Span
from shoal_lab.faults import Restart
from shoal_lab.player import Happening


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fluid.write(tmp_path_factory.mktemp("fluid") / "tiny.fluid")


@pytest.fixture(scope="module")
def bundle(path: Path) -> Bundle:
    return load_bundle(path)


def record(answered_s: float, asked_s: float | None = None, device: str = "worker-1") -> Record:
    return Record(
        case=0,
        asked_s=answered_s - 0.01 if asked_s is None else asked_s,
        answered_s=answered_s,
        plan="p",
        devices=(device,),
        attempts=1,
        best=0,
        wrong=False,
    )


def course_of(*times: float, lost: tuple[Span, ...] = ()) -> Course:
    return Course(times, tuple(map(record, times)), lost)


# -- rates over time


def test_rates_count_the_answers_between_two_moments() -> None:
    found = course_of(*(k / 10 for k in range(100)))
    assert found.rate(2, 4) == pytest.approx(10)
    assert found.by_second(3) == pytest.approx([10, 10, 10])


def test_a_level_is_reached_when_the_answers_come_fast_again() -> None:
    quiet = [float(k) for k in range(3)]
    found = course_of(*quiet, *(3 + k / 10 for k in range(30)))
    assert found.reaches(10, 1.0) == pytest.approx(2.0)
    assert found.reaches(10, 4.0) == 0
    assert found.reaches(1000, 1.0) == float("inf")


def test_the_first_answer_of_a_device_after_it_was_gone() -> None:
    records = (record(1.0, device="b"), record(2.0, device="a"), record(3.0, device="b"))
    found = Course((1.0, 2.0, 3.0), records, ())
    assert found.first_answer("b", 1.5) == 3.0
    assert found.first_answer("c", 0.0) is None


def test_the_columns_of_the_matrix_are_times_of_one_story() -> None:
    first, second = QUICK.faults[1], QUICK.faults[0]
    spans = tuple(
        Span("lost", fault, fault.at_s, fault.at_s + fault.for_s) for fault in (second, first)
    )
    times = [k / 10 for k in range(int(10 * QUICK.seconds))]
    gone = spans[0]
    times = [t for t in times if not gone.begin_s <= t < gone.begin_s + QUICK.gone_s]
    columns = columns_of(course_of(*times, lost=spans), QUICK)
    assert columns[BOTH].rate == pytest.approx(10)
    assert columns[BOTH].plans == {"p": 10 * (QUICK.calm_s - 1)}
    assert columns[ONLY_FIRST].rate == 0
    assert columns[ONLY_SECOND].rate == pytest.approx(10, rel=0.05)
    swapped = columns_of(course_of(*times, lost=spans), QUICK, "worker-2")
    assert swapped[ONLY_SECOND].rate == 0


def test_the_master_is_who_has_the_first_groups(bundle: Bundle) -> None:
    def answered(plan: str) -> Course:
        return Course((1.0,), (msgspec.structs.replace(record(1.0), plan=plan),), ())

    assert matrix.master_of(answered("alone 0+1 on worker-2"), bundle) == "worker-2"
    assert matrix.master_of(answered("alone 2+3 on worker-2"), bundle) == "worker-1"


def test_scenes_fit_the_machine(path: Path) -> None:
    scene = scene_of(path, 4, 10.0, [Restart(at_s=1, host="worker-1")], APART)
    assert sum(host.share for host in scene.spec.hosts.values()) <= 16
    assert scene.workers == tuple(f"worker-{k}" for k in (1, 2, 3, 4))


def test_each_number_of_hosts_comes_in_each_round_and_another_host_is_the_last() -> None:
    steps = scale.steps_of(4, 5.0, 4)
    faults = scale.faults_of(4, steps)
    assert [len(step.awake) for step in steps] == [4, 3, 2, 1] * 4
    assert [set(step.awake) for step in steps if len(step.awake) == 1] == [{0}, {1}, {2}, {3}]
    for step in steps:
        middle_s = (step.begin_s + step.end_s) / 2
        gone = [f.host for f in faults if f.at_s <= middle_s < f.at_s + f.for_s]
        assert sorted(gone) == [f"worker-{k + 1}" for k in range(4) if k not in step.awake]
    for step in steps:
        if len(step.awake) == 4:
            back_s = [f.at_s + f.for_s for f in faults if f.at_s + f.for_s < step.begin_s]
            assert all(step.begin_s - at_s >= scale.BACK_S for at_s in back_s)


def test_several_hosts_are_held_against_the_mean_of_all_alone() -> None:
    """One host is slower than the others: it must not be the measure of all."""
    speeds = (10, 20, 20, 20)
    steps = scale.steps_of(4, 5.0, 4)
    times = [
        step.begin_s + k / rate
        for step in steps
        for rate in [sum(speeds[host] for host in step.awake)]
        for k in range(5 * rate)
    ]
    rates = scale.rates_of(course_of(*times), steps)
    rows = {row.name: row for row in scale.rate_rows(rates)}
    assert rows["each for itself, 1 of 4 equal hosts"].value == pytest.approx(17.5)
    four = rows["each for itself, 4 hosts over the mean of one"]
    assert (four.value, four.goal, four.met) == (pytest.approx(4), ">= 3.6", True)
    assert math.isnan(scale.over_one({1: [0.0], 2: [5.0]}, 2))


def test_ballast_is_there_while_a_host_is_away() -> None:
    fault = Restart(at_s=1.0, host="worker-2", for_s=1.0)
    begins, ends = Happening(1.0, "", fault=fault), Happening(2.0, "", fault=fault, ends=True)
    with ballast.Ballast(0.01) as held:
        held.heard(Happening(0.5, ""))
        assert held.hosts == frozenset()
        held.heard(begins)
        held.heard(begins)
        assert held.hosts == {"worker-2"}
        held.heard(ends)
        assert held.hosts == frozenset()
        held.heard(begins)
    assert held.hosts == frozenset()
    held.heard(begins)
    assert held.hosts == frozenset()


def test_ballast_ends_with_who_began_it() -> None:
    command = [sys.executable, "-m", ballast.__name__, "0.01"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


def test_delays_are_counted_in_service_times_around_each_change() -> None:
    """10 ms alone, 50 ms under the heavy load from second 10 to 20, 70 ms when that came; together
    again from second 22, when one takes 30 ms."""

    def latency_s(at: float) -> float:
        if 10 <= at < 20:
            return 0.07 if at < 10.2 else 0.05
        return 0.03 if 22 <= at < 22.1 else 0.01

    def story(again_s: float) -> list[Record]:
        asked = [k / 20 for k in range(600)]
        return [
            msgspec.structs.replace(
                record(at + latency_s(at), at),
                plan="alone L50 on a" if 10 <= at < again_s else "dense C100 on a+b",
            )
            for at in asked
        ]

    assert delays(story(22.0), 10.0, 20.0) == pytest.approx((2.0, 2.0), abs=0.01)
    assert delays(story(100.0), 10.0, 20.0) == (pytest.approx(2.0, abs=0.01), None)


# -- what each way of training leaves


def test_static_and_dynamic_have_less(bundle: Bundle, path: Path, tmp_path: Path) -> None:
    team = team_of(bundle, 2)
    assert team.variant is Variant.DENSE
    assert {s.groups for s in kept_by(STATIC, bundle, 2)} == {(0, 1, 2, 3)}
    assert {s.groups for s in kept_by(DYNAMIC, bundle, 2)} == {(0, 1, 2, 3), (0, 1)}
    assert kept_by(FLUID, bundle, 2) == list(bundle.subnets)
    for kind, count in ((STATIC, 2), (DYNAMIC, 3), (FLUID, len(bundle.subnets))):
        assert len(load_bundle(write_as(kind, path, tmp_path, 2)).subnets) == count


def test_who_answers_how_rightly(bundle: Bundle) -> None:
    nobody = Column(0.0, {})
    assert matrix.accuracy_of("Static", ONLY_FIRST, nobody, bundle) is None
    assert matrix.accuracy_of("Dynamic", ONLY_SECOND, nobody, bundle) is not None
    together = Column(10.0, {"dense 0+1+2+3 on a+b": 10})
    assert matrix.accuracy_of("Fluid HA", BOTH, together, bundle) == pytest.approx(1.0)
    apart = Column(10.0, {"alone 0+1 on a": 5, "alone 2+3 on b": 5})
    assert matrix.accuracy_of("Fluid HT", BOTH, apart, bundle) == pytest.approx(0.95)
    assert matrix.accuracy_of("Fluid HT", BOTH, nobody, bundle) is None


def test_a_plan_is_held_against_its_own_sub_network(bundle: Bundle) -> None:
    from shoal.plan.plan import Forecast, Plan, Stage

    subnet = bundle.alone((2, 3))
    stage = Stage({"a": subnet.stages[0].parts["0"]}, ("x",), ("y",))
    feeds = bundle.probe()
    found = in_one_piece(bundle, Plan("p", (stage,), Forecast(1, 1)), feeds)
    assert (found["y"] == bundle.part(subnet.stages[0].parts["0"]).run(feeds)["y"]).all()


# -- recorded trainings


def run(kind: str, seed: int = 1, owners: int = 2, data: str = "mnist", **accuracy: float) -> Run:
    return Run(data, kind, "cnn", owners, 5, seed, 10_000, accuracy)


def test_fluid_is_held_against_static_seed_by_seed() -> None:
    runs = [
        run("fluid", 1, L50=0.985, U50=0.98, C100=0.991),
        run("static", 1, C100=0.992),
        run("fluid", 2, L50=0.985, U50=0.98, C100=0.993),
        run("static", 2, C100=0.992),
        run("fluid", 3, L50=0.5, U50=0.5, C100=0.5),  # no static of its seed
        run("dynamic", 1, L50=0.985, U50=0.11, C100=0.99),
        run("dynamic", 2, L50=0.985, U50=0.10, C100=0.99),
    ]
    rows = {row.name: row for row in mnist_rows(runs)}
    against = rows["MNIST, 2 seeds: C100 against Static"]
    assert (round(against.value, 6), against.met) == (0.0, True)
    assert against.spread == pytest.approx((-0.1, 0.1))
    assert rows["MNIST, seed 1: C100 against Static"].value == pytest.approx(-0.1)
    assert rows["MNIST, seed 2: C100 against Static"].value == pytest.approx(0.1)
    assert rows["MNIST, 2 seeds: U50 against Static"].met is False
    assert rows["MNIST, 2 seeds: C100"].value == pytest.approx(99.2)
    upper = rows["MNIST, 2 seeds: Dynamic's upper half alone (chance is 10)"]
    assert (round(upper.value, 6), upper.met) == (10.5, True)


def test_every_kind_of_training_has_its_rows() -> None:
    names = [row.name for row in mnist_rows([run("slimmable", 1, L25=0.98, C100=0.99)])]
    assert names == ["MNIST, slimmable, 1 seed: L25", "MNIST, slimmable, 1 seed: C100"]


def test_a_device_more_must_not_make_it_worse() -> None:
    accuracy = {"1": 0.85, "2": 0.86, "1+2": 0.9}
    found = sets_of(Run("fashion-mnist", "fluid", "cnn", 3, 5, 1, 10_000, accuracy))
    assert worst_fall(found) == 0
    found[frozenset("12")] = 0.85
    assert worst_fall(found) == pytest.approx(0.01)
    assert len(sets_of(run("fluid", L25=0.9, L50=0.91, U50=0.91, C100=0.92))) == 3


def test_every_set_of_groups_is_counted() -> None:
    pair = run("fluid", data="fashion-mnist", L50=0.9, U50=0.88, C100=0.92)
    static = run("static", data="fashion-mnist", C100=0.923)
    rows = {row.name: row for row in subset_rows([pair, static])}
    what = "Fashion-MNIST, 2 groups, 5 epochs, seed 1"
    assert rows[f"{what}: sets of groups that answer"].met
    assert rows[f"{what}: all together against Static"].met
    ones = rows[f"{what}: 1 of them"]
    assert (ones.value, ones.spread) == (pytest.approx(89), pytest.approx((88, 90)))


def test_static_is_one_baseline_for_all_numbers_of_groups() -> None:
    """Of the same network, epochs and seed: others are not compared."""

    def three(kind: str, seed: int, whole: float) -> Run:
        shares = {"1": 0.8, "2": 0.8, "3": 0.8, "1+2": 0.85, "1+3": 0.85, "2+3": 0.85}
        return Run("fashion-mnist", kind, "cnn", 3, 5, seed, 10_000, shares | {"1+2+3": whole})

    pair = run("fluid", 5, data="fashion-mnist", L50=0.9, U50=0.9, C100=0.919)
    longer = msgspec.structs.replace(pair, epochs=9)
    runs = [three("fluid", 5, 0.84), three("static", 5, 0.92), three("static", 6, 0.84)]
    rows = {row.name: row for row in subset_rows([*runs, pair, longer])}
    what = "Fashion-MNIST, 3 groups, 5 epochs, seed 5"
    against = rows[f"{what}: all together against Static"]
    assert (round(against.value, 6), against.met) == (-8.0, False)
    lost = rows[f"{what}: the most that is lost when a device is added"]
    assert (round(lost.value, 6), lost.met) == (1.0, False)
    against = rows["Fashion-MNIST, 2 groups, 5 epochs, seed 5: all together against Static"]
    assert (round(against.value, 6), against.met) == (-0.1, True)
    assert "Fashion-MNIST, 2 groups, 9 epochs, seed 5: all together against Static" not in rows


def test_recorded_trainings_are_read_from_a_file(tmp_path: Path) -> None:
    runs = [run("fluid", L50=0.9)]
    (tmp_path / "runs.json").write_bytes(msgspec.json.encode(runs))
    assert read_runs(tmp_path / "runs.json") == runs
