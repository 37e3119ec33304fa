"""Cluster files: what they may say, and how each mistake is answered."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.toys.cluster import on_one_host

from shoal.errors import ClusterError
from shoal.plan.cluster import Cluster, Device, Gateway, Host, Links, Pair, Power, Rate
from shoal.plan.size import Size
from shoal.safe_yaml import MAX_BYTES

KITCHEN = """
name: kitchen
gateway: {name: laptop, address: 192.168.1.2:7447}
devices:
  - {name: pi-1, address: tcp/192.168.1.11:7447, memory: 900 MiB, speed: 0.25,
     power: {idle_w: 2, busy_w: 5}}
  - {name: pi-2, address: "pi-2.local:7447", host: box}
  - {name: pi-3, host: box, threads: 2}
hosts: {box: {cores: 4}}
links:
  default: {mbit_s: 100, rtt_ms: 1}
  pairs:
    - {from: laptop, to: pi-1, mbit_s: 20, back_mbit_s: 5, rtt_ms: 30}
lease_ms: 300
"""


def test_a_cluster_file_is_read():
    cluster = Cluster.from_yaml(KITCHEN)
    assert cluster.name == "kitchen"
    assert cluster.names == ("pi-1", "pi-2", "pi-3")
    assert cluster.node("pi-1").memory == 900 << 20
    assert cluster.node("laptop").address == "tcp/192.168.1.2:7447"
    assert cluster.node("pi-2").address == "tcp/pi-2.local:7447"
    assert cluster.host_of("pi-3") == "box"
    assert cluster.cores_of("box") == 4
    assert cluster.cores_of("laptop") == 1
    assert cluster.lease_ms == 300


def test_links_are_directed_and_default_to_the_default():
    cluster = Cluster.from_yaml(KITCHEN)
    assert cluster.rate("laptop", "pi-1") == Rate(20, 30)
    assert cluster.rate("pi-1", "laptop") == Rate(5, 30)
    assert cluster.rate("pi-1", "pi-2") == Rate(100, 1)
    assert cluster.rate("pi-2", "pi-3").mbit_s > 1000  # one host: loopback


def test_the_gateway_computes_only_where_the_file_says_so():
    assert [d.name for d in Cluster.from_yaml(KITCHEN).computing] == ["pi-1", "pi-2", "pi-3"]
    willing = Cluster.from_yaml("devices: [{name: a}]\ngateway: {compute: true}")
    assert [d.name for d in willing.computing] == ["a", "gateway"]


def test_devices_of_one_host_share_its_cores():
    cluster = on_one_host(3, cores=2)
    assert cluster.names == ("worker-1", "worker-2", "worker-3")
    assert {cluster.host_of(name) for name in (*cluster.names, "gateway")} == {"here"}
    assert cluster.cores_of("here") == 2


def test_a_file_is_loaded_and_named_in_errors(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(KITCHEN)
    assert Cluster.load(path) == Cluster.from_yaml(KITCHEN)
    path.write_text("devices: []")
    with pytest.raises(ClusterError, match=r"cluster\.yaml: devices: is empty; list at least one"):
        Cluster.load(path)


MISTAKES = {
    "": "holds no settings",
    "just text": "holds no settings",
    "name: x": "the key 'devices' is missing",
    "devices: []": "devices: is empty",
    "devices: {a: b}": "devices: expected `array`, got `object`",
    "devices: [{}]": r"devices\[0\]: the key 'name' is missing",
    "devices: [{name: a, memori: 3}]": r"devices\[0\]: unknown key 'memori'; the keys",
    "devices: [{name: a}]\ncolour: red": "unknown key 'colour'; the keys here are name, devices",
    "devices: [{name: a, power: {watts: 3}}]": r"devices\[0\].power: unknown key 'watts'.* idle_w",
    "devices: [{name: a}]\nlinks: {pairs: [{from: a, to: gateway, mbits: 3}]}": (
        r"links.pairs\[0\]: unknown key 'mbits'; the keys here are from, to, mbit_s"
    ),
    "devices: [{name: a}]\ngateway: {colour: red}": "gateway: unknown key 'colour'.*compute",
    "devices: [{name: a}, {name: a}]": r"devices\[1\].name: 'a' is also the name of devices\[0\]",
    "devices: [{name: gateway}]": r"gateway.name: 'gateway' is also the name of devices\[0\]",
    "devices: [{name: 'a b'}]": r"devices\[0\].name: 'a b' is not a name",
    "devices: [{name: ''}]": "is not a name",
    "devices: [{name: 'a/b'}]": "is not a name",
    "devices: [{name: 7}]": r"devices\[0\].name: expected `str`, got `int`",
    "devices: [{name: a, address: foo}]": r"devices\[0\].address: 'foo' is not an address",
    "devices: [{name: a, address: 'a:0'}]": "is not an address",
    "devices: [{name: a, address: 'a:70000'}]": "is not an address",
    "devices: [{name: a, address: 'ftp/a:70'}]": "is not an address.*tcp",
    "devices: [{name: a, address: 'h:7'}, {name: b, address: tcp/h:7}]": (
        r"devices\[1\].address: tcp/h:7 is also the address of devices\[0\]"
    ),
    "devices: [{name: a, threads: 0}]": r"devices\[0\].threads: 0 is not a number of threads",
    "devices: [{name: a, threads: many}]": "threads: expected `int`",
    "devices: [{name: a, memory: -1}]": r"devices\[0\].memory: -1 is not a size",
    "devices: [{name: a, memory: 3 parsecs}]": "'3 parsecs' is not a size; write it like 900 MiB",
    "devices: [{name: a, memory: [1]}]": "is not a size",
    "devices: [{name: a, memory: true}]": "is not a size",
    "devices: [{name: a, speed: 0}]": r"devices\[0\].speed: 0 makes no sense",
    "devices: [{name: a, speed: .nan}]": "speed: nan makes no sense",
    "devices: [{name: a, reliability: 0}]": r"devices\[0\].reliability: 0 is not a share",
    "devices: [{name: a, reliability: 1.01}]": "above 0, up to 1",
    "devices: [{name: a, reliability: .nan}]": "reliability: nan",
    "devices: [{name: a, reliability: often}]": "reliability: expected `float`",
    "devices: [{name: a, speed: .inf}]": "speed: inf makes no sense",
    "devices: [{name: a, provider: ''}]": "provider: is not the name",
    "devices: [{name: a, power: {busy_w: -1}}]": r"devices\[0\].power.busy_w: -1 makes no sense",
    "devices: [{name: a, host: b}]": r"devices\[0\].host: 'b' is not in 'hosts'; add",
    "devices: [{name: a, host: 'b c'}]": "host: 'b c' is not a name",
    "devices: [{name: a}]\nhosts: {b: {cores: 1}}": "hosts.b: no device is on this host",
    "devices: [{name: a, host: b}]\nhosts: {b: {cores: 0}}": "hosts.b.cores: 0 makes no sense",
    "devices: [{name: a, host: b}]\nhosts: {b: {corse: 1}}": "unknown key 'corse'.*cores",
    "devices: [{name: a}]\nlinks: {default: {mbit_s: 0}}": "links.default.mbit_s: 0 makes no sense",
    "devices: [{name: a}]\nlinks: {default: {rtt_ms: -1}}": "rtt_ms: -1 makes no sense",
    "devices: [{name: a}]\nlinks: {pairs: [{from: a, to: q}]}": (
        r"links.pairs\[0\].to: no device is called 'q' \(there are: a, gateway\)"
    ),
    "devices: [{name: a}]\nlinks: {pairs: [{from: a, to: a}]}": "links 'a' to itself",
    "devices: [{name: a}]\nlinks: {pairs: [{from: a, to: gateway}, {from: gateway, to: a}]}": (
        r"links.pairs\[1\]: gateway and a are linked in links.pairs\[0\] already"
    ),
    "devices: [{name: a}]\nlinks: {pairs: [{from: a, to: gateway, back_mbit_s: 0}]}": "back_mbit_s",
    "devices: [{name: a}]\nlease_ms: 0": "lease_ms: 0 makes no sense",
    "devices: [{name: a}]\nwait_s: -1": "wait_s: -1 makes no sense",
    "devices: [{name: a}]\ndevices: [{name: b}]": r":2:1: .*'devices' stands here twice",
    "devices: [{name: a, name: b}]": "'name' stands here twice",
    "devices: [": "is not valid YAML",
    "a: &x [1]\nb: *x": "aliases .* are not allowed",
    "!!python/object/apply:os.system [true]": "is not valid YAML",
    "[" * 5000: "nested too deeply|not valid YAML",
    "? [1, 2]\n: 3": "not valid YAML|expected `str`",
    "1: 2": "expected `str`|holds no|unknown key",
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: text[:60])
def test_a_mistake_is_answered_with_its_place_and_a_remedy(text):
    with pytest.raises(ClusterError, match=MISTAKES[text]) as found:
        Cluster.from_yaml(text, source="c.yaml")
    assert str(found.value).startswith("c.yaml")


def test_a_file_that_cannot_be_read_is_a_cluster_error(tmp_path):
    with pytest.raises(ClusterError, match="cannot be read"):
        Cluster.load(tmp_path / "absent.yaml")
    with pytest.raises(ClusterError, match="cannot be read"):
        Cluster.load(tmp_path)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ClusterError, match="larger than"):
        Cluster.load(large)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00devices")
    with pytest.raises(ClusterError, match="not UTF-8"):
        Cluster.load(binary)
    with pytest.raises(ClusterError, match="larger than"):
        Cluster.from_yaml("#" * (MAX_BYTES + 1))


def test_a_cluster_made_in_python_is_checked_as_well():
    with pytest.raises(ClusterError, match="is empty"):
        Cluster(devices=())
    with pytest.raises(ClusterError, match="no device is called 'z'"):
        Cluster(devices=(Device(name="a"),)).node("z")


names = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
rates = st.floats(0.001, 1e5)


@st.composite
def clusters(draw):
    taken = draw(st.lists(names, min_size=2, max_size=5, unique=True))
    *members, gateway = taken
    shared = draw(st.booleans())
    devices = tuple(
        Device(
            name=name,
            address=draw(st.none() | st.just(f"tcp/{name}:7447")),
            threads=draw(st.integers(1, 8)),
            memory=Size(draw(st.integers(0, 1 << 34))),
            speed=draw(rates),
            reliability=draw(st.floats(0, 1, exclude_min=True)),
            host="box" if shared else None,
            power=draw(st.none() | st.builds(Power, rates, rates, rates)),
        )
        for name in members
    )
    pair = Pair(first=gateway, second=members[0], mbit_s=draw(st.none() | rates))
    return Cluster(
        devices=devices,
        gateway=Gateway(name=gateway, compute=draw(st.booleans())),
        hosts={"box": Host(draw(rates))} if shared else {},
        links=Links(Rate(draw(rates), draw(rates)), (pair,) if draw(st.booleans()) else ()),
        lease_ms=draw(st.integers(1, 10**6)),
    )


@given(clusters())
@settings(deadline=None)
def test_what_is_written_is_read_back_the_same(cluster):
    assert Cluster.from_yaml(cluster.to_yaml()) == cluster


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_text_is_a_cluster_or_a_cluster_error(text):
    with contextlib.suppress(ClusterError):
        assert Cluster.from_yaml(text).devices


@pytest.mark.parametrize(
    ("text", "size"),
    [("900 MiB", 900 << 20), ("1.5 GB", 1_500_000_000), ("4096", 4096), ("2kb", 2000), ("1 B", 1)],
)
def test_sizes_are_read_with_their_units(text, size):
    assert Size.parse(text) == size


@given(st.integers(0, (1 << 50) - 1))
def test_sizes_are_written_so_that_they_read_the_same(size):
    assert Size.parse(str(Size(size))) == size
