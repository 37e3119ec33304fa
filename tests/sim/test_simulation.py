"""What the simulator tells of a playbook is what arithmetic says, and the same each time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from tests.core.toys import every, homely, one, plan, playbook
from tests.toys import fluid
from tests.toys.network import ToyNetwork, ToyProfile

from shoal import zoo
from shoal.cache import cache_folder
from shoal.codec.frame import pack
from shoal.errors import ClusterError, DataError, LabFileError, PlanError
from shoal.model.bundle import load_bundle
from shoal.model.network import load
from shoal.plan.cluster import Cluster, Device, Host, Links, Rate
from shoal.plan.objective import Objective
from shoal.plan.plan import Exit, Playbook, PolicySpec, Spread
from shoal.plan.profiles import Profiles
from shoal.plan.prove import sent
from shoal.runtime.simulating import crossings_of, prepared
from shoal.sim import arrivals
from shoal.sim.crossings import Crossing, Made, measured, missing, stated
from shoal.sim.faults import ClockJump, Cut, Fault, Freeze, Kill, Lossy, Narrow, Restart, Slow
from shoal.sim.forecasted import Sureness
from shoal.sim.mishaps import check_faults, left_out
from shoal.sim.outcome import Demand, Simulated
from shoal.sim.plot import plot
from shoal.strategies.base import Built
from shoal.strategies.making import make

RUN_MS = 40.0
NETWORK = ToyNetwork((8, 8, 8, 8, 8))
QUICK = Links(Rate(mbit_s=1000.0, rtt_ms=0.2))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_CACHE", str(tmp_path_factory.mktemp("cache")))


def cluster(count: int, links: Links = QUICK, **facts: Any) -> Cluster:
    return Cluster(devices=tuple(Device(name=f"d{k}") for k in range(count)), links=links, **facts)


def profiles(of: Cluster, nodes: int = NETWORK.nodes, ms: float = RUN_MS) -> Profiles:
    return Profiles.scaled(of, ToyProfile((ms / nodes,) * nodes))


def made(strategy: str, of: Cluster, network: Any = NETWORK, **options: Any) -> Built:
    return make(strategy, network, of, profiles(of), **options)


def simulated(
    built: Built, of: Cluster, load: Demand, faults: Iterable[Fault] = (), seed: int = 0
) -> Simulated:
    crossings, note = crossings_of(built.playbook, built.parts)
    assert note == ""
    return prepared(built.playbook, of, crossings, seed)[0].run(load, tuple(faults))


BUSY = Demand(20.0, window=24)


# -- as arithmetic says


def test_replicas_answer_as_fast_as_all_of_them_run() -> None:
    of = cluster(3)
    found = simulated(made("replicas", of), of, BUSY)
    assert found.images_per_s == pytest.approx(3 * 1e3 / RUN_MS, rel=0.02)
    assert found.asked == found.answered == sum(found.plans.values())
    assert [use.busy for use in found.devices.values()] == pytest.approx([1, 1, 1], abs=0.01)


def test_a_pipeline_is_as_fast_as_its_slowest_stage() -> None:
    of = cluster(2)
    built = made("pipeline", of, stages=2)
    (slowest,) = {max(built.playbook.plans[0].forecast.stage_ms)}
    found = simulated(built, of, BUSY)
    assert found.images_per_s == pytest.approx(1e3 / slowest, rel=0.03)
    assert found.p50_ms == pytest.approx(24 * slowest, rel=0.05), "24 are under way"


def test_one_after_the_other_takes_the_sum_of_runs_and_ways() -> None:
    rtt_ms = 30.0
    of = cluster(2, Links(Rate(1000.0, rtt_ms)))
    built = made("pipeline", of, stages=2)
    found = simulated(built, of, Demand(20.0, window=1))
    ways = 3 if len(built.playbook.plans[0].devices) == 2 else 2
    assert found.p50_ms == pytest.approx(RUN_MS + ways * rtt_ms / 2, rel=0.03)


def test_a_thin_link_bounds_the_rate_by_the_bytes_that_cross_it() -> None:
    wide = ToyNetwork((5000, 8, 8))
    of = cluster(1, Links(Rate(1.0, 1.0)))
    built = make("remote", wide, of, profiles(of, 2, 1.0))
    found = simulated(built, of, BUSY)
    heads = 300
    assert found.images_per_s == pytest.approx(1e6 / 8 / (4 * 5000 + heads), rel=0.02)


def test_devices_of_one_host_share_its_cores() -> None:
    shared = Cluster(
        devices=tuple(Device(name=f"d{k}", host="here") for k in range(4)),
        hosts={"here": Host(2.0)},
        links=QUICK,
    )
    found = simulated(made("replicas", shared), shared, BUSY)
    assert found.images_per_s == pytest.approx(2 * 1e3 / RUN_MS, rel=0.03)


def test_fluid_devices_that_work_alone_add_up(tmp_path: Path) -> None:
    of = cluster(2)
    bundle = load_bundle(fluid.write(tmp_path / "tiny.fluid"))
    built = make("fluid", bundle, of, profiles(of, len(bundle.nodes)))
    found = simulated(built, of, BUSY)
    alone = [plan for plan in built.playbook.plans if plan.name.startswith("alone")]
    assert sum(found.plans[plan.name] for plan in alone) > 0.98 * found.answered
    rates = [1e3 / plan.run_ms(0, *plan.devices) for plan in alone]
    assert found.images_per_s == pytest.approx(sum(rates), rel=0.03)


def test_shards_are_as_fast_as_the_device_with_most_to_do(tmp_path: Path) -> None:
    network, of = load(zoo.path("fashion-resnet")), cluster(3)
    np.save(tmp_path / "some.npy", zoo.samples("fashion-resnet").images[:40])
    built = make(
        "shards",
        network,
        of,
        Profiles.scaled(of, ToyProfile((4.0,) * len(network.nodes))),
        Objective(min_accuracy=0.3),
        calibrate=str(tmp_path),
        deal="all",
        rho="0.5",
    )
    main = built.playbook.plans[0]
    assert any(stage.spread is Spread.ALL for stage in main.stages)
    shares = {
        name: sum(main.run_ms(k, name) for k, s in enumerate(main.stages) if name in s.parts)
        for name in main.devices
    }
    found = simulated(built, of, BUSY)
    assert found.plans == {main.name: found.answered}
    assert found.images_per_s == pytest.approx(1e3 / max(shares.values()), rel=0.05)
    assert found.degraded == found.lost == 0


@pytest.mark.parametrize("ops", [{"channels"}, {"coded"}, {"channels", "sum"}])
def test_what_slices_weigh_is_stated_as_it_is_measured(tmp_path: Path, ops: set[str]) -> None:
    """Raw bodies weigh the same whether the playbook tells it or the parts are run."""
    network, of = load(zoo.path("fashion-resnet")), cluster(3)
    np.save(tmp_path / "some.npy", zoo.samples("fashion-resnet").images[:40])
    built = make(
        "shards",
        network,
        of,
        Profiles.scaled(of, ToyProfile((4.0,) * len(network.nodes))),
        Objective(min_accuracy=0.3),
        calibrate=str(tmp_path),
        **({"fill": "coded"} if "coded" in ops else {"rho": "0.5"}),
    )
    stages = [stage for plan in built.playbook.plans for stage in plan.stages]
    assert ops <= {stage.join.op for stage in stages if stage.join}
    told = stated(built.playbook)
    run = measured(built.playbook, built.parts, zoo.samples("fashion-resnet").feed(0))
    assert any(made.stays for made, _ in told)
    assert {key: run[key].size for key in told} == {key: each.size for key, each in told.items()}


def test_packed_slices_weigh_what_those_of_real_parts_do(tmp_path: Path) -> None:
    network, of = load(zoo.path("fashion-resnet")), cluster(3)
    np.save(tmp_path / "some.npy", zoo.samples("fashion-resnet").images[:60])
    built = make(
        "shards",
        network,
        of,
        Profiles.scaled(of, ToyProfile((4.0,) * len(network.nodes))),
        Objective(min_accuracy=0.3),
        calibrate=str(tmp_path),
        rho="0.5",
        deal="all",
        codec="quant:4",
    )
    assert missing(built.playbook, stated(built.playbook))
    feeds = zoo.samples("fashion-resnet").feed(0)
    main, found = built.playbook.plans[0], measured(built.playbook, built.parts, feeds)
    assert not missing(built.playbook, found)
    for number, tensors in enumerate(sent(main, built.parts, feeds)):
        stage = main.stages[number]
        for device, given in tensors.items():
            made = Made(stage.parts[device], stage.outputs, main.stays(number, device))
            assert found[made, stage.codec].size == pack(given, stage.codec).size


def test_of_what_stays_with_its_holder_only_the_answer_travels() -> None:
    stages = [homely(every(*ends, ["d0", "d1"], op="sum")) for ends in ((0, 6), (6, 12))]
    book = playbook(plan("both", *stages))
    told = stated(book)
    assert {
        (made.names, made.stays): each.size for (made, _), each in told.items()
    } == {(("t0",), 0): 16, (("t6",), 4): 16, (("t12",), 0): 32}  # fmt: skip
    found = prepared(book, cluster(2), told)[0].run(Demand(2.0), ())
    assert found.answered == found.asked > 0


def test_what_the_playbook_does_not_state_is_asked_of_the_parts() -> None:
    of = cluster(2)
    built = made("pipeline", of, stages=2)
    cut = built.playbook.plans[0].stages[0].outputs
    assert missing(built.playbook, stated(built.playbook)) >= set(cut)
    crossings, _ = crossings_of(built.playbook, built.parts)
    assert not missing(built.playbook, crossings)
    part = built.playbook.plans[0].stages[0].parts["d0"]
    assert crossings[Made(part, cut), "raw"] == Crossing(4 * 8)
    (kept,) = (cache_folder() / "crossings").glob("*.json")
    assert crossings_of(built.playbook, {})[0] == crossings, "nothing is measured again"
    kept.write_text("[]")
    assert crossings_of(built.playbook, built.parts)[0] == crossings


# -- the same each time


def outcome(seed: int) -> Simulated:
    of = cluster(2)
    times = arrivals.poisson(60.0, seed)
    return simulated(made("replicas", of), of, Demand(10.0, times), [Slow(at_s=3.0, host="d0",
                     factor=0.3, for_s=3.0)], seed)  # fmt: skip


def test_the_same_seed_gives_the_same_run_bit_for_bit() -> None:
    one_run, again, other = outcome(1), outcome(1), outcome(2)
    assert msgspec.json.encode(one_run) == msgspec.json.encode(again)
    assert msgspec.json.encode(one_run) != msgspec.json.encode(other)


def test_moments_add_up_to_the_whole() -> None:
    found = outcome(1)
    assert sum(moment.asked for moment in found.moments) == found.asked
    assert found.moments[-1].at_s == found.seconds
    within = sum(moment.answered for moment in found.moments[:-1])
    assert within <= found.answered


# -- faults


FAULTS: dict[str, tuple[Fault, float]] = {
    "kill": (Kill(at_s=0.0, host="d0"), 25.0),
    "restart": (Restart(at_s=5.0, host="d0", for_s=10.0), 37.5),
    "freeze": (Freeze(at_s=5.0, host="d0", for_s=10.0), 37.5),
    "slow": (Slow(at_s=0.0, host="d0", factor=0.5), 37.5),
    "slow for a while": (Slow(at_s=0.0, host="d0", factor=0.5, for_s=10.0), 43.75),
    "cut": (Cut(at_s=5.0, link=("gateway", "d0"), for_s=10.0), 37.5),
    "narrow": (Narrow(at_s=0.0, link=("d0", "gateway"), mbit=0.032), 37.1),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_takes_away_what_arithmetic_says(kind: str) -> None:
    """Of two devices that answer 25 images/s each. The narrow link carries 4000 bytes/s: of an
    image 332 there and 332 back, so 12.05 images/s."""
    fault, expected = FAULTS[kind]
    of = cluster(2)
    found = simulated(made("replicas", of), of, Demand(20.0, window=8), [fault])
    assert found.images_per_s == pytest.approx(expected, rel=0.08)
    assert found.lost == found.late == found.refused == 0
    if kind in ("kill", "restart", "freeze"):
        assert min(moment.alive for moment in found.moments) == 1


def test_what_is_asked_of_a_frozen_gateway_ends_when_it_goes_on() -> None:
    of = cluster(2)
    load = Demand(3.0, arrivals.steady(20.0, 0), deadline_ms=1000.0)
    frozen = Freeze(at_s=1.0, host="gateway", for_s=3000.0)
    found = simulated(made("replicas", of), of, load, [frozen])
    assert found.asked == found.answered + found.late + found.refused == 60
    assert found.max_ms > 2_990_000.0


def test_a_fault_of_a_device_that_does_nothing_does_nothing() -> None:
    built, of = made("replicas", cluster(2)), cluster(3)
    calm, idle = (
        simulated(built, of, Demand(5.0, window=8), faults)
        for faults in ((), (Restart(at_s=1.0, host="d2", for_s=1.0),))
    )
    assert idle.images_per_s == pytest.approx(calm.images_per_s, rel=0.01)
    assert (idle.retried, set(idle.devices)) == (0, {"d0", "d1"})


def test_a_lossy_link_makes_answers_late_by_round_trips() -> None:
    of = cluster(1, Links(Rate(1000.0, 100.0)))
    fault = Lossy(at_s=0.0, link=("gateway", "d0"), loss=0.5)
    calm, lossy = (
        simulated(made("remote", of), of, Demand(60.0, window=1), faults).p50_ms
        for faults in ((), (fault,))
    )
    assert lossy - calm == pytest.approx(100.0, rel=0.05), "one of two ways again, in the middle"


def test_faults_that_name_strangers_or_the_gateway_are_refused() -> None:
    of = cluster(2)
    for fault, words in (
        (Kill(at_s=1.0, host="pi"), "there is no 'pi'.*d0, d1, gateway"),
        (Cut(at_s=1.0, link=("d0", "switch")), "there is no 'switch'"),
        (Restart(at_s=1.0, host="gateway"), "takes away the gateway"),
        (Narrow(at_s=1.0, link=("d0", "d0"), mbit=1.0), "both ends .* are the same"),
    ):
        with pytest.raises(LabFileError, match=words):
            check_faults([fault], of)
    check_faults([Freeze(at_s=1.0, host="gateway", for_s=1.0)], of)
    assert left_out([ClockJump(at_s=1.0, host="d0", by_s=3.0)]) == ["clock-jump"]


# -- overload, exits


def height(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.height


def test_what_is_too_much_is_refused_or_late_and_never_lost() -> None:
    of = cluster(1)
    load = Demand(20.0, arrivals.steady(75.0, 0), deadline_ms=2000.0)
    found = simulated(made("remote", of), of, load)
    assert found.asked == 1500
    assert found.asked == found.answered + found.late + found.refused
    assert found.refused > found.late
    assert set(found.reasons) <= {"deadline", "overloaded"}


def test_refused_requests_do_not_stop_the_clock() -> None:
    """A window that is wider than what the gateway takes is asked again after a while."""
    of = cluster(1)
    found = simulated(made("remote", of), of, Demand(5.0, window=1100, deadline_ms=1e5))
    assert found.refused >= 76
    assert found.reasons == {"overloaded": found.refused}
    assert "1024 requests are pending" in found.said["overloaded"]


class Light(dict[tuple[Made, str], Crossing]):
    """Everything weighs 100 bytes."""

    def __missing__(self, key: tuple[Made, str]) -> Crossing:
        return Crossing(100)


def with_exit(rows: list[list[int]] | None) -> tuple[Playbook, Cluster]:
    """Two stages of 20 ms on two devices, an exit at 0.5 between them."""
    first = one(0, 6, ["d0"], exit=Exit("t6", "t12", 0.5))
    book = playbook(plan("both", first, one(6, 12, ["d1"]), run_ms=20.0))
    settings = {} if rows is None else {"calibration": rows}
    return msgspec.structs.replace(book, policy=PolicySpec("preferred", settings)), cluster(2)


def exits_of(rows: list[list[int]] | None, seed: int = 0) -> Simulated:
    book, of = with_exit(rows)
    simulation, notes = prepared(book, of, Light(), seed)
    assert ("no calibration" in "".join(notes)) == (rows is None)
    return simulation.run(Demand(40.0, window=16))


def test_requests_leave_as_the_calibration_says() -> None:
    found = exits_of([[900, 300, 700, 400], [950, -800, 990, 999]])
    share = found.exits["t6"] / found.answered
    assert share == pytest.approx(0.5, abs=0.05)
    assert sum(found.exits.values()) == found.answered
    assert found.accuracy == pytest.approx(0.75, abs=0.05)
    by_moment = sum(moment.exits.get("t6", 0) for moment in found.moments)
    assert by_moment == pytest.approx(found.exits["t6"], abs=16)
    assert found.moments[0].thresholds == {"t6": 0.5}
    assert found.devices["d1"].answered == pytest.approx(found.answered * (1 - share), abs=2)


def test_what_happens_over_time_is_drawn(tmp_path: Path) -> None:
    rows = {"exits": [[900, 300], [950, -800]], "none": None}
    heights = {}
    for name, calibration in rows.items():
        found = exits_of(calibration)
        if name == "none":
            found = msgspec.structs.replace(found, exits={})
        heights[name] = height(plot(found, "a title", tmp_path / name))
    assert heights["exits"] == pytest.approx(5 / 3 * heights["none"], rel=0.01)


def test_without_a_calibration_exits_are_as_sure_as_dice() -> None:
    found = exits_of(None)
    assert found.exits["t6"] / found.answered == pytest.approx(0.5, abs=0.05)
    assert found.accuracy is None


@pytest.mark.parametrize(
    "rows", [[[1]], [[1], [2], [3]], [[1, 2], [3]], [[], []], [[1], [1001]], [["a"], ["b"]], 3]
)
def test_a_calibration_that_does_not_fit_is_refused(rows: Any) -> None:
    book, _ = with_exit(rows)
    with pytest.raises(PlanError, match="calibration"):
        Sureness(book, 0)


def test_a_playbook_of_another_cluster_is_refused() -> None:
    built = made("replicas", cluster(3))
    with pytest.raises(ClusterError, match="made for d1, d2"):
        prepared(built.playbook, cluster(1), {})


def test_parts_that_do_not_fit_are_told() -> None:
    built, of = made("replicas", cluster(1)), cluster(1)
    small = replace_device(of, memory=10)
    with pytest.raises(PlanError, match="cannot be put in place: d0"):
        prepared(built.playbook, small, crossings_of(built.playbook, built.parts)[0])


def replace_device(of: Cluster, **changes: Any) -> Cluster:
    devices = tuple(msgspec.structs.replace(each, **changes) for each in of.devices)
    return Cluster(devices=devices, links=of.links)


# -- arrivals


def test_requests_come_as_often_as_is_said() -> None:
    for kind in arrivals.KINDS.values():
        times = list(itertools.takewhile(lambda at: at < 300, kind(20.0, 3)))
        assert times == sorted(times)
        assert len(times) == pytest.approx(6000, rel=0.05)
        assert times == list(itertools.islice(kind(20.0, 3), len(times)))
    burst = list(itertools.takewhile(lambda at: at < 3, arrivals.bursts(20.0, 0)))
    assert len(burst) == 60
    assert max(burst) < 1


def test_a_trace_is_read_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "times"
    file.write_text("# s\n0\n0.5\n\n0.5\n2e0\n")
    assert arrivals.trace(file) == [0.0, 0.5, 0.5, 2.0]
    for text, words in (
        ("0\n2\n1", "line 3: time goes back from 2 to 1 s"),
        ("0\nsoon", "line 2: 'soon' is no time"),
        ("-1", "line 1: -1 s is no time"),
        ("nan", "no time"),
        ("", "holds no time"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=words):
            arrivals.trace(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not text"):
        arrivals.trace(file)
    with pytest.raises(DataError, match=r"cannot be read.*steady, poisson, bursts"):
        arrivals.trace(tmp_path / "none")
