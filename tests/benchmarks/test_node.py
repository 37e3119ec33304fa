"""The node's bench: what messages weigh, what a world in the simulator costs, and what it tells."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.toys import fluid
from tests.toys.network import ToyProfile

from shoal.core.actions import Given, Reject, Run
from shoal.core.events import JobKey
from shoal.model.bundle import load_bundle
from shoal.model.network import Network
from shoal.plan.profiles import Profiles
from shoal.sim.crossings import Crossing, Made, measured
from shoal.sim.forecasted import Forecasted, Image
from shoal.sim.handling import FREE, Handling
from shoal.sim.world import Reply, Ticket, World
from shoal.strategies.base import Built
from shoal.strategies.making import make
from shoal_benchmarks import node, registry
from shoal_benchmarks.node import agreement, heads, simulator
from shoal_benchmarks.node.books import book, gathered, line
from shoal_benchmarks.node.equals import GATE, Equals, Ground
from shoal_benchmarks.node.gauge import by_one, gauge, solved
from shoal_benchmarks.node.simulator import Cost, Load
from shoal_benchmarks.node.virtual import Busy, Single, Virtual, wire_of
from shoal_benchmarks.row import Row
from shoal_benchmarks.wire.system import relay

SPEEDS = {GATE: 1.0, "worker-1": 1.0}
NAMES = [f"worker-{number}" for number in range(1, 9)]


def test_the_bench_is_known_with_its_sections() -> None:
    for section in node.SECTIONS:
        assert registry.find(f"node.{section}").rows


# -- heads


def test_every_message_of_an_image_is_weighed() -> None:
    sizes = heads.heads_of(book(gathered(NAMES, 13)), heads.TENSORS[0])
    assert len(sizes) == 8 + 12 * 56 + 8
    passed = heads.heads_of(book(line(NAMES[:4])), heads.TENSORS[0])
    assert len(passed) == 5
    assert min(passed) > 100


def test_a_longer_name_of_a_tensor_is_in_every_head() -> None:
    short, long = heads.TENSORS
    pipeline = book(line(NAMES[:4]))
    more = len(long) - len(short) + 1  # a byte more to say how long it is
    for one, other in zip(
        heads.heads_of(pipeline, short), heads.heads_of(pipeline, long), strict=True
    ):
        assert other == one + more


def test_the_goal_is_on_the_heads_of_the_gathered_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "STAGES", 2)
    found = list(heads.rows(quick=True))
    goals = [row for row in found if row.goal]
    assert [row.goal for row in goals] == ["<= 100"] * len(heads.TENSORS)
    assert all(row.name.startswith("heads of one image, 2 gathered stages") for row in goals)
    assert {row.value for row in found if row.unit == "messages"} == {8 + 56 + 8, 5}


# -- the simulator


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.name.partition("requests: ")[2]: row for row in rows}


@pytest.mark.parametrize("kind", simulator.KINDS)
def test_a_world_answers_all_and_tells_what_that_took(kind: str) -> None:
    cost = simulator.run(kind, teams=2, requests=60)
    assert (cost.nodes, cost.requests) == (20, 60)
    assert cost.ready_events > 20 * 19
    assert cost.asked_events >= 60 * 6, "asked, two tasks or three, their runs, an answer"
    assert min(cost.ready_s, cost.asked_s, cost.virtual_s) > 0
    assert cost.peak_mib > 10


def test_a_request_that_fails_ends_the_measurement() -> None:
    world = World()
    load = Load(world, {})
    failed = Reply(0.0, Reject(0, "deadline", "no answer"))
    with pytest.raises(AssertionError, match="no answer"):
        load._told(Ticket("gateway", 1, 0), failed)


def test_the_goals_are_on_time_and_memory_of_all() -> None:
    cost = Cost(1000, 10**6, 100.0, 4 * 10**6, 500.0, 10**7, 30.0, 1000.0)
    rows = by_name(list(simulator.rows_of(simulator.RELAY, cost)))
    assert (rows["time"].value, rows["time"].met) == (10.0, True)
    assert rows["peak of resident memory"].value == pytest.approx(1.048576)
    assert rows["events of one core"].value == 20_000
    slow = by_name(
        list(simulator.rows_of(simulator.RELAY, Cost(1000, 10**6, 100, 1, 801, 1, 1, 2000)))
    )
    assert not slow["time"].met
    assert not slow["peak of resident memory"].met


@pytest.mark.system
def test_worlds_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "FEW_REQUESTS", 50)
    monkeypatch.setattr(simulator, "TEAMS", 2)
    monkeypatch.setattr(simulator, "QUICK_REQUESTS", 40)
    found = list(simulator.rows(quick=True))
    assert found[0].name == "simulator, pipeline, 10 nodes, 50 requests: events of one core"
    assert all(row.value > 0 for row in found)
    assert {row.goal for row in found} == {None, "<= 15", "<= 2"}


# -- the simulator against the lab


@pytest.fixture(scope="module")
def speck() -> Network:
    return relay(1, 8)


def made(strategy: str, network: Network, ground: Ground, **options: Any) -> Built:
    """A playbook for a ground on which the network takes 10 ms of a whole core."""
    cluster = ground.cluster()
    profiles = Profiles.scaled(cluster, ToyProfile((5.0,) * len(network.nodes)))
    return make(strategy, network, cluster, profiles, **options)


def test_bodies_weigh_what_they_do_and_runs_take_what_is_forecast(speck: Network) -> None:
    ground = Ground(1, 0.5, 20.0, 1.0)
    built = made("remote", speck, ground)
    feeds = {"in": np.ones((1, 1, 8, 8), np.float32)}
    (part,) = built.playbook.parts
    asked, answer = Made("", ("in",)), Made(part, ("out",))
    found = measured(built.playbook, built.parts, feeds)
    assert found == {(asked, "raw"): Crossing(256), (answer, "raw"): Crossing(256)}

    engine = Forecasted(built.playbook, found, SPEEDS, pace=0.5, batch_ratio={4: 0.5})
    key = JobKey("gate", "", 0, 0, 0)

    def run(count: int) -> Run:
        return Run((key,) * count, part, (Given({GATE: Image(7, asked)}),) * count, ("out",))

    whole_s = built.playbook.plans[0].run_ms(0, "worker-1") * 0.5 / 1e3
    assert whole_s == pytest.approx(0.01, rel=0.2)
    for count, ratio in ((1, 1.0), (3, 1.0), (4, 0.5), (5, 0.5)):
        expected = pytest.approx(count * ratio * whole_s)
        assert engine.run_s("worker-1", run(count)) == expected
    (outcome,) = engine.run("worker-1", run(1))
    assert (outcome.body, engine.size(outcome.body, "raw")) == (Image(7, answer), 256)


def test_every_body_of_a_plan_with_slices_is_weighed(tmp_path: Path) -> None:
    bundle = load_bundle(fluid.write(tmp_path / "tiny.fluid"))
    built = made("fluid", bundle, Ground(2, 0.5, 20.0, 1.0))
    feeds = {"x": np.ones((1, 1, 8, 8), np.float32)}
    found = measured(built.playbook, built.parts, feeds)
    stages = [stage for plan in built.playbook.plans for stage in plan.stages]
    bodies = {(Made(part, s.outputs), s.codec) for s in stages for part in s.parts.values()}
    assert bodies | {(Made("", ("x",)), "raw")} == set(found)
    assert all(carried.size > 0 for carried in found.values())


def test_what_is_packed_takes_its_time(speck: Network) -> None:
    built = made("remote", speck, Ground(1, 1.0, 20.0, 1.0))
    (plan,) = built.playbook.plans
    packing = msgspec.structs.replace(plan, codec="quant:8,bytes,lz4")
    playbook = msgspec.structs.replace(built.playbook, plans=(packing,))
    feeds = {"in": np.random.default_rng(0).random((1, 1, 8, 8), np.float32)}
    asked = measured(playbook, built.parts, feeds)[Made("", ("in",)), packing.codec]
    assert asked.size < 256
    assert min(asked.pack_ms, asked.unpack_ms) > 0


def virtual(speck: Network, handling: Handling, ground: Ground, speed: float) -> Virtual:
    built = made("remote", speck, ground)
    heavy = measured(built.playbook, built.parts, {"in": np.ones((1, 1, 8, 8), np.float32)})
    speeds = dict.fromkeys((GATE, *ground.names), speed)
    engine = Forecasted(built.playbook, heavy, speeds, pace=ground.share / speed)
    wire = wire_of(ground.mbit_s, ground.delay_ms)
    return Virtual(built.playbook, engine, GATE, handling, wire, speed)


def test_under_load_the_slowest_processor_bounds_the_rate(speck: Network) -> None:
    gate_s = 0.02 + 2 * 0.005
    world = virtual(speck, Handling(asked_s=0.02, message_s=0.005), Ground(1, 0.5, 1e3, 0.1), 0.5)
    busy = world.busy(60.0, window=8)
    assert busy.images_per_s == pytest.approx(0.5 / gate_s, rel=0.02)
    assert busy.spent_ms[GATE] == pytest.approx(1e3 * gate_s, rel=0.05)
    assert busy.plans == {"only worker-1": pytest.approx(60.0 * busy.images_per_s, rel=0.1)}


def test_a_single_request_takes_the_sum_of_all(speck: Network) -> None:
    ground = Ground(1, 0.5, 20.0, 10.0)
    free, costly = (
        virtual(speck, handling, ground, 1.0).single(2.0).p50_ms
        for handling in (FREE, Handling(asked_s=0.001, run_s=0.002, message_s=0.003))
    )
    assert free == pytest.approx(2 * 10.0 + 10.0, rel=0.1)
    assert costly - free == pytest.approx(1 + 2 + 4 * 3, rel=0.01)


def test_three_sums_tell_request_run_and_message_apart() -> None:
    spent = {
        "local": {GATE: 0.2 + 0.1, "worker-1": 0.0},
        "remote": {GATE: 0.2 + 2 * 0.05, "worker-1": 0.1 + 2 * 0.05},
    }
    found = solved(spent, "worker-1")
    assert found.asked_s == pytest.approx(0.2e-3)
    assert found.run_s == pytest.approx(0.1e-3)
    assert found.message_s == pytest.approx(0.05e-3)
    spent["remote"][GATE] = 0.0
    assert solved(spent, "worker-1").message_s == 0.0, "noise: it costs no less than nothing"


def test_the_gauge_is_of_one_worker(speck: Network) -> None:
    ground = Ground(2, 0.5, 20.0, 1.0, computes=True)
    for strategy, device in (("local", GATE), ("remote", "worker-1")):
        (plan,) = by_one(made(strategy, speck, ground).playbook, "worker-1").plans
        assert plan.devices == {device}


def test_how_far_the_simulator_is_off_is_told_of_rate_and_time() -> None:
    spent = {GATE: 1.0, "worker-1": 2.0}
    took_ms = (10.0,) * 100
    lab = [
        (Busy(rate, spent, times_ms=took_ms), Single(10.0, spent)) for rate in (90.0, 100.0, 120.0)
    ]
    told = Busy(108.0, spent, times_ms=(11.0,) * 100), Single(12.0, spent)
    rows = {
        row.name.partition("a case, ")[2]: row for row in agreement.case_rows("a case", lab, told)
    }
    rate = rows["rate, simulator off by"]
    assert (rate.value, rate.goal, rate.met) == (pytest.approx(8.0), "<= 10", True)
    p50 = rows["single request, p50, simulator off by"]
    assert (p50.value, p50.met) == (pytest.approx(20.0), False)
    assert rows["rate, lab"].spread == pytest.approx((92.0, 116.0))
    assert rows["CPU for an image, simulator over lab"].value == 1.0
    assert rows["many requests, p99, simulator off by"].goal == "<= 20"
    assert rows["many requests, p50, simulator off by"].value == pytest.approx(10.0)
    assert sum(row.goal is not None for row in rows.values()) == 4


def test_how_far_the_shares_that_leave_are_off_is_told_where_some_leave() -> None:
    assert not list(agreement.exit_rows("a case", [{2: 1.0}], {2: 1.0}))
    rows = list(agreement.exit_rows("a case", [{1: 0.6, 3: 0.4}, {1: 0.6, 2: 0.4}], {1: 1.0}))
    assert [row.value for row in rows[:-1]] == pytest.approx([60, 100, 20, 0, 20, 0])
    assert rows[-1].value == pytest.approx((40 + 20 + 20) / 3)
    assert rows[-1].met is False


def test_the_cluster_of_a_ground_is_what_is_planned_for() -> None:
    ground = Ground(2, 0.4, 20.0, 1.0, computes=True)
    cluster = ground.cluster(["tcp/127.0.0.1:1", "tcp/127.0.0.1:2"])
    assert [device.speed for device in cluster.devices] == [0.4, 0.4]
    assert (cluster.gateway.name, cluster.gateway.compute, cluster.gateway.speed) == (
        GATE,
        True,
        0.4,
    )
    assert (cluster.rate(GATE, "worker-2").mbit_s, cluster.rate(GATE, "worker-2").rtt_ms) == (20, 2)
    assert ground.cluster().names == ("worker-1", "worker-2")
    unequal = Ground(2, 0.1, 20.0, 1.0, times=(1.0, 4.0), gate=0.5).cluster()
    assert [device.speed for device in unequal.devices] == [0.1, 0.4]
    assert unequal.gateway.speed == 0.5


@pytest.mark.system
@pytest.mark.skipif(sys.platform != "linux", reason="loopback labs are tested on Linux")
def test_cases_on_loopback(speck: Network, tmp_path: Path) -> None:
    ground = Ground(1, 0.5, 20.0, 1.0)
    built = made("remote", speck, ground)
    cluster = ground.cluster()
    profiles = Profiles.scaled(cluster, ToyProfile((5.0,) * len(speck.nodes)))
    feeds = [{"in": np.ones((1, 1, 8, 8), np.float32)}]
    case = agreement.Case("a case", ground, built.playbook, built.parts, feeds, profiles)
    with socket.create_server(("127.77.0.2", 0)) as free:
        port = free.getsockname()[1]
    name = f"t{os.getpid()}-equals"
    with Equals(ground, tmp_path, name=name, port=port, loopback=True) as lab:
        gauged = gauge(lab, 0.2, agreement.WINDOW)
        rows = list(agreement.rows_for(lab, gauged, [case], rounds=1, seconds=0.2))
    assert {row.goal for row in rows} == {None, "<= 10", "<= 20"}
    values = {row.name: row.value for row in rows}
    assert values["a case, rate, lab"] > 0
    assert values["a case, single request, p50, lab"] > 0
    assert values["a case, CPU for an image, lab"] > 0
    ratio = values["a case, rate, simulator"] / values["a case, rate, lab"]
    assert values["a case, rate, simulator over lab"] == pytest.approx(ratio)
