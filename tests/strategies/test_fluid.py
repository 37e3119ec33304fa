"""The playbook of a bundle: who gets which groups, and a plan for everybody who may be left."""

from itertools import combinations
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.toys import fluid
from tests.toys.network import ToyNetwork, ToyProfile
from tests.toys.strategy import compare

import shoal
from shoal.errors import PlanError, ProofError
from shoal.model.bundle import Bundle, SubStage, Variant, load_bundle
from shoal.plan.cluster import Cluster, Device, Gateway
from shoal.plan.objective import Aim, Objective
from shoal.plan.plan import Spread
from shoal.plan.profiles import Profiles
from shoal.plan.size import Size
from shoal.strategies.base import Built
from shoal.strategies.fluid.build import prove_subnet
from shoal.strategies.fluid.costs import shares
from shoal.strategies.fluid.deal import deal, teams
from shoal.strategies.fluid.offers import offers
from shoal.strategies.fluid.plans import Ground
from shoal.strategies.making import make

QUARTERS: fluid.Owners = ((0,), (1,), (2,), (3,))
UNEVEN: fluid.Owners = ((0, 1, 2), (3,))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("fluid") / "tiny.fluid"
    return load_bundle(fluid.write(path, dealings=[fluid.PAIR, QUARTERS, UNEVEN]))


def cluster_of(*speeds: float, memory: int = 0) -> Cluster:
    devices = tuple(
        Device(name=f"d{k}", speed=speed, memory=Size(memory)) for k, speed in enumerate(speeds)
    )
    return Cluster(name="test", devices=devices, gateway=Gateway())


def facts(bundle: Bundle, cluster: Cluster) -> Profiles:
    """Every node takes as long, 10 ms in all: no measurement, so no noise."""
    return Profiles.scaled(cluster, ToyProfile((10.0 / len(bundle.nodes),) * len(bundle.nodes)))


def build(bundle: Bundle, *speeds: float, memory: int = 0, **wishes: object) -> Built:
    cluster = cluster_of(*speeds, memory=memory)
    wish = msgspec.structs.replace(Objective.of(None), **wishes)
    return make("fluid", bundle, cluster, facts(bundle, cluster), wish)


def test_two_devices_answer_together_or_each_for_itself(bundle: Bundle) -> None:
    plans = build(bundle, 1, 1).playbook.plans
    assert [plan.name for plan in plans] == [
        "dense 0+1+2+3 on d0+d1",
        "logits 0+1+2+3 on d0+d1",
        "alone 0+1 on d0",
        "alone 2+3 on d1",
    ]
    assert [plan.spare for plan in plans] == [False, True, False, False]
    dense = plans[0]
    assert [stage.spread for stage in dense.stages] == [Spread.ALL, Spread.ALL]
    assert [stage.join.op for stage in dense.stages if stage.join] == ["channels", "sum"]
    assert [stage.join.least for stage in dense.stages if stage.join] == [2, 2]
    assert dense.forecast.accuracy == 1
    assert plans[1].forecast.accuracy == pytest.approx(0.99)
    assert dense.tolerance is not None
    assert all(plan.tolerance is None for plan in plans[1:])


def test_every_set_of_devices_that_may_be_left_has_a_plan_of_just_these(bundle: Bundle) -> None:
    plans = build(bundle, 1, 1, 1, 1).playbook.plans
    names = ["d0", "d1", "d2", "d3"]
    for size in range(1, 5):
        for left in combinations(names, size):
            assert any(plan.devices == set(left) for plan in plans)
    assert len({len(plan.devices) for plan in plans}) == 4
    shares_ = [plan.forecast.accuracy for plan in plans if len(plan.devices) > 1]
    assert shares_[0] == max(shares_)


