"""What a cluster would be with more or fewer devices."""

import pytest

from shoal.plan.cluster import Cluster
from shoal.plan.fleet import fleet

STATED = """
devices:
  - {name: pi-1, speed: 0.1, address: "tcp/10.0.0.1:7447"}
  - {name: pi-2, speed: 0.2, address: "tcp/10.0.0.2:7447", data_port: 9000, host: box}
gateway: {host: box}
hosts: {box: {cores: 4}}
links:
  default: {mbit_s: 100, rtt_ms: 1}
  pairs:
    - {from: gateway, to: pi-2, mbit_s: 10, back_mbit_s: 5, rtt_ms: 7}
    - {from: pi-1, to: pi-2, mbit_s: 3}
"""


def test_fewer_are_the_first_ones() -> None:
    one, same = fleet(Cluster.from_yaml(STATED), 1)
    assert (one.names, same) == (("pi-1",), {"pi-1": "pi-1", "gateway": "gateway"})
    assert one.links.pairs == ()
    assert fleet(Cluster.from_yaml(STATED), 2)[0] == Cluster.from_yaml(STATED)


def test_more_are_copies_of_the_last_one_on_hosts_of_their_own() -> None:
    more, same = fleet(Cluster.from_yaml(STATED), 4)
    assert more.names == ("pi-1", "pi-2", "pi-2-2", "pi-2-3")
    assert (same["pi-2-3"], more.node("pi-2-3").speed) == ("pi-2", 0.2)
    assert (more.node("pi-2-3").address, more.node("pi-2-3").data_port) == (None, None)
    assert (more.host_of("pi-2-2"), more.cores_of("pi-2-2")) == ("pi-2-2", 1.0)
    for name in ("pi-2", "pi-2-2", "pi-2-3"):
        there, back = more.rate("gateway", name), more.rate(name, "gateway")
        assert (there.mbit_s, back.mbit_s, there.rtt_ms) == (10, 5, 7)
        assert more.rate(name, "pi-1").mbit_s == 3
    assert more.rate("pi-2-2", "pi-2-3").mbit_s == 100


@pytest.mark.parametrize("count", [3, 12])
def test_a_name_that_is_taken_is_not_given_again(count: int) -> None:
    stated = Cluster.from_yaml("devices: [{name: a-2}, {name: a}]")
    more, same = fleet(stated, count)
    assert len(set(more.names)) == count
    assert set(same.values()) == {"a", "a-2", "gateway"}
