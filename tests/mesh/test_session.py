"""How Zenoh is set up."""

import json

import pytest

from shoal.errors import UsageError
from shoal.mesh.address import Address
from shoal.mesh.session import configuration

HERE = [Address("tcp", "127.0.0.1", 7447)]


def told(listen=HERE, connect=(), settings=None):
    config = configuration(listen, connect, 400, settings or {})
    return lambda path: json.loads(config.get_json(path))


def test_who_listens_nowhere_has_a_greater_number_than_all_who_do():
    """Of two the greater calls, and nobody can call one that listens nowhere."""
    listening = [told()("id") for _ in range(50)]
    calling = [told(listen=[])("id") for _ in range(50)]
    assert all(len(number) == 32 for number in listening + calling)
    assert len(set(listening + calling)) == 100
    assert max(int(number, 16) for number in listening) < min(int(number, 16) for number in calling)


def test_addresses_and_the_lease_are_those_that_were_asked_for():
    config = told(connect=["tcp/board.lan:7447"])
    assert config("listen/endpoints") == ["tcp/127.0.0.1:7447"]
    assert config("connect/endpoints") == ["tcp/board.lan:7447"]
    assert config("transport/link/tx/lease") == 400
    assert config("scouting/multicast/enabled") is False


def test_settings_of_the_user_have_the_last_word():
    config = told(settings={"id": "abc", "transport/link/tx/lease": 900})
    assert (config("id"), config("transport/link/tx/lease")) == ("abc", 900)


@pytest.mark.parametrize("settings", [{"no/such": 1}, {"mode": "nonsense"}, {"id": ""}])
def test_settings_that_make_no_sense_are_refused_by_name(settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        told(settings=settings)
