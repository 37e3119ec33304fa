"""What is said of devices that are not there."""

import socket

import pytest

from shoal.runtime.absent import look_for
from shoal_lab.inproc import InprocMesh


class Knowing:
    """A link that knows who answers at which address."""

    def __init__(self, names):
        self.names = names

    def who(self, address):
        return self.names.get(address)


@pytest.fixture
def listening():
    """Addresses at which something listens."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
            each.listen(8)
        yield [f"tcp/127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]


def test_who_answers_in_the_place_of_a_device_is_said(listening):
    here, there = listening
    found = look_for(Knowing({here: "x", there: "c"}), {"b": here, "c": there})
    assert found == {"b": f"at {here} answers a node named x, not b"}


def test_nothing_is_said_where_it_is_not_known_who_answers(listening):
    assert look_for(InprocMesh()("g"), {"b": listening[0]}) == {}
    assert look_for(InprocMesh()("g"), {}) == {}


def test_where_nobody_listens_that_is_said():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        address = f"tcp/127.0.0.1:{other.getsockname()[1]}"
        found = look_for(Knowing({}), {"b": address})
    assert found == {"b": f"{address}: the host is there, but nothing listens on that port"}
