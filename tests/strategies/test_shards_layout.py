"""Which regions are dealt, and by which shares."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.toys.network import ToyProfile

from shoal import zoo
from shoal.errors import PlanError
from shoal.model.network import load
from shoal.model.shards import Op, Units, regions, shard
from shoal.plan.cluster import Cluster
from shoal.plan.profiles import Profiles
from shoal.strategies.shards.costs import Ground, shares_of
from shoal.strategies.shards.layout import lay_out


@pytest.fixture(scope="module")
def network():
    return load(zoo.path("fashion-resnet"))


@pytest.fixture(scope="module")
def offered(network):
    return regions(network).regions


def ground(network, links="", ms=5.0, rho=0.0):
    cluster = Cluster.from_yaml(f"devices: [{{name: a}}, {{name: b}}, {{name: c}}]\n{links}")
    profiles = Profiles.scaled(cluster, ToyProfile((ms,) * len(network.nodes), fixed_ms=0.1))
    return Ground(network, cluster, profiles, ("a", "b", "c"), (1 / 3,) * 3, rho)


def dealt(layout):
    return [step.what for step in layout if step.what is not None]


def test_the_steps_follow_each_other_and_no_class_of_the_answer_can_be_missing(network, offered):
    layout = lay_out(ground(network), offered, {}, False)
    assert layout[0].start == 0
    assert [step.start for step in layout[1:]] == [step.end for step in layout[:-1]]
    assert layout[-1].what is None or layout[-1].what.op is Op.SUM
    assert layout[-1].end == len(network.nodes)


def test_on_slow_links_less_is_dealt(network, offered):
    """An exchange costs more than the computing that it saves."""
    quick = lay_out(ground(network), offered, {}, False)
    slow = lay_out(ground(network, "links: {default: {mbit_s: 1, rtt_ms: 50}}"), offered, {}, False)
    assert len(dealt(slow)) < len(dealt(quick))
    every = lay_out(ground(network, "links: {default: {mbit_s: 1}}"), offered, {}, True)
    assert len(dealt(every)) > len(dealt(slow))


def test_the_more_is_common_the_less_a_region_saves(network, offered):
    region = next(region for region in offered if region.op is Op.SUM)
    costs = [ground(network, rho=rho).compute_ms(region) for rho in (0.0, 0.5, 1.0)]
    assert costs == sorted(costs)
    nodes = region.end - region.start
    assert costs[2] == pytest.approx(5.0 * nodes + 0.1)


def test_only_what_is_not_common_of_channels_is_sent(network, offered):
    region = next(region for region in offered if region.op is Op.CHANNELS)
    whole, half = (ground(network, rho=rho).exchange_ms(region) for rho in (0.0, 0.5))
    assert half < whole


@pytest.mark.parametrize("key", [(0, 3), (3, 8), (8, 14), (25, 30)])
def test_the_memory_of_a_shard_is_not_underestimated(network, offered, key):
    region = next(region for region in offered if region.key == key)
    own = {w.name: Units(tuple(range(w.units // 2)), (w.units - 1,)) for w in region.widths}
    held = {w.name: (w.units // 2 + 1) / w.units for w in region.widths}
    made = shard(network, region, own).info.memory
    assert made <= ground(network).memory(region, held) <= 1.3 * made


def test_without_regions_nothing_can_be_dealt(network):
    with pytest.raises(PlanError, match="no layer that can be dealt"):
        lay_out(ground(network), [], {}, False)


def test_too_little_memory_says_who_has_it(network, offered):
    with pytest.raises(PlanError, match=r"b needs .* and has 976.6 KiB for them; raise a limit"):
        lay_out(ground(network), offered, {"b": 1_000_000}, False)


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 100)), min_size=1, max_size=6))
def test_shares_follow_speed_as_far_as_there_is_room(devices: list[tuple[float, float]]) -> None:
    speeds, rooms = [speed for speed, _ in devices], [room for _, room in devices]
    shares = shares_of(speeds, rooms, 50.0)
    assert math.fsum(shares) == pytest.approx(1)
    if math.fsum(rooms) >= 50.0 * (1 + 1e-9):
        assert all(
            s * 50 <= room * (1 + 1e-6) + 1e-9 for s, room in zip(shares, rooms, strict=True)
        )
    free = [k for k in range(len(shares)) if rooms[k] - shares[k] * 50 > 1e-6]
    rates = [shares[k] / speeds[k] for k in free]
    assert all(rate == pytest.approx(rates[0], rel=1e-6) for rate in rates)


def test_shares_without_limits_are_those_of_the_speeds() -> None:
    assert shares_of([3, 1], [math.inf, math.inf], 8.0) == [0.75, 0.25]
