"""What a cluster file may say: the last that is possible, and the first that is not."""

import pytest

from shoal.errors import ClusterError
from shoal.plan.cluster import Cluster, Device, Gateway, Host, Links, Pair, Power, Rate
from shoal.plan.cluster_check import normal_address, split_address
from shoal.plan.size import Size, readable

LONG = "x" * 64


def of(*devices, **more):
    return Cluster(devices=devices or (Device(name="a"),), **more)


def alone(**fields):
    return of(Device(**{"name": "a", **fields}))


def linked(**fields):
    pairs = (Pair(first="a", second="gateway", **fields),)
    return of(links=Links(Rate(100, 1), pairs))


def many(count):
    return of(*(Device(name=f"d{k}") for k in range(count)))


POSSIBLE = [
    lambda: alone(name=LONG),
    lambda: alone(name="0"),
    lambda: alone(name="a._-"),
    lambda: alone(threads=1),
    lambda: alone(threads=1024),
    lambda: alone(memory=Size(0)),
    lambda: alone(memory=Size((1 << 50) - 1)),
    lambda: alone(speed=1e-9),
    lambda: alone(reliability=1e-9),
    lambda: alone(reliability=1.0),
    lambda: alone(provider="p" * 100),
    lambda: alone(power=Power(0.0, 0.0, 0.0)),
    lambda: alone(address="tcp/h:1"),
    lambda: alone(address="tcp/h:65535"),
    lambda: alone(address="tcp/h:7", data_port=0),
    lambda: alone(data_port=65535),
    lambda: of(
        Device(name="a", address="tcp/h:7", data_port=9),
        Device(name="b", address="tcp/i:7", data_port=9),
    ),
    lambda: of(
        Device(name="a", address="tcp/h:7", data_port=0),
        Device(name="b", address="tcp/h:8", data_port=0),
    ),
    lambda: of(Device(name="a", data_port=9), Device(name="b", data_port=9)),
    lambda: of(Device(name="a", host="box"), hosts={"box": Host(0.5)}),
    lambda: of(gateway=Gateway(name="gateway", host="box"), hosts={"box": Host(1)}),
    lambda: of(links=Links(Rate(1e-9, 0.0))),
    lambda: linked(mbit_s=0.5, rtt_ms=0.0, back_mbit_s=0.5),
    lambda: linked(),
    lambda: of(lease_ms=1),
    lambda: of(wait_s=0.5),
    lambda: many(4096),
]

IMPOSSIBLE = [
    (r"devices\[0\].name: .* is not a name", lambda: alone(name=LONG + "x")),
    (r"devices\[0\].name: '-a' is not a name", lambda: alone(name="-a")),
    (r"gateway.name: '' is not a name", lambda: of(gateway=Gateway(name=""))),
    (r"devices\[0\].threads: 1025", lambda: alone(threads=1025)),
    (r"gateway.threads: 0", lambda: of(gateway=Gateway(name="gateway", threads=0))),
    (r"devices\[0\].memory: -1 is not a size", lambda: alone(memory=Size(-1))),
    (r"devices\[0\].memory: 1125899906842624", lambda: alone(memory=Size(1 << 50))),
    (r"devices\[0\].provider: ", lambda: alone(provider="p" * 101)),
    (r"power.idle_w: -1", lambda: alone(power=Power(-1.0, 0.0, 0.0))),
    (r"power.transmit_w: -1", lambda: alone(power=Power(0.0, 0.0, -1.0))),
    (r"address: .* is not an address", lambda: alone(address="tcp/h:65536")),
    (r"data_port: 65536 is no port", lambda: alone(data_port=65536)),
    (r"data_port: -1 is no port", lambda: alone(data_port=-1)),
    (
        r"devices\[0\].data_port: 8 is also the port of devices\[1\].address",
        lambda: of(
            Device(name="a", address="tcp/h:7", data_port=8), Device(name="b", address="tcp/h:8")
        ),
    ),
    (
        r"devices\[1\].data_port: 9 is also the port of devices\[0\].data_port",
        lambda: of(
            Device(name="a", address="tcp/h:7", data_port=9),
            Device(name="b", address="tcp/h:8", data_port=9),
        ),
    ),
    (
        r"gateway.address: tcp/h:7 is also the address of devices\[0\]",
        lambda: of(
            Device(name="a", address="tcp/h:7"), gateway=Gateway(name="g", address="tcp/h:7")
        ),
    ),
    (
        r"links.pairs\[0\].from: no device",
        lambda: of(links=Links(Rate(1, 1), (Pair(first="z", second="a"),))),
    ),
    (r"links.pairs\[0\].mbit_s: 0", lambda: linked(mbit_s=0.0)),
    (r"links.pairs\[0\].rtt_ms: -1", lambda: linked(rtt_ms=-1.0)),
    (r"links.pairs\[0\].back_mbit_s: 0", lambda: linked(back_mbit_s=0.0)),
    (r"links.default.mbit_s: inf", lambda: of(links=Links(Rate(float("inf"), 1)))),
    (r"links.default.rtt_ms: inf", lambda: of(links=Links(Rate(1, float("inf"))))),
    (r"devices: holds 4097, at most 4096", lambda: many(4097)),
]


@pytest.mark.parametrize("make", POSSIBLE)
def test_the_last_that_is_possible_is_accepted(make):
    assert make().devices


@pytest.mark.parametrize(("complaint", "make"), IMPOSSIBLE)
def test_the_first_that_is_not_is_refused_with_its_place(complaint, make):
    with pytest.raises(ClusterError, match=complaint):
        make()


@pytest.mark.parametrize(
    ("address", "normal", "split"),
    [
        ("h:1", "tcp/h:1", ("h", 1)),
        ("tcp/h:007", "tcp/h:7", ("h", 7)),
        ("tcp/10.0.0.1:65535", "tcp/10.0.0.1:65535", ("10.0.0.1", 65535)),
        ("[fe80::1%eth0]:7", "tcp/[fe80::1%eth0]:7", ("fe80::1%eth0", 7)),
        ("h:0", None, ("h", 0)),
        ("h", None, None),
        (":7", None, None),
        ("quic/h:7", None, ("h", 7)),
        ("", None, None),
    ],
)
def test_an_address_is_a_host_and_a_port(address, normal, split):
    assert normal_address(address) == normal
    assert split_address(address) == split


def test_who_has_no_address_has_no_host():
    assert split_address(None) is None


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        ((1 << 20) - 1, "1024.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (1 << 30, "1.0 GiB"),
        (3 << 39, "1.5 TiB"),
    ],
)
def test_a_size_is_shown_in_the_largest_unit_that_it_fills(size, text):
    assert readable(size) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1024, "1 KiB"),
        (1025, "1025 B"),
        (3 << 20, "3 MiB"),
        (1 << 40, "1024 GiB"),
    ],
)
def test_a_size_is_written_exactly(size, text):
    assert str(Size(size)) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("2 tb", 2 * 10**12),
        ("2 TiB", 2 << 40),
        ("2 KiB", 2048),
        ("3 gib", 3 << 30),
        ("7mb", 7 * 10**6),
        ("1125899906842623", (1 << 50) - 1),
    ],
)
def test_every_unit_is_what_it_says(text, size):
    assert Size.parse(text) == size


@pytest.mark.parametrize(
    "text", ["-1", "1125899906842624", "1024 TiB", "1 PB", "", "MB", True, 1.5]
)
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is not a size"):
        Size.parse(text)
