"""Playbooks of ``relay``: tasks between exits, held by all who have room, with thresholds that keep
what was asked."""

from __future__ import annotations

import math
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
from shoal.sim.crossings import Made, measured
from shoal.strategies.base import Built
from shoal.strategies.options import read_options
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
    options = {"confidence": 0.5} | options
    return build(network, cluster, facts, objective, RelayOptions(**options))


def with_table(*columns: tuple[int, ...]) -> Network:
    """A network of which the exits were so sure."""
    found = load(exit_nets.with_exits())
    assert found.exits is not None
    found.exits = msgspec.structs.replace(found.exits, table=columns)
    return found


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


def test_what_an_exit_said_is_given_to_the_next_task_and_weighed(network: Network) -> None:
    agreeing = load(exit_nets.agreeing())
    found, other = made(agreeing, thresholds="0.5,0.5"), made(network, thresholds="0.5,0.5")
    stages = found.playbook.plans[0].stages
    assert [stage.inputs for stage in stages] == [("x",), ("b", "first"), ("e",)]
    assert [stage.outputs for stage in stages] == [("b", "first"), ("e",), ("y",)]
    said = 4 * exit_nets.CLASSES
    sizes, before = (settings_of(each.playbook).sizes for each in (found, other))
    assert [a - b for a, b in zip(sizes, before, strict=True)] == [0, said, 0]
    assert max(prove(found.playbook, found.parts, agreeing).values()) < 1e-4
    crossings = measured(found.playbook, found.parts, {"x": np.zeros((1, 3, 8, 8), np.float32)})
    (first,) = {stage.parts["a"] for stage in stages[:1]}
    assert crossings[Made(first, ("b", "first")), "raw"].size == sizes[1]


def test_thresholds_keep_what_is_asked() -> None:
    first = (900, -900, 990, 990) * 30
    network = with_table(first, first, (995,) * 120)
    strict = made(network, least=0.99).playbook.plans[0].forecast
    loose = made(network, least=0.4).playbook.plans[0].forecast
    assert strict.accuracy >= 0.99
    assert loose.accuracy >= 0.4
    assert loose.images_per_s > strict.images_per_s


def test_the_forecast_knows_who_leaves(network: Network) -> None:
    rates = [
        made(network, thresholds=each).playbook.plans[0].forecast.images_per_s
        for each in ("0,0", "0.95,0.15", f"{NEVER},{NEVER}")
    ]
    assert rates[0] > rates[1] > rates[2]


def test_what_thresholds_are_sought_by_has_no_say_in_what_they_keep() -> None:
    """By every second image all may leave at the first exit; the others are wrong there."""
    other = with_table((900, -900) * 30, (900, -900) * 30, (900, 900) * 30)
    plan = made(other, least=0.9).playbook.plans[0]
    assert all(stage.exit.threshold > 0.9 for stage in plan.stages if stage.exit)
    assert plan.forecast.accuracy == 0.9
    assert made(other, least=0.0).playbook.plans[0].stages[0].exit.threshold < NEVER


def test_thresholds_are_raised_until_they_keep_what_is_asked() -> None:
    """Of the images held back those of 900 are wrong, and those of 990 right: so the latter leave,
    and no more is promised than was asked, since looser thresholds were looked at, too."""
    first = (900, -900, 990, 990) * 30
    plan = made(with_table(first, first, (995,) * 120), least=0.9).playbook.plans[0]
    (leave, _) = (stage.exit for stage in plan.stages if stage.exit)
    assert 0.9 < leave.threshold <= 0.99
    assert plan.forecast.accuracy == 0.9


def test_more_than_was_asked_is_promised_where_no_thresholds_were_too_loose() -> None:
    first = (900, 900, 990, 990) * 30
    assert made(with_table(first, first, (995,) * 120), least=0.9).playbook.plans[
        0
    ].forecast.accuracy == pytest.approx(1.0)


def test_what_is_promised_holds_for_other_images() -> None:
    """Each table is of other images, and its plan of other thresholds: of those that promise more
    than is kept by all images there are no more than one in twenty."""
    chance = np.random.default_rng(5)
    broken, tries = 0, 60
    for _ in range(tries):
        columns = _drawn(chance, 600)
        plan = made(with_table(*columns), least=0.985, confidence=0.95).playbook.plans[0]
        levels = [stage.exit.threshold for stage in plan.stages if stage.exit]
        broken += plan.forecast.accuracy > _truly_kept(levels) + 1e-9
    assert broken <= 0.05 * tries + 3 * (0.05 * 0.95 * tries) ** 0.5


