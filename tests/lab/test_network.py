"""Topologies become wires, addresses and routes."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.errors import LabFileError
from shoal_lab.file import parse_lab
from shoal_lab.network import Network, network
from shoal_lab.spec import HostSpec, LabSpec, PairSpec

FOUR = "{a: {}, b: {}, c: {}, d: {}}"


def net(topology: str, hosts: str = FOUR) -> Network:
    return network(parse_lab(f"hosts: {hosts}\ntopology: {topology}"))


def wires(of: Network) -> set[str]:
    return {wire.name for wire in of.wires}


def way(of: Network, source: str, target: str) -> list[str]:
    """The nodes that a packet passes."""
    passed = [source]
    while passed[-1] != target:
        passed.append(of.routes[passed[-1]][target].other(passed[-1]))
    return passed


def test_a_star_joins_all_hosts_by_a_switch() -> None:
    star = net("star")
    assert wires(star) == {"a:switch", "b:switch", "c:switch", "d:switch"}
    assert way(star, "a", "c") == ["a", "switch", "c"]


def test_a_ring_joins_neighbours_and_takes_the_shorter_way() -> None:
    ring = net("ring")
    assert wires(ring) == {"a:b", "b:c", "c:d", "d:a"}
    assert way(ring, "a", "d") == ["a", "d"]
    assert len(way(ring, "a", "c")) == 3


def test_a_ring_of_two_is_one_link_and_of_one_is_none() -> None:
    assert wires(net("ring", "{a: {}, b: {}}")) == {"a:b"}
    assert wires(net("ring", "{a: {}}")) == set()


def test_a_mesh_joins_each_with_each() -> None:
    mesh = net("mesh")
    assert len(mesh.wires) == 6
    assert way(mesh, "b", "d") == ["b", "d"]


def test_devices_meet_in_their_cloud() -> None:
    cloud = net("{kind: device-cloud, cloud: c}")
    assert wires(cloud) == {"a:c", "b:c", "d:c"}
    assert way(cloud, "a", "b") == ["a", "c", "b"]


def test_a_lan_reaches_its_cloud_over_the_wan() -> None:
    lan = net("{kind: lan+wan, cloud: d, link: {mbit: 50}, wan: {mbit: 5}}")
    assert wires(lan) == {"a:switch", "b:switch", "c:switch", "switch:d"}
    assert way(lan, "a", "d") == ["a", "switch", "d"]
    assert lan.wire("d", "switch").link.mbit == 5


def test_a_link_of_its_own_replaces_that_of_the_topology() -> None:
    spec = parse_lab(f"hosts: {FOUR}\ntopology: ring\nlinks: [{{between: [b, a], mbit: 3}}]")
    made = network(spec)
    assert len(made.wires) == 4
    assert made.wire("a", "b").link.mbit == 3
    assert made.wire("a", "b").ends == ("b", "a")


def test_of_equally_short_ways_the_one_with_less_delay_is_taken() -> None:
    text = f"hosts: {FOUR}\ntopology: ring\nlinks: [{{between: [a, b], delay_ms: 9}}]"
    assert way(network(parse_lab(text)), "a", "c") == ["a", "d", "c"]


def test_a_link_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(LabFileError, match="there are a:b"):
        net("ring", "{a: {}, b: {}}").wire("a", "x")


@settings(deadline=None)
@given(st.data())
def test_every_way_back_is_the_way_there_and_none_is_longer_than_needed(
    data: st.DataObject,
) -> None:
    hosts = [f"h{i}" for i in range(data.draw(st.integers(2, 7)))]
    extra = data.draw(
        st.lists(st.tuples(st.sampled_from(hosts), st.sampled_from(hosts)), max_size=8)
    )
    pairs = {frozenset(pair) for pair in (*pairwise(hosts), *extra) if pair[0] != pair[1]}
    delay = st.sampled_from((0.0, 1.0, 5.0))
    links = tuple(
        PairSpec(between=tuple(sorted(pair)), delay_ms=data.draw(delay))  # type: ignore[arg-type]
        for pair in sorted(pairs, key=sorted)
    )
    made = network(LabSpec(hosts=dict.fromkeys(hosts, HostSpec(share=0.01)), links=links))
    for a in hosts:
        hops = distances(made, a)
        for b in hosts:
            if a != b:
                assert way(made, a, b) == way(made, b, a)[::-1]
                assert len(way(made, a, b)) - 1 == hops[b]


def distances(of: Network, source: str) -> dict[str, int]:
    found = {source: 0}
    queue = [source]
    for here in queue:
        for wire in of.wires:
            if here in wire.ends and wire.other(here) not in found:
                found[wire.other(here)] = found[here] + 1
                queue.append(wire.other(here))
    return found


@settings(deadline=None)
@given(st.integers(1, 64), st.sampled_from(("star", "ring", "mesh")))
def test_addresses_are_unique_and_everybody_is_reached(count: int, kind: str) -> None:
    hosts = "{" + ", ".join(f"h{i}: {{share: 0.01}}" for i in range(count)) + "}"
    made = net(kind, hosts) if count <= 12 or kind != "mesh" else net("star", hosts)
    assert len(set(made.addresses.values())) == len(made.addresses)
    assert all(len(routes) == len(made.addresses) - 1 for routes in made.routes.values())
