"""Addresses are read strictly, and ports that cannot be had are explained."""

import socket

import pytest

from shoal.errors import AddressInUseError, UsageError
from shoal.mesh.address import Address, bindable, dial, numbered, parse_address, resolved


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp/127.0.0.1:7447", Address("tcp", "127.0.0.1", 7447)),
        ("tls/board.local:0", Address("tls", "board.local", 0)),
        ("tcp/[::1]:80", Address("tcp", "::1", 80)),
        ("tcp/[fe80::1%eth0]:7447", Address("tcp", "fe80::1%eth0", 7447)),
        ("tcp/10.0.0.1:1#iface=eth0", Address("tcp", "10.0.0.1", 1, "#iface=eth0")),
    ],
)
def test_addresses_are_read_and_written(text, expected):
    assert parse_address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    ["", "localhost:7447", "tcp/host", "tcp/host:", "tcp/host:70000", "tcp/::1:80", "x" * 300],
)
def test_what_is_no_address_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match=r"tcp/192\.168\.1\.7:7447"):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("fe80::1%lo", f"fe80::1%{socket.if_nametoindex('lo')}"),
        ("fe80::1%7", "fe80::1%7"),
        ("fe80::1%nozone9", "fe80::1%nozone9"),
        ("fe80::1", "fe80::1"),
        ("board.local", "board.local"),
    ],
)
def test_the_engine_is_told_a_zone_by_number(host, expected):
    assert numbered(Address("tcp", host, 1)) == Address("tcp", expected, 1)
    if ":" in host:
        assert resolved(Address("tcp", host, 1)) == [f"tcp/[{expected}]:1"]


def test_the_engine_is_told_the_ipv6_addresses_of_a_name_too(monkeypatch):
    real = socket.getaddrinfo

    def look(host, port, family=0, kind=0):
        if host != "six.test":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return real("::1", port, family, kind)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    assert resolved(Address("tcp", "six.test", 1)) == ["tcp/six.test:1", "tcp/[::1]:1"]
    for address in (Address("tcp", "no.test", 1), Address("udp", "six.test", 1)):
        assert resolved(address) == [str(address)]


def test_a_host_name_that_cannot_be_one_is_refused_in_words():
    address = Address("tcp", "a" * 70, 1)
    assert dial(address) == "the host name is unknown"
    with pytest.raises(AddressInUseError, match="that is no host name"):
        bindable(address)
    assert resolved(address) == [str(address)]


def test_port_zero_becomes_a_free_port():
    address = bindable(Address("tcp", "127.0.0.1", 0))
    assert address.port > 0
    assert dial(address) == "the host is there, but nothing listens on that port"


def test_a_taken_port_is_said_to_be_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("tcp", "127.0.0.1", server.getsockname()[1])
        assert dial(address) is None
        with pytest.raises(AddressInUseError, match=f"{address.port}: another process has"):
            bindable(address)


def test_an_address_of_another_host_is_refused():
    with pytest.raises(AddressInUseError, match="is this an address of ours"):
        bindable(Address("tcp", "192.0.2.1", 7447))


def test_an_unknown_host_is_said_to_be_unknown():
    assert dial(Address("tcp", "no-such-host.invalid", 7447)) == "the host name is unknown"


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("tcp/127.0.0.1:7447", True),
        ("tcp/[::1]:7447", True),
        ("tcp/localhost:7447", True),
        ("tcp/0.0.0.0:7447", False),
        ("tcp/board.local:7447", False),
    ],
)
def test_loopback_is_told_from_a_network(text, local):
    assert parse_address(text).is_loopback == local
