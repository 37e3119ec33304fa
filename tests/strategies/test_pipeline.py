"""The pipeline: cuts that suit the devices, and spares for the loss of any one of them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.toys.cluster import memory_of, on_one_host
from tests.toys.network import ToyNetwork, ToyPart, ToyProfile
from tests.toys.strategy import compare

from shoal.core.policy import DeviceView, View, find_policy
from shoal.errors import PlanError, ProofError
from shoal.plan.cluster import Cluster, Device
from shoal.plan.objective import Objective
from shoal.plan.playbook import plan_without
from shoal.plan.profiles import DeviceProfile, Profiles
from shoal.plan.prove import run_plan
from shoal.plan.size import Size
from shoal.strategies.base import find_strategy
from shoal.strategies.making import make

# 12 nodes of 5 ms and 1 kB of memory each; a skip makes some cuts two tensors wide.
NETWORK = ToyNetwork((100,) * 13, skips={4: (2,)})
KB = 1000


def facts(cluster, network=NETWORK, ms=60.0):
    return Profiles.scaled(cluster, ToyProfile.even(network, ms))


def equal(count, memory=0):
    return Cluster(devices=tuple(Device(name=f"d{k}", memory=Size(memory)) for k in range(count)))


def build(cluster, objective=None, network=NETWORK, **options):
    return make("pipeline", network, cluster, facts(cluster, network), objective, **options)


def ranges(plan):
    return [next(iter(stage.parts.values())).removeprefix("toyhash-") for stage in plan.stages]


def test_equal_devices_get_equal_shares():
    main = build(equal(4)).playbook.plans[0]
    assert main.name == "d0 > d1 > d2 > d3"
    assert ranges(main) == ["0-3", "3-6", "6-9", "9-12"]
    assert main.forecast.images_per_s == pytest.approx(1000 / 15, rel=0.05)


def test_unequal_devices_get_shares_by_speed():
    cluster = Cluster(devices=(Device(name="slow"), Device(name="fast", speed=3)))
    main = build(cluster).playbook.plans[0]
    sizes = {d: stage.parts[d] for stage in main.stages for d in stage.parts}
    first, last = map(int, sizes["fast"].split("-")[1:])
    assert last - first == 9


def test_a_device_that_would_make_it_worse_is_left_idle_and_that_is_said():
    cluster = Cluster(
        devices=(Device(name="a"), Device(name="b"), Device(name="snail", speed=0.01))
    )
    built = build(cluster)
    assert built.playbook.plans[0].devices == {"a", "b"}
    assert built.notes[0].startswith("snail stays idle: with more devices the forecast is 1.8")


def test_stages_that_were_asked_for_are_given_but_it_is_said_when_one_device_is_better():
    cluster = Cluster(devices=(Device(name="a"), Device(name="snail", speed=0.01)))
    built = build(cluster, stages=2)
    assert len(built.playbook.plans[0].stages) == 2
    assert built.notes[0].startswith("a alone would be better than 2 stages (16.")


@pytest.mark.parametrize("stages", [0, -1, 5, 13])
def test_impossible_numbers_of_stages_are_refused(stages):
    with pytest.raises(PlanError, match=f"{stages} stages are not possible.* ask for 1 to 4"):
        build(equal(4), stages=stages)


def test_for_latency_one_device_is_best_and_the_fastest():
    cluster = Cluster(devices=(Device(name="a"), Device(name="b", speed=2)))
    assert build(cluster, "latency").playbook.plans[0].name == "only b"


def test_a_limit_on_latency_is_kept_and_throughput_made_the_most_of():
    cluster = Cluster.from_yaml(
        "devices: [{name: a}, {name: b}, {name: c}, {name: d}]\nlinks: {default: {rtt_ms: 20}}"
    )
    free = build(cluster).playbook.plans[0]
    assert len(free.stages) == 4
    bound = build(cluster, Objective(max_latency_ms=100.0)).playbook.plans[0]
    assert bound.forecast.latency_ms <= 100
    assert len(bound.stages) == 2


def test_memory_limits_shape_the_cuts():
    cluster = Cluster(devices=(Device(name="a", memory=Size(2 * KB)), Device(name="b")))
    main = build(cluster).playbook.plans[0]
    assert main.forecast.memory == {"a": 2000, "b": 10000}


def test_a_network_that_fits_nowhere_is_refused_with_the_numbers():
    with pytest.raises(PlanError, match=r"needs 11.7 KiB in one piece, the limits are d0 2.9 KiB"):
        build(equal(2, memory=3 * KB))
    with pytest.raises(PlanError, match="in 2 stages"):
        build(equal(3, memory=5 * KB), stages=2)


def test_every_plan_gives_the_networks_answer_and_chains_carry_wide_cuts():
    built = build(equal(4))
    feeds = NETWORK.probe(5)
    whole = ToyPart(NETWORK, 0, 12).run_on(None, feeds)["t12"]
    for plan in built.playbook.plans:
        assert np.allclose(run_plan(plan, built.parts, feeds)["t12"], whole, atol=1e-6)
    assert any(len(s.inputs) == 2 for plan in built.playbook.plans for s in plan.stages)


def test_the_loss_of_any_device_has_its_plan_and_so_have_most_losses_of_two():
    playbook = build(equal(4)).playbook
    for lost in playbook.plans[0].devices:
        spare = plan_without(playbook, lost)
        assert spare is not None
        assert spare.spare
        assert spare.forecast.images_per_s == pytest.approx(1000 / 20, rel=0.05)
    for pair in itertools.combinations(playbook.plans[0].devices, 2):
        assert any(not plan.devices & set(pair) for plan in playbook.plans)


def test_a_request_that_lost_its_device_half_way_does_not_begin_again():
    playbook = build(equal(4)).playbook
    main = playbook.plans[0]
    for index, stage in enumerate(main.stages[1:], 1):
        (lost,) = stage.parts
        alive = View(0.0, {f"d{k}": DeviceView(usable=f"d{k}" != lost) for k in range(4)})
        choice, _ = find_policy("preferred").choose(playbook, alive, stage.inputs, None)
        assert choice is not None
        assert choice.start >= 1
        assert playbook.plan(choice.plan).stages[choice.start].inputs == stage.inputs
        assert lost not in {name for names in choice.route[index:] for name in names}


def test_an_idle_device_takes_over_just_the_lost_part():
    playbook = build(equal(4), stages=2).playbook
    main = playbook.plans[0]
    spare = plan_without(playbook, "d0")
    assert ranges(spare) == ranges(main)
    assert spare.devices & {"d2", "d3"}


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_who_asks_for_a_spread_gets_one_when_a_device_is_gone_too(cores):
    """On few cores one worker alone has the better forecast, but that is not what was asked for."""
    cluster = on_one_host(4, cores=cores)
    playbook = build(cluster, stages=4).playbook
    for name in cluster.names:
        spare = plan_without(playbook, name)
        assert spare.devices == set(cluster.names) - {name}
    alone = [len(plan.devices) == 1 for plan in playbook.plans]
    assert alone == sorted(alone)
    assert any(alone)


def test_who_leaves_it_open_gets_the_best_by_forecast():
    cluster = on_one_host(4, cores=1)
    playbook = build(cluster).playbook
    assert len(playbook.plans[0].devices) == 1
    spare = plan_without(playbook, next(iter(playbook.plans[0].devices)))
    assert len(spare.devices) == 1


def test_spares_stay_within_the_memory_and_what_is_missing_is_said():
    # 12 kB of parts on 4 devices of 4 kB: after the main plan each has 1 kB left.
    built = build(equal(4, memory=4 * KB))
    for device in ("d0", "d1", "d2", "d3"):
        assert memory_of(built.playbook, device) <= 4 * KB
    assert "nothing stands in for d0 when it is gone: the others have not the memory" in (
        " ".join(built.notes)
    )


def test_where_memory_is_short_each_loss_is_covered_before_any_is_covered_well():
    # Enough for the main part (3 kB) and for the parts of others that they take over.
    built = build(equal(4, memory=7 * KB))
    assert not any("nothing stands in" in note for note in built.notes)
    for device in ("d0", "d1", "d2", "d3"):
        assert plan_without(built.playbook, device) is not None
        assert memory_of(built.playbook, device) <= 7 * KB


def test_one_device_has_no_stand_in():
    assert build(equal(1)).notes == (
        "nothing stands in for d0 when it is gone: there is no other device",
    )


def test_a_gateway_that_may_compute_takes_part_and_needs_no_stand_in():
    cluster = Cluster.from_yaml("devices: [{name: a}]\ngateway: {compute: true}")
    built = build(cluster)
    assert built.playbook.plans[0].devices == {"a", "gateway"}
    assert built.notes == ()
    assert plan_without(built.playbook, "a").devices == {"gateway"}


def test_cores_that_workers_share_are_not_counted_twice():
    cluster = on_one_host(4, cores=2)
    built = build(cluster)
    assert len(built.playbook.plans[0].stages) == 2
    assert "worker-3, worker-4 stay idle" in built.notes[0]


def test_a_network_without_cuts_is_run_in_one_piece():
    network = ToyNetwork((4, 4))
    playbook = build(equal(3), network=network).playbook
    assert playbook.plans[0].name == "only d0"


def test_parts_that_do_not_give_the_networks_answer_never_serve():
    class Spoilt(ToyNetwork):
        def split(self, cuts, *, prove=True):
            return [ToyPart(self, p.first, p.last, bool(cuts)) for p in super().split(cuts)]

    with pytest.raises(ProofError, match="plan 'd0 > d1' differs from the whole network by"):
        build(equal(2), network=Spoilt((8,) * 5))


def test_long_chains_have_short_names():
    network = ToyNetwork((4,) * 41)
    names = [f"a-board-with-a-long-name-{k}" for k in range(8)]
    cluster = Cluster(devices=tuple(Device(name=name) for name in names))
    playbook = build(cluster, network=network).playbook
    assert all(len(plan.name) <= 100 for plan in playbook.plans)
    assert len({plan.name for plan in playbook.plans}) == len(playbook.plans)


def test_strategies_are_compared_and_the_best_is_recommended():
    cluster = equal(3)
    found = compare(NETWORK, cluster, facts(cluster), "throughput")
    assert [option.strategy for option in found.options][:2] == ["replicas", "pipeline"]
    assert found.distribute

    far = Cluster.from_yaml(
        "devices: [{name: a}, {name: b}]\nlinks: {default: {mbit_s: 0.01, rtt_ms: 300}}"
    )
    found = compare(NETWORK, far, facts(far), "throughput")
    assert (found.strategy, found.distribute) == ("local", False)
    assert "bounded by link" in found.reason


def test_options_that_cannot_be_had_are_compared_with_their_reason():
    cluster = Cluster.from_yaml(
        "devices: [{name: a, memory: 7 kB}, {name: b, memory: 7 kB}]\ngateway: {memory: 1 kB}"
    )
    found = compare(NETWORK, cluster, facts(cluster))
    assert found.strategy == "pipeline"
    assert {o.strategy for o in found.options if o.refused} >= {"local", "remote", "replicas"}
    assert found.options[0].unprotected == (("a",), ("b",))


@st.composite
def clusters(draw):
    count = draw(st.integers(1, 4))
    devices = tuple(
        Device(
            name=f"d{k}",
            speed=draw(st.sampled_from([0.25, 1.0, 1.0, 4.0])),
            memory=Size(draw(st.sampled_from([0, 2, 4, 8, 16])) * KB),
        )
        for k in range(count)
    )
    return Cluster(devices=devices)


@given(clusters(), st.sampled_from(["throughput", "latency"]))
@settings(deadline=None, max_examples=40)
def test_whatever_the_cluster_limits_hold_and_gaps_are_said(cluster, aim):
    pipeline = find_strategy("pipeline")
    try:
        wish = Objective.of(aim)
        built = pipeline.build(NETWORK, cluster, facts(cluster), wish, pipeline.options())
    except PlanError:
        limits = [device.memory for device in cluster.devices]
        assert all(limits)
        assert sum(limits) // KB < 12 + len(limits)
        return
    playbook = built.playbook
    for device in cluster.devices:
        assert not device.memory or memory_of(playbook, device.name) <= device.memory
    for lost in playbook.plans[0].devices:
        told = any(f"nothing stands in for {lost} " in note for note in built.notes)
        assert (plan_without(playbook, lost) is None) == told


def test_each_stage_runs_several_requests_at_once_if_its_device_gains_by_that():
    cluster = equal(2)
    known = {
        "d0": DeviceProfile(ToyProfile.even(NETWORK, 60.0), batch_ratio={4: 0.7}),
        "d1": DeviceProfile(ToyProfile.even(NETWORK, 60.0), batch_ratio={4: 1.1}),
    }
    profiles = Profiles.scaled(cluster, ToyProfile.even(NETWORK, 60.0), known=known)
    plan = make("pipeline", NETWORK, cluster, profiles, stages=2).playbook.plans[0]
    batches = {next(iter(stage.parts)): stage.batch for stage in plan.stages}
    assert batches == {"d0": 4, "d1": 1}
