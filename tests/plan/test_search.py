"""The search for chains: equal to trying everything, and quick where that is hopeless."""

import itertools
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.toys.network import ToyNetwork, ToyProfile

from shoal.plan.cluster import Cluster, Device, Gateway, Links, Pair, Rate
from shoal.plan.costs import measure
from shoal.plan.profiles import DeviceProfile, LinkProfile, Profiles
from shoal.plan.search import (
    Least,
    Leg,
    best_chains,
    bottleneck_ms,
    candidates,
    quicker,
)
from shoal.plan.size import Size


@st.composite
def small_cases(draw):
    nodes = draw(st.integers(1, 5))
    widths = tuple(draw(st.lists(st.integers(1, 50), min_size=nodes + 1, max_size=nodes + 1)))
    network = ToyNetwork(widths)
    count = draw(st.integers(1, 3))
    names = [f"d{k}" for k in range(count)]
    gateway_computes = draw(st.booleans())
    cluster = Cluster(
        devices=tuple(Device(name=name) for name in names),
        gateway=Gateway(compute=gateway_computes),
    )
    ms = st.floats(0.1, 20)
    devices = {}
    for name in (*names, "gateway"):
        node_ms = tuple(draw(st.lists(ms, min_size=nodes, max_size=nodes)))
        profile = ToyProfile(node_ms, fixed_ms=draw(st.floats(0, 2)))
        devices[name] = DeviceProfile(profile, draw(st.floats(0, 1)), hop_ms=draw(st.floats(0, 1)))
    links = {
        pair: LinkProfile(draw(st.floats(0, 10)), draw(st.floats(10, 1e6)))
        for pair in itertools.permutations(devices, 2)
    }
    if draw(st.booleans()):  # two that are alike
        devices["d0"] = devices[names[-1]]
    room = {name: draw(st.integers(1, 6)) * 1000 for name in names if draw(st.booleans())}
    profiles = Profiles(devices, links)
    computing = [device.name for device in cluster.computing]
    return measure(network, cluster, profiles, computing, room)


def every_chain(costs):
    end = costs.positions[-1]
    for count in range(1, len(costs.devices) + 1):
        for devices in itertools.permutations(costs.devices, count):
            for inner in itertools.combinations(costs.positions[1:-1], count - 1):
                places = (0, *inner, end)
                yield tuple(
                    Leg(d, a, b)
                    for d, (a, b) in zip(devices, itertools.pairwise(places), strict=True)
                )


def memory_of(costs, chain):
    return sum(
        costs.memory[costs.devices.index(leg.device)][
            costs.positions.index(leg.first), costs.positions.index(leg.last)
        ]
        for leg in chain
    )


def latency_ms(costs, chain):
    """The time of one image through a chain that is otherwise idle."""
    total, giver = 0.0, -1
    for leg in chain:
        d = costs.devices.index(leg.device)
        i, j = costs.positions.index(leg.first), costs.positions.index(leg.last)
        total += float(costs.hop_ms[giver, d][i]) + float(costs.run_ms[d][i, j])
        giver = d
    return total + float(costs.hop_ms[giver, -1][costs.end])


@given(small_cases())
@settings(max_examples=200, deadline=None)
def test_the_search_finds_what_trying_everything_finds(costs):
    values = {
        Least.BOTTLENECK: bottleneck_ms,
        Least.LATENCY: latency_ms,
        Least.MEMORY: memory_of,
    }
    for least, value in values.items():
        found = best_chains(costs, least)
        tried = {}
        for chain in every_chain(costs):
            cost = value(costs, chain)
            if np.isfinite(bottleneck_ms(costs, chain)):
                tried[len(chain)] = min(cost, tried.get(len(chain), np.inf))
        assert {count: cost for count, (cost, _) in found.items()} == pytest.approx(tried)
        for count, (cost, chain) in found.items():
            assert len(chain) == count
            assert value(costs, chain) == pytest.approx(cost)


@given(small_cases())
@settings(max_examples=100, deadline=None)
def test_a_quicker_chain_is_the_quickest_that_is_no_slower_in_throughput(costs):
    for chain in candidates(costs):
        better = quicker(costs, chain)
        limit = bottleneck_ms(costs, chain)
        assert bottleneck_ms(costs, better) <= limit * (1 + 1e-6)
        least = min(
            latency_ms(costs, other)
            for other in every_chain(costs)
            if len(other) == len(chain) and bottleneck_ms(costs, other) <= limit
        )
        assert latency_ms(costs, better) <= least * (1 + 1e-9)


def unequal(count, network, *, like=None):
    """A cluster of ``count`` devices, each of its own speed (or of one of ``like`` speeds)."""
    devices = tuple(
        Device(name=f"d{k}", speed=1 + ((k * 7) % (like or 97)) / 10) for k in range(count)
    )
    cluster = Cluster(devices=devices)
    profiles = Profiles.scaled(cluster, ToyProfile.even(network, 100.0))
    return measure(network, cluster, profiles, cluster.names, {})