WRONG_BELOW = 980
"""Exits err in one of ten images of which they are less sure, in permille."""


def _drawn(chance: np.random.Generator, count: int) -> tuple[tuple[int, ...], ...]:
    sure = chance.integers(1, 1001, count)
    wrong = (sure < WRONG_BELOW) & (chance.random(count) < 0.1)
    column = tuple(np.where(wrong, -sure, sure).tolist())
    return column, column, (1000,) * count


def _truly_kept(thresholds: list[float]) -> float:
    """Of all images that there might be: sureness is spread evenly."""
    loosest = min(round(1000 * each) for each in thresholds)
    return 1 - 0.1 * max(0, WRONG_BELOW - max(loosest, 1)) / 1000


def test_thresholds_that_are_given_are_judged_by_all_images() -> None:
    first = (900, -900) * 30
    plan = made(with_table(first, first, (995,) * 60), thresholds="0.9,3").playbook.plans[0]
    assert plan.forecast.accuracy == pytest.approx(0.5, abs=0.02)
    assert [stage.exit.threshold for stage in plan.stages if stage.exit] == [0.9, NEVER]


def test_one_image_is_all_there_is() -> None:
    other = with_table((900,), (950,), (990,))
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
        ({"rate": 0.0}, "rate: 0 images in a second are none to hold"),
        ({"rate": -3.0}, "rate: -3 images in a second are none to hold"),
        ({"rate": math.nan}, "rate: nan images in a second are none to hold"),
        ({"rate": math.inf}, "rate: inf images in a second are none to hold"),
    ],
)
def test_options_that_make_no_sense(network: Network, options: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        made(network, **options)


def test_accuracy_is_of_classes_and_of_nothing_else(network: Network) -> None:
    cluster = Cluster.from_yaml("devices: [{name: a}]")
    facts = Profiles.scaled(cluster, profile_of(network))
    for wish in (Objective(task="detector"), Objective(agreement="own.py:alike")):
        with pytest.raises(PlanError, match="counted in classes: leave --task and --agreement out"):
            build(network, cluster, facts, wish, RelayOptions())
    assert build(network, cluster, facts, Objective(task="classifier"), RelayOptions())


# -- a rate that is to be held


def test_a_rate_that_is_no_number_is_refused_on_the_command_line() -> None:
    for text in ("nan", "inf", "many"):
        with pytest.raises(PlanError, match="rate"):
            read_options(RelayOptions, {"rate": text}, "relay")


@pytest.mark.parametrize("fixed", ["accuracy", "rate"])
def test_it_is_told_whether_a_rate_can_be_held(network: Network, fixed: str) -> None:
    calm = made(network, fixed=fixed)
    able = calm.playbook.plans[0].forecast.images_per_s
    assert not any("images/s" in note for note in calm.notes)
    asked = made(network, fixed=fixed, rate=able / 2)
    assert asked.notes[-1].startswith(f"{able / 2:g} images/s can be held, at a load of 50 %")
    assert asked.playbook == calm.playbook, "it is only told"
    more = made(network, fixed=fixed, rate=100 * able).notes[-1]
    assert f"{100 * able:g} images/s cannot be held" in more


def test_where_nothing_crosses_a_link_but_images_and_answers_no_other_link_bounds(
    network: Network,
) -> None:
    """All hold all tasks: between slow links each runs what it was given."""
    told = []
    for mbit_s in (0.01, 1000):
        links = f"{{default: {{mbit_s: 1000}}, pairs: [{{from: a, to: b, mbit_s: {mbit_s}}}]}}"
        cluster = Cluster.from_yaml(f"devices: [{{name: a}}, {{name: b}}]\nlinks: {links}")
        told.append(made(network, cluster).playbook.plans[0].forecast.images_per_s)
    assert told[0] >= 0.95 * told[1]


def test_a_network_without_exits_is_told_how_to_get_some() -> None:
    with pytest.raises(PlanError, match="has no exits; make some with 'shoal train exits'"):
        made(load(exit_nets.plain()))
