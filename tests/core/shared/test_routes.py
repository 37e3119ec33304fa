from collections.abc import Mapping

import hypothesis.strategies as st
from hypothesis import given
from tests.core.toys import Free, every, one, plan, playbook

from shoal.core.messages import Route
from shoal.core.policy import DeviceView, Hold, View
from shoal.core.shared.routes import Hop, devices_at, enough, next_hop
from shoal.plan.plan import Plan, Spread


def hop(
    made: Plan,
    stage: int,
    route: Route,
    usable: str = "abcdef",
    reachable: str = "abcdef",
    outstanding: Mapping[str, int] | None = None,
) -> Hop | None:
    counts = outstanding or {}
    devices = {n: DeviceView(n in usable, counts.get(n, 0)) for n in "abcdef"}
    view = View(0.0, devices)
    reach = reachable.__contains__
    found, _ = next_hop(Free(), playbook(made), made, stage, route, view, reach, None)
    assert not isinstance(found, Hold)
    return found


CHAIN = plan("p", one(0, 4, "ab"), one(4, 8, "cd"), one(8, 12, "ef"))
SHARDS = plan(
    "p", one(0, 3, "ab"), every(3, 6, "abcd", least=2), every(6, 9, "bcd"), one(9, 12, "ef")
)


def test_along_a_fixed_route_nothing_is_decided() -> None:
    route = (("a",), ("d",), ("e",))
    assert hop(CHAIN, 1, route) == Hop(("d",), route, decided=False)


def test_a_fixed_route_whose_next_device_is_out_of_reach_ends() -> None:
    assert hop(CHAIN, 1, (("a",), ("d",), ("e",)), reachable="abcef") is None


def test_on_a_free_route_the_hop_decides_for_the_next_stage_alone() -> None:
    found = hop(CHAIN, 1, (), outstanding={"c": 2})
    assert found == Hop(("d",), ((), ("d",), ()), decided=True)


def test_the_hop_before_shards_decides_up_to_who_joins_them() -> None:
    found = hop(SHARDS, 1, (("a",), (), (), ()), usable="abcdf")
    assert found is not None
    assert found.targets == ("a", "b", "c", "d")
    assert found.route == (("a",), ("a", "b", "c", "d"), ("b", "c", "d"), ("f",))
    assert hop(SHARDS, 2, found.route) == Hop(("b", "c", "d"), found.route, decided=False)


def test_shards_that_are_away_are_left_out_as_long_as_enough_remain() -> None:
    found = hop(SHARDS, 1, (), usable="acef")
    assert found is not None
    assert found.targets == ("a", "c")
    assert hop(SHARDS, 1, (), usable="aef") is None


def test_without_anybody_to_join_them_shards_are_not_begun() -> None:
    assert hop(SHARDS, 1, (), usable="abcd") is None


def test_who_runs_a_stage_that_the_route_does_not_name_is_nobody() -> None:
    assert devices_at((), 3) == ()
    assert devices_at((("a",),), 0) == ("a",)
    assert enough(SHARDS, 1, "ab")
    assert not enough(SHARDS, 1, "a")
    assert enough(CHAIN, 0, "a")
    assert not enough(CHAIN, 0, "")


@given(
    usable=st.sets(st.sampled_from("abcdef")).map("".join),
    reachable=st.sets(st.sampled_from("abcdef")).map("".join),
    stage=st.integers(0, 3),
    shards=st.booleans(),
)
def test_whoever_is_picked_can_be_reached_and_has_a_part(
    usable: str, reachable: str, stage: int, shards: bool
) -> None:
    made = SHARDS if shards else CHAIN
    stage = min(stage, len(made.stages) - 1)
    found = hop(made, stage, (), usable, reachable)
    if found is None:
        return
    here = made.stages[stage]
    assert set(found.targets) <= {*reachable} & {*usable} & here.parts.keys()
    assert enough(made, stage, found.targets)
    assert here.spread is Spread.ALL or len(found.targets) == 1