def test_faster_devices_get_wider_groups(bundle: Bundle) -> None:
    assert build(bundle, 1, 3).playbook.plans[0].name == "dense 0+1+2+3 on d1+d0"
    alone = [plan.name for plan in build(bundle, 1, 3).playbook.plans if len(plan.devices) == 1]
    assert alone == ["alone 0+1+2 on d1", "alone 3 on d0"]


def test_one_device_has_the_whole_network(bundle: Bundle) -> None:
    (plan,) = build(bundle, 1).playbook.plans
    assert plan.name == "alone 0+1+2+3 on d0"
    assert plan.forecast.accuracy == 1


def test_a_device_too_many_answers_alone(bundle: Bundle) -> None:
    built = build(bundle, 1, 1, 1, 1, 1)
    assert {"d4"} in [set(plan.devices) for plan in built.playbook.plans]
    assert sum("d4" in plan.devices for plan in built.playbook.plans) == 1
    assert any("d4 has the same groups as d0" in note for note in built.notes)


def test_what_does_not_fit_is_left_out_the_spares_first(bundle: Bundle) -> None:
    alone = bundle.part(bundle.alone((0, 1)).stages[0].parts["0"]).info.memory
    plans = build(bundle, 1, 1, memory=alone).playbook.plans
    assert [plan.name for plan in plans] == [
        "logits 0+1+2+3 on d0+d1",  # needs no more than what each does alone
        "alone 0+1 on d0",
        "alone 2+3 on d1",
    ]
    with pytest.raises(PlanError, match=r"no device can hold its sub-network \(d0 is left out"):
        build(bundle, 1, 1, memory=1000)


def test_the_forecast_chooses_between_ways_that_are_as_accurate(
    bundle: Bundle, tmp_path: Path
) -> None:
    """Adding logits sends less than exchanging channels, so it wins where it costs nothing."""
    equal = load_bundle(
        fluid.write(tmp_path / "equal.fluid", accuracies={"0+1+2+3 logits": 0.9995})
    )
    cluster = cluster_of(1, 1)
    wish = Objective(aims=(Aim.LATENCY,))
    built = make("fluid", equal, cluster, facts(equal, cluster), wish)
    assert built.playbook.plans[0].name == "logits 0+1+2+3 on d0+d1"
    other = make("fluid", bundle, cluster, facts(bundle, cluster), wish)
    assert other.playbook.plans[0].name == "dense 0+1+2+3 on d0+d1"


def test_the_floor_and_the_marks_go_to_the_policy(bundle: Bundle) -> None:
    cluster = cluster_of(1, 1)
    built = make(
        "fluid",
        bundle,
        cluster,
        facts(bundle, cluster),
        Objective(min_accuracy=0.98),
        high_s=2,
        low_s=0.5,
        calm_s=3,
    )
    assert built.playbook.policy.name == "fluid"
    assert built.playbook.policy.settings == {
        "floor": 0.98,
        "high_s": 2.0,
        "low_s": 0.5,
        "calm_s": 3.0,
    }
    assert any("d0, d1 would be below the floor of 0.98" in note for note in built.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"high_s": "soon"}, "is no time in seconds|is not a number"),
        ({"low_s": -1}, "is no time in seconds|is not a number"),
        ({"calm_s": float("nan")}, "is no time in seconds|is not a number"),
        ({"low_s": 3, "high_s": 2}, "must be below"),
        ({"stages": 2}, "has no option"),
    ],
)
def test_marks_that_make_no_sense_are_refused(
    bundle: Bundle, options: dict[str, object], words: str
) -> None:
    cluster = cluster_of(1, 1)
    with pytest.raises(PlanError, match=words):
        make("fluid", bundle, cluster, facts(bundle, cluster), **options)


def test_accuracy_is_of_classes_and_of_nothing_else(bundle: Bundle) -> None:
    assert build(bundle, 1.0, 1.0, task="classifier")
    with pytest.raises(PlanError, match="counted in classes: leave --task and --agreement out"):
        build(bundle, 1.0, 1.0, task="detector")


