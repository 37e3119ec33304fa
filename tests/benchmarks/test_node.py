"""The node's bench: what messages weigh, and what a world in the simulator costs."""

import pytest

from shoal.core.actions import Reject
from shoal.sim.world import Reply, Ticket, World
from shoal_benchmarks import node, registry
from shoal_benchmarks.node import heads, simulator
from shoal_benchmarks.node.books import book, gathered, line
from shoal_benchmarks.node.simulator import Cost, Load
from shoal_benchmarks.row import Row

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


def test_a_world_answers_all_and_tells_what_that_took() -> None:
    cost = simulator.run(teams=2, requests=60)
    assert (cost.nodes, cost.requests) == (20, 60)
    assert cost.ready_events > 20 * 19
    assert cost.asked_events >= 60 * 8, "asked, three tasks, three runs, an answer"
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
    rows = by_name(list(simulator.rows_of(cost)))
    assert (rows["time"].value, rows["time"].met) == (10.0, True)
    assert rows["peak of resident memory"].value == pytest.approx(1.048576)
    assert rows["events of one core"].value == 20_000
    slow = by_name(list(simulator.rows_of(Cost(1000, 10**6, 100, 1, 801, 1, 1, 2000))))
    assert not slow["time"].met
    assert not slow["peak of resident memory"].met


@pytest.mark.system
def test_worlds_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "FEW_REQUESTS", 50)
    monkeypatch.setattr(simulator, "TEAMS", 2)
    monkeypatch.setattr(simulator, "QUICK_REQUESTS", 40)
    found = list(simulator.rows(quick=True))
    assert found[0].name == "simulator, 10 nodes, 50 requests: events of one core"
    assert all(row.value > 0 for row in found)
    assert {row.goal for row in found} == {None, "<= 15", "<= 2"}
