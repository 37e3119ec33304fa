"""Playbooks of ``relay``: tasks between exits, held by all who have room, with thresholds that keep
what was asked."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.model import exit_nets
from tests.toys.network import ToyProfile

from shoal.errors import PlanError
from shoal.model.network import Network, load
from shoal.plan.cluster import Cluster
from shoal.plan.objective import Objective
from shoal.plan.profiles import Profiles
from shoal.plan.prove import prove, run_plan
from shoal.plan.size import Size
from shoal.plan.thresholds import NEVER
from shoal.strategies.base import Built
from shoal.strategies.relay.build import build
from shoal.strategies.relay.options import RelayOptions
from shoal.strategies.relay.settings import settings_of

THREE = Cluster.from_yaml("devices: [{name: a}, {name: b}, {name: c, speed: 2}]")


def profile_of(network: Network) -> ToyProfile:
    return ToyProfile((3.0,) * len(network.nodes))


@pytest.fixture(scope="module")
def network() -> Network:
    return load(exit_nets.with_exits())


def made(
    network: Network, cluster: Cluster = THREE, least: float | None = None, **options: Any
) -> Built:
    facts = Profiles.scaled(cluster, profile_of(network))
    objective = Objective(min_accuracy=least)
    return build(network, cluster, facts, objective, RelayOptions(confidence=0.5, **options))


def test_all_hold_all_tasks_and_each_leaves_at_its_exit(network: Network) -> None:
    plan, resort = made(network, thresholds="0.9,0.7").playbook.plans
    assert [stage.exit and stage.exit.threshold for stage in plan.stages] == [0.9, 0.7, None]
    assert [stage.exit.tensor for stage in plan.stages if stage.exit] == ["early", "late"]
    assert {tuple(stage.parts) for stage in plan.stages} == {("a", "b", "c")}
    assert resort.spare


def test_without_exits_the_plan_is_the_network(network: Network) -> None:
    found = made(network)
    assert max(prove(found.playbook, found.parts, network).values()) < 1e-4


def test_an_exit_gives_what_its_file_gives(network: Network) -> None:
    found = made(network)
    plan = found.playbook.plans[0]
    feeds = {"x": np.random.default_rng(0).random((2, 3, 8, 8), np.float32)}
    whole = network.with_exits
    (part,) = whole.split((), prove=False)
    expected = part.run(feeds)
    first = found.parts[next(iter(plan.stages[0].parts.values()))]
    np.testing.assert_allclose(first.run(feeds)["early"], expected["early"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        run_plan(plan, found.parts, feeds)["y"], expected["y"], rtol=1e-4, atol=1e-5
    )


def test_thresholds_keep_what_is_asked(network: Network) -> None:
    """Two of three are right at the end: those who leave must not be fewer."""
    plan = made(network, least=1.0).playbook.plans[0]
    assert plan.forecast.accuracy == 1.0
    loose = made(network, least=0.5).playbook.plans[0]
    assert loose.forecast.images_per_s >= plan.forecast.images_per_s


def test_the_forecast_knows_who_leaves(network: Network) -> None:
    rates = [
        made(network, thresholds=each).playbook.plans[0].forecast.images_per_s
        for each in ("0,0", "0.95,0.15", f"{NEVER},{NEVER}")
    ]
    assert rates[0] > rates[1] > rates[2]


def test_what_thresholds_are_chosen_by_has_no_say_in_what_they_keep(network: Network) -> None:
    """By every second image all may leave at the first exit; the others are wrong there."""
    exits = network.exits
    assert exits is not None
    columns = ((900, -900) * 30, (900, -900) * 30, (900, 900) * 30)
    other = load(exit_nets.with_exits())
    other.exits = msgspec.structs.replace(exits, table=columns)
    plan = made(other, least=0.9).playbook.plans[0]
    assert all(stage.exit.threshold > 0.9 for stage in plan.stages if stage.exit)
    assert plan.forecast.accuracy == 1.0
    assert made(other, least=0.0).playbook.plans[0].stages[0].exit.threshold < NEVER


def test_one_image_is_all_there_is(network: Network) -> None:
    other = load(exit_nets.with_exits())
    assert other.exits is not None
    other.exits = msgspec.structs.replace(other.exits, table=((900,), (950,), (990,)))
    assert made(other).playbook.plans[0].forecast.accuracy == 1.0


def test_who_has_not_the_memory_for_all_holds_what_it_can(network: Network) -> None:
    sizes = [info.memory for info in made(network).playbook.parts.values()]
    room = Size(max(sizes))
    cluster = Cluster.from_yaml(f"devices: [{{name: a}}, {{name: b, memory: {int(room)}}}]")
    plan = made(network, cluster).playbook.plans[0]
    assert all("a" in stage.parts for stage in plan.stages)
    assert 0 < sum("b" in stage.parts for stage in plan.stages) < len(plan.stages)
    tight = Cluster.from_yaml("devices: [{name: a, memory: 1 KiB}, {name: b, memory: 1 KiB}]")
    with pytest.raises(PlanError, match="no device has the memory for task 0, 1, 2 of 3"):
        made(network, tight)


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        ("mesh", {}),
        ("line", {"a": ("b",), "b": ("a", "c"), "c": ("b",)}),
        ("ring", {"a": ("b", "c"), "b": ("a", "c"), "c": ("a", "b")}),
    ],
)
def test_who_may_give_to_whom(
    network: Network, topology: str, expected: dict[str, tuple[str, ...]]
) -> None:
    assert settings_of(made(network, topology=topology).playbook).neighbours == expected


def test_each_holder_can_go_on_or_the_topology_is_refused(network: Network) -> None:
    """Each has room for one task: in a line the first has the first, and the second the last."""
    sizes = [part.memory for part in made(network).playbook.parts.values()]
    room = int(Size(max(sizes[:3])))
    names = ", ".join(f"{{name: {name}, memory: {room}}}" for name in "abcd")
    cluster = Cluster.from_yaml(f"devices: [{names}]")
    stages = made(network, cluster).playbook.plans[0].stages
    held = [tuple(stage.parts) for stage in stages]
    near = {"a": ("b",), "b": ("a", "c"), "c": ("b", "d"), "d": ("c",)}
    stuck = [
        name
        for here, there in pairwise(held)
        for name in here
        if not {name, *near[name]} & {*there}
    ]
    assert stuck, "or nothing is refused here"
    with pytest.raises(PlanError, match=f"{stuck[0]!r} holds task . of 3 and may give to nobody"):
        made(network, cluster, topology="line")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fixed": "time"}, "fixed: there is no 'time'"),
        ({"topology": "star"}, "topology: there is no 'star'"),
        ({"thresholds": "0.9,x"}, "thresholds: '0.9,x' are none"),
        ({"thresholds": "0.9"}, "1 thresholds for 2 exits"),
        ({"short": 40.0}, r"short \(40\) must not be above long \(30\)"),
        ({"alpha": 1.5}, "alpha: 1.5 is no rate"),
        ({"window": 0.0}, "window: 0 is no number of tasks"),
        ({"loosest": 2.0}, "loosest: 2 is no threshold"),
    ],
)
def test_options_that_make_no_sense(network: Network, options: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        made(network, **options)


def test_a_network_without_exits_is_told_how_to_get_some() -> None:
    with pytest.raises(PlanError, match="has no exits; make some with 'shoal train exits'"):
        made(load(exit_nets.plain()))