def test_a_network_without_sub_networks_is_refused() -> None:
    network = ToyNetwork()
    cluster = cluster_of(1, 1)
    profiles = Profiles.scaled(cluster, ToyProfile.even(network, 10.0))
    with pytest.raises(PlanError, match="shoal train fluid"):
        make("fluid", network, cluster, profiles)


def test_other_strategies_spread_a_bundle_as_any_network(bundle: Bundle) -> None:
    cluster = cluster_of(1, 1)
    found = compare(bundle, cluster, facts(bundle, cluster))
    offered = {option.strategy for option in found.options if option.forecast is not None}
    assert {"fluid", "pipeline", "replicas", "local", "remote"} <= offered


def test_each_plan_gives_what_its_sub_network_gives_in_one_piece(bundle: Bundle) -> None:
    cluster = cluster_of(1, 1, 1, 1)
    dealt = deal(bundle.subnets, bundle.groups, dict.fromkeys(cluster.names, 1.0))
    offered = offers(bundle.subnets, dealt)
    parts = {part for offer in offered for _, part in offer.parts()}
    ground = Ground(bundle, cluster, facts(bundle, cluster), dict.fromkeys(parts, 0.5))
    for offer in offered:
        assert prove_subnet(bundle, ground.plan(*offer), offer.subnet) <= 1e-5


def test_a_plan_that_gives_something_else_is_refused(bundle: Bundle) -> None:
    """Two owners change places, as a damaged export might have it."""
    (dense,) = [
        subnet
        for subnet in bundle.subnets
        if subnet.variant is Variant.DENSE and subnet.owners == fluid.PAIR
    ]
    first, second = dense.stages
    swapped = {"0": first.parts["1"], "1": first.parts["0"]}
    wrong = msgspec.structs.replace(
        dense, stages=(SubStage(swapped, first.inputs, first.outputs, first.join), second)
    )
    cluster = cluster_of(1, 1)
    parts = {part for stage in dense.stages for part in stage.parts.values()}
    ground = Ground(bundle, cluster, facts(bundle, cluster), dict.fromkeys(parts, 0.5))
    with pytest.raises(ProofError, match="differs from the sub-network"):
        prove_subnet(bundle, ground.plan(wrong, ("d0", "d1")), wrong)


def test_a_part_takes_its_share_of_the_time_of_the_whole(bundle: Bundle) -> None:
    whole = bundle.reference.stages[0].parts["0"]
    quarter = bundle.alone((0,)).stages[0].parts["0"]
    found = shares(bundle, [whole, quarter])
    assert set(found) == {whole, quarter}
    assert all(share > 0 for share in found.values())


def test_shoal_plan_takes_a_bundle_like_any_network(bundle: Bundle, tmp_path: Path) -> None:
    """Through the public call, on a cluster that only exists on paper."""
    store = shoal.PartStore(tmp_path / "store")
    cluster = cluster_of(1, 1)
    playbook = shoal.plan(
        bundle, cluster, "fluid", profiles=facts(bundle, cluster), store=store, high_s=1.0
    )
    assert playbook.strategy == "fluid"
    assert all(not store.missing(part) for part in playbook.parts)


speeds = st.lists(st.floats(0.1, 10), min_size=1, max_size=6)


@given(speeds)
def test_dealing_gives_every_device_groups_and_no_two_of_a_team_the_same(
    bundle: Bundle, given_speeds: list[float]
) -> None:
    known = {f"d{k}": speed for k, speed in enumerate(given_speeds)}
    dealt = deal(bundle.subnets, bundle.groups, known)
    assert dealt.keys() == known.keys()
    assert list(dealt) == sorted(known, key=lambda name: -known[name])
    team = teams(dealt)
    groups = sorted(group for name in team for group in dealt[name])
    assert groups == [0, 1, 2, 3]
    widths = [sum(bundle.groups[g] for g in dealt[name]) for name in team]
    assert widths == sorted(widths, reverse=True)
