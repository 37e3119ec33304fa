"""Places are told as one word, and what cannot be one is left out."""

import socket
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.mesh.place import (
    MAX_HOST,
    MAX_PLACES,
    Place,
    in_zones,
    is_place,
    own_hosts,
    read_places,
    write_places,
)

hosts = st.text(
    st.characters(categories=["L", "N"], include_characters="-._:%"), min_size=1, max_size=40
)
places = st.builds(
    lambda hosts, port: tuple(Place(host, port) for host in hosts),
    st.lists(hosts, max_size=MAX_PLACES),
    st.integers(1, 65535),
)


@given(places)
def test_places_survive_being_told(places):
    assert read_places(write_places(places)) == places


@given(st.text())
def test_whatever_is_told_is_read_as_places_that_can_be(word):
    found = read_places(word)
    assert len(found) <= MAX_PLACES
    assert all(map(is_place, found))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("-", ()),
        ("", ()),
        ("7448", ()),
        ("7448,", ()),
        ("0,a", ()),
        ("65536,a", ()),
        ("-1,a", ()),
        ("٣,a", ()),
        ("7448,a,,b", (Place("a", 7448), Place("b", 7448))),
        (f"1,{'h' * (MAX_HOST + 1)},b", (Place("b", 1),)),
        ("1,a\n,b", (Place("b", 1),)),
        ("1,fe80::1%eth0", (Place("fe80::1%eth0", 1),)),
    ],
)
def test_what_cannot_be_a_place_is_left_out(word, expected):
    assert read_places(word) == expected


def test_no_more_than_so_many_are_read():
    word = ",".join(["1", *(f"h{k}" for k in range(100_000))])
    assert len(read_places(word)) == MAX_PLACES


@pytest.mark.parametrize(
    ("place", "text"),
    [(Place("board.lan", 1), "board.lan:1"), (Place("fe80::1%eth0", 2), "[fe80::1%eth0]:2")],
)
def test_a_place_is_written_as_people_do(place, text):
    assert str(place) == text


@pytest.fixture
def machine(monkeypatch):
    """A machine with some addresses."""
    addresses = {
        "lo": [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")],
        "eth0": [
            (socket.AF_INET6, "fe80::1%eth0"),
            (socket.AF_INET6, "2001:db8::7"),
            (socket.AF_INET, "192.168.1.7"),
            (psutil.AF_LINK, "02:00:00:00:00:01"),
        ],
        "wlan0": [(socket.AF_INET, "10.0.0.7"), (socket.AF_INET, "nonsense")],
    }
    monkeypatch.setattr(
        psutil,
        "net_if_addrs",
        lambda: {
            name: [SimpleNamespace(family=family, address=address) for family, address in entries]
            for name, entries in addresses.items()
        },
    )
    return addresses


@pytest.mark.parametrize(
    ("bound", "told"),
    [
        ([], []),
        (["board.lan"], ["board.lan"]),
        (["192.168.1.7", "::1"], ["192.168.1.7", "::1"]),
        (["0.0.0.0"], ["192.168.1.7", "10.0.0.7", "127.0.0.1"]),
        (["::"], ["192.168.1.7", "10.0.0.7", "2001:db8::7", "127.0.0.1", "::1"]),
        (["fe80::1%eth0", "10.0.0.7"], ["fe80::1", "10.0.0.7"]),
        (["10.0.0.7", "0.0.0.0"], ["10.0.0.7", "192.168.1.7", "127.0.0.1"]),
    ],
    ids=repr,
)
def test_a_node_tells_where_others_may_find_it(machine, bound, told):
    assert own_hosts(bound) == told


@pytest.mark.parametrize(
    ("host", "tried"),
    [
        ("10.0.0.1", ["10.0.0.1"]),
        ("board.lan", ["board.lan"]),
        ("2001:db8::1", ["2001:db8::1"]),
        ("fe80::1%wlan0", ["fe80::1%wlan0"]),
        ("FE80::1", ["FE80::1%eth0"]),
    ],
)
def test_an_address_of_a_link_is_tried_in_all_zones_of_the_machine(machine, host, tried):
    assert in_zones(host) == tried


def test_a_machine_with_many_addresses_tells_some(machine):
    machine["many"] = [(socket.AF_INET, f"10.1.0.{k}") for k in range(100)]
    assert len(own_hosts(["0.0.0.0"])) == MAX_PLACES