def test_many_equal_devices_cost_little():
    costs = unequal(100, ToyNetwork((4,) * 61), like=1)
    started = time.process_time()
    found = best_chains(costs, Least.BOTTLENECK)
    assert time.process_time() - started < 10  # trying all sets would take 2^100 steps
    # 60 nodes: 60 devices get a node each, 20 get three each.
    assert len(found) == 60
    assert found[60][0] < found[20][0] < found[1][0]


def test_twelve_unequal_devices_get_shares_by_speed():
    costs = unequal(12, ToyNetwork((4,) * 101))
    found = best_chains(costs, Least.BOTTLENECK)
    total = sum(1 + ((k * 7) % 97) / 10 for k in range(12))
    best, chain = min(found.values(), key=lambda item: item[0])
    # No split is better than shares in proportion to speed, 100 ms in all; one node is 1 ms.
    assert 100 / total <= best <= 100 / total + 1.5
    assert {leg.device for leg in chain} <= {f"d{k}" for k in range(12)}


def test_a_device_without_memory_is_given_nothing():
    network = ToyNetwork((4,) * 5)
    cluster = Cluster(devices=(Device(name="big"), Device(name="tiny", memory=Size(10))))
    profiles = Profiles.scaled(cluster, ToyProfile.even(network))
    costs = measure(network, cluster, profiles, cluster.names, {"tiny": 10})
    assert {chain for _, chain in best_chains(costs, Least.BOTTLENECK).values()} == {
        (Leg("big", 0, 4),)
    }


def test_the_order_follows_the_links():
    network = ToyNetwork((4,) * 5)
    devices = (Device(name="a"), Device(name="b"), Device(name="c"))
    slow = Rate(mbit_s=0.01, rtt_ms=10)
    fast = [
        Pair(first="gateway", second="b", mbit_s=100, back_mbit_s=0.01),
        Pair(first="b", second="c", mbit_s=100, back_mbit_s=0.01),
        Pair(first="c", second="a", mbit_s=100, back_mbit_s=0.01),
        Pair(first="a", second="gateway", mbit_s=100, back_mbit_s=0.01),
    ]
    cluster = Cluster(devices=devices, links=Links(default=slow, pairs=tuple(fast)))
    profiles = Profiles.scaled(cluster, ToyProfile.even(network, 12.0))
    costs = measure(network, cluster, profiles, cluster.names, {})
    _, chain = best_chains(costs, Least.BOTTLENECK)[3]
    assert [leg.device for leg in chain] == ["b", "c", "a"]


def test_what_a_device_holds_already_needs_no_memory():
    network = ToyNetwork((4,) * 5)
    cluster = Cluster(devices=(Device(name="a"), Device(name="b")))
    profiles = Profiles.scaled(cluster, ToyProfile.even(network))
    room = {"a": 0, "b": 0}
    held = {"a": {(0, 2)}, "b": {(2, 4)}}
    costs = measure(network, cluster, profiles, cluster.names, room, held)
    _, chain = best_chains(costs, Least.MEMORY)[2]
    assert chain == (Leg("a", 0, 2), Leg("b", 2, 4))


def test_the_sweep_finds_chains_between_the_extremes():
    costs = unequal(4, ToyNetwork((4,) * 21))
    few, many = set(candidates(costs)), set(candidates(costs, sweep=8))
    assert few <= many
    assert len(many) > len(few)


def test_legs_are_plain_data():
    leg = Leg("a", 0, 3)
    assert msgspec.json.decode(msgspec.json.encode(leg), type=Leg) == leg


@pytest.mark.parametrize("least", list(Least))
def test_nobody_is_in_a_chain_of_many_unequal_devices_twice(least):
    """Though one that is quick would be the best for all of it."""
    costs = unequal(14, ToyNetwork((4,) * 41))
    found = best_chains(costs, least)
    for count, (_, chain) in found.items():
        names = [leg.device for leg in chain]
        assert len(set(names)) == len(names) == count
    assert max(found) == len(costs.devices), "each of them can have something"


def test_of_many_unequal_devices_those_follow_each_other_that_are_well_linked():
    """Each has a good link to the next quicker one alone; by speed, the quickest would be first."""
    names = [f"d{k}" for k in range(14)]
    good = {"mbit_s": 100.0, "rtt_ms": 0.1}
    pairs = [Pair(first="gateway", second=name, back_mbit_s=100.0, **good) for name in names]
    pairs += [
        Pair(first=giver, second=taker, back_mbit_s=0.0006, **good)
        for giver, taker in itertools.pairwise(names)
    ]
    cluster = Cluster(
        devices=tuple(Device(name=name, speed=1 + k / 100) for k, name in enumerate(names)),
        links=Links(Rate(mbit_s=0.0006, rtt_ms=0.1), tuple(pairs)),
    )
    network = ToyNetwork((4,) * 41)
    profiles = Profiles.scaled(cluster, ToyProfile.even(network, 100.0))
    found = best_chains(measure(network, cluster, profiles, names, {}), Least.BOTTLENECK)
    best, chain = min(found.values(), key=lambda item: item[0])
    order = [names.index(leg.device) for leg in chain]
    assert len(order) >= 3
    assert order == sorted(set(order))
    assert best < 100 / 1.13 / 2, "two of them share the work, or more"
