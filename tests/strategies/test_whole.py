"""The strategies that do not cut: local, remote, replicas."""

import dataclasses

import msgspec
import pytest
from tests.toys.network import ToyNetwork, ToyProfile

from shoal.errors import PlanError
from shoal.plan.cluster import Cluster
from shoal.plan.profiles import Profiles
from shoal.plan.size import Size
from shoal.strategies.base import find_strategy
from shoal.strategies.making import make

NETWORK = ToyNetwork()


def cluster_of(text):
    return Cluster.from_yaml(text)


def facts(cluster, ms=40.0):
    return Profiles.scaled(cluster, ToyProfile.even(NETWORK, ms))


THREE = cluster_of(
    """
    devices:
      - {name: slow, speed: 0.5}
      - {name: fast, speed: 2}
      - {name: middling}
    """
)


def test_local_runs_on_the_gateway_alone():
    built = make("local", NETWORK, THREE, facts(THREE))
    (plan,) = built.playbook.plans
    assert plan.devices == {"gateway"}
    assert plan.forecast.latency_ms == pytest.approx(40)
    assert plan.forecast.images_per_s == pytest.approx(25)
    assert plan.forecast.bytes_per_image == 0


def test_local_refuses_a_gateway_without_the_memory():
    cluster = cluster_of("devices: [{name: a}]\ngateway: {memory: 1 KiB}")
    with pytest.raises(PlanError, match=r"needs 3.9 KiB, its limit is 1.0 KiB"):
        make("local", NETWORK, cluster, facts(cluster))


def test_remote_prefers_the_fastest_and_keeps_the_others_ready():
    playbook = make("remote", NETWORK, THREE, facts(THREE)).playbook
    assert [plan.name for plan in playbook.plans] == ["only fast", "only middling", "only slow"]
    assert [plan.spare for plan in playbook.plans] == [False, True, True]


def test_remote_takes_the_link_into_account():
    cluster = msgspec.structs.replace(
        THREE,
        links=msgspec.convert(
            {"pairs": [{"from": "gateway", "to": "fast", "mbit_s": 0.001, "rtt_ms": 100}]},
            type(THREE.links),
        ),
    )
    playbook = make("remote", NETWORK, cluster, facts(cluster), "latency").playbook
    assert playbook.plans[0].name == "only middling"


def test_remote_says_when_nothing_stands_by():
    cluster = cluster_of("devices: [{name: a}]")
    built = make("remote", NETWORK, cluster, facts(cluster))
    assert built.notes == ("nothing stands in for a when it is gone",)


def test_remote_falls_back_to_a_gateway_that_may_compute():
    cluster = cluster_of("devices: [{name: a}]\ngateway: {compute: true}")
    playbook = make("remote", NETWORK, cluster, facts(cluster)).playbook
    assert [plan.name for plan in playbook.plans] == ["only a", "only gateway"]


def test_replicas_add_up_and_leave_out_who_cannot_hold_the_network():
    small = msgspec.structs.replace(THREE.devices[0], memory=Size(100))
    cluster = msgspec.structs.replace(THREE, devices=(small, *THREE.devices[1:]))
    built = make("replicas", NETWORK, cluster, facts(cluster))
    (plan,) = built.playbook.plans
    assert plan.devices == {"fast", "middling"}
    assert "slow is left out" in built.notes[0]
    assert plan.forecast.images_per_s == pytest.approx(1000 / 20 + 1000 / 40, rel=0.05)
    assert plan.run_ms(0, "fast") == pytest.approx(20)


def test_every_strategy_refuses_options_that_it_does_not_know():
    with pytest.raises(PlanError, match=r"'local' has no option 'colour'"):
        make("local", NETWORK, THREE, facts(THREE), colour="red")


def test_an_unknown_strategy_is_answered_with_the_known_ones():
    with pytest.raises(PlanError, match=r"'locla' .*local, pipeline, .*remote, replicas"):
        find_strategy("locla")


def test_parts_go_into_the_store():
    kept = []

    class Kept:
        def add_part(self, part):
            kept.append(part.hash)

    built = make("local", NETWORK, THREE, facts(THREE), store=Kept())
    assert kept == list(built.playbook.parts)


@pytest.mark.parametrize(("ratio", "batch"), [({4: 0.8, 8: 0.9}, 4), ({4: 0.97, 8: 0.96}, 1)])
def test_several_requests_are_run_at_once_where_that_was_measured_to_pay(ratio, batch):
    profile = ToyProfile.even(NETWORK, 40.0)
    measured = Profiles.scaled(THREE, profile, batch_ratio=ratio)
    for strategy in ("local", "remote", "replicas"):
        plans = make(strategy, NETWORK, THREE, measured).playbook.plans
        usual = make(strategy, NETWORK, THREE, facts(THREE)).playbook.plans
        assert {stage.batch for plan in plans for stage in plan.stages} == {batch}
        gain = plans[0].forecast.images_per_s / usual[0].forecast.images_per_s
        assert (gain > 1.05) == (batch > 1)


@pytest.mark.parametrize("strategy", ["local", "remote", "replicas", "pipeline"])
def test_requests_that_change_each_other_are_never_run_at_once_whatever_was_measured(strategy):
    """A profile may be older than what is known of the network."""
    mixing = dataclasses.replace(NETWORK, stacks=False)
    measured = Profiles.scaled(THREE, ToyProfile.even(NETWORK, 40.0), batch_ratio={4: 0.5})
    book = make(strategy, mixing, THREE, measured).playbook
    assert {stage.batch for plan in book.plans for stage in plan.stages} == {1}
    usual = make(strategy, mixing, THREE, facts(THREE)).playbook
    assert book.plans[0].forecast == usual.plans[0].forecast, "and nothing is hoped for"
    assert not book.together
