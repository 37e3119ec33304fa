"""Where connections are taken, and how they are made: real sockets, and names of all kinds."""

import errno
import resource
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from shoal.errors import AddressInUseError
from shoal.mesh import doors
from shoal.mesh.address import Address
from shoal.mesh.doors import Doors, call, take
from shoal.mesh.place import Place

LOCAL = Address("tcp", "127.0.0.1", 0)
NOTHING = "the host is there, but nothing listens on that port"
SILENCE = "no reply (is it switched on, is a firewall in the way?)"


@pytest.fixture
def free() -> int:
    """A port that nobody has, and whose successor nobody has either."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            try:
                two.bind(("127.0.0.1", one.getsockname()[1] + 1))
            except (OSError, OverflowError):
                continue
            return one.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[Place]:
    """Where nobody replies: a door whose queue is full, so that the system drops what comes."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        fillers = []
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(door.getsockname())
            fillers.append(filler)
        time.sleep(0.05)
        yield Place("127.0.0.1", door.getsockname()[1])
        for filler in fillers:
            filler.close()


@pytest.fixture
def here() -> Iterator[Doors]:
    opened = Doors([LOCAL], 0)
    yield opened
    opened.close()


def close(results):
    for _, found in results:
        if isinstance(found, socket.socket):
            found.close()


def results(places, **how):
    """What comes of a call, without the sockets."""
    found = list(call(places, **how))
    close(found)
    return [(place, what if isinstance(what, str) else "taken") for place, what in found]


# -- doors ----------------------------------------------------------------------------------------


def test_the_port_is_that_of_the_mesh_plus_one(free):
    opened = Doors([Address("tcp", "127.0.0.1", free)], None)
    assert opened.places == (Place("127.0.0.1", free + 1),)
    opened.close()


def test_any_free_one_where_that_is_taken(free):
    with socket.create_server(("127.0.0.1", free + 1)):
        opened = Doors([Address("tcp", "127.0.0.1", free)], None)
        assert opened.port not in (0, free + 1)
        assert results(opened.places) == [(opened.places[0], "taken")]
        opened.close()


def test_a_stated_port_that_is_taken_is_an_error_in_words():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(AddressInUseError, match=rf"data port: .*{port}: another process"):
            Doors([LOCAL], port)


def test_the_last_port_of_all_has_no_successor():
    opened = Doors([Address("tcp", "127.0.0.1", 65535)], None)
    assert opened.port > 0
    opened.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 70])
def test_a_host_of_somebody_else_or_nobody_is_an_error_in_words(host):
    with pytest.raises(AddressInUseError, match=f"data port: .*{host}"):
        Doors([Address("tcp", host, 0)], 0)


@pytest.mark.parametrize(
    "hosts",
    [
        ["127.0.0.1", "127.0.0.2"],
        ["127.0.0.1", "::1"],
        ["::1", "127.0.0.1"],
        ["0.0.0.0", "::"],
        ["127.0.0.1", "127.0.0.1"],
        ["0.0.0.0", "0.0.0.0"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("stated", [False, True])
def test_the_port_is_the_same_at_all_addresses(hosts, stated, free):
    listen = [Address("tcp", host, free) for host in hosts]
    opened = Doors(listen, free + 1 if stated else None)
    assert opened.port == free + 1
    assert len(opened.sockets) == len(set(hosts))
    for host in hosts:
        at = Place({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), free + 1)
        assert results([at]) == [(at, "taken")]
    opened.close()


def test_a_port_that_is_taken_at_one_of_the_addresses_is_taken_at_none(free):
    with socket.create_server(("127.0.0.2", free + 1)):
        listen = [Address("tcp", host, free) for host in ("127.0.0.1", "127.0.0.2")]
        opened = Doors(listen, None)
        assert opened.port != free + 1
        assert {sock.getsockname()[1] for sock in opened.sockets} == {opened.port}
        assert [place.port for place in opened.places] == [opened.port] * 2
        opened.close()


def test_who_listens_nowhere_has_no_doors_and_no_places():
    opened = Doors([], None)
    assert (opened.sockets, opened.places, opened.port) == ([], (), 0)
    opened.close()


def test_all_of_this_machine_is_told_by_its_addresses():
    opened = Doors([Address("tcp", "0.0.0.0", 0)], 0)
    hosts = [place.host for place in opened.places]
    assert "127.0.0.1" in hosts
    assert not any(":" in host for host in hosts), "nobody is taken there"
    opened.close()
    opened = Doors([Address("tcp", "::", 0)], 0)
    hosts = [place.host for place in opened.places]
    assert {"127.0.0.1", "::1"} <= set(hosts)
    assert results([Place(host, opened.port) for host in ("127.0.0.1", "::1")])[0][1] == "taken"
    opened.close()


def test_no_room_for_another_connection_is_an_error_and_nobody_waiting_is_not(here):
    (door,) = here.sockets
    assert take(door) is None
    client = socket.create_connection(door.getsockname())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011
            take(door)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE
    taken = take(door)
    assert taken is not None
    assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    taken.close()
    client.close()


# -- calls ----------------------------------------------------------------------------------------


def test_a_connection_sends_at_once_and_keeps_little_waiting(here):
    ((place, sock),) = call(here.places)
    assert place == here.places[0]
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == doors.UNSENT_BYTES
    assert sock.gettimeout() is None
    sock.close()


def test_a_port_at_which_nobody_listens_is_said_at_once(free):
    assert results([Place("127.0.0.1", free)]) == [(Place("127.0.0.1", free), NOTHING)]


def test_who_does_not_reply_is_given_up(silent, monkeypatch):
    monkeypatch.setattr(doors, "CONNECT_S", 0.2)
    assert results([silent]) == [(silent, SILENCE)]


def test_the_good_place_is_found_behind_one_that_is_dead(here, silent):
    """The dead one is not waited for: it is waited for only if somebody wants to know."""
    for place, found in call([silent, *here.places]):
        assert place == here.places[0]
        assert isinstance(found, socket.socket)
        found.close()
        break


def test_the_good_place_is_found_behind_many_that_are_dead(here, silent, monkeypatch):
    monkeypatch.setattr(doors, "CONNECT_S", 0.3)
    monkeypatch.setattr(doors, "STAGGER_S", 0.05)
    found = call([silent] * 15 + [*here.places])
    place, sock = next(found)
    assert place == here.places[0]
    sock.close()
    found.close()


def test_who_looks_at_one_for_long_finds_the_others_after_it(here, free):
    """Whoever answers at the first place may be somebody else, and slow to say so."""
    other = Doors([LOCAL], 0)
    found = call([*here.places, *other.places, Place("127.0.0.1", free)])
    (_, first) = next(found)
    time.sleep(doors.CONNECT_S + 0.2)
    rest = list(found)
    close([(None, first), *rest])
    assert [place for place, _ in rest] == [*other.places, Place("127.0.0.1", free)]
    assert isinstance(rest[0][1], socket.socket)
    assert rest[1][1] == NOTHING
    other.close()


def test_a_call_that_nobody_wants_any_more_ends_soon(silent, monkeypatch):
    monkeypatch.setattr(doors, "CONNECT_S", 600.0)
    given_up = threading.Event()
    threading.Timer(0.1, given_up.set).start()
    assert results([silent], given_up=given_up.is_set) == []


def test_a_call_that_is_left_in_the_middle_leaves_no_socket(here, silent):
    for places in ([silent, *here.places], [*here.places] * 3):
        found = call(places)
        _, sock = next(found)
        found.close()
        sock.close()


def test_nothing_is_tried_where_there_are_no_places():
    assert results([]) == []


# -- names ----------------------------------------------------------------------------------------


class Names:
    """What ``getaddrinfo`` knows of some names: addresses, or an event to wait for first."""

    def __init__(self, monkeypatch) -> None:
        self.known: dict[str, list[str] | Exception] = {}
        self.late: dict[str, threading.Event] = {}
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host, port, family=0, type=0, proto=0, flags=0):
        if not host.endswith(".test"):
            return self._real(host, port, family, type, proto, flags)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        if host in self.late:
            self.late[host].wait(30)
        known = self.known.get(host, socket.gaierror(socket.EAI_NONAME, "no such name"))
        if isinstance(known, Exception):
            raise known
        return [found for number in known for found in self._real(number, port, family, type)]


@pytest.fixture
def names(monkeypatch) -> Names:
    return Names(monkeypatch)


def test_a_name_with_two_addresses_of_which_one_is_dead(here, names):
    names.known["two.test"] = ["127.0.0.9", "127.0.0.1"]
    found = results([Place("two.test", here.port)])
    assert found == [(Place("two.test", here.port), NOTHING), (here.places[0], "taken")]


def test_a_name_with_two_addresses_of_which_one_does_not_reply(here, silent, names, monkeypatch):
    real = socket.socket.connect
    monkeypatch.setattr(
        socket.socket,
        "connect",
        lambda sock, at: real(sock, ("127.0.0.1", silent.port) if at[0] == "127.0.0.9" else at),
    )
    names.known["two.test"] = ["127.0.0.9", "127.0.0.1"]
    place, sock = next(found := call([Place("two.test", here.port)]))
    assert place == here.places[0]
    sock.close()
    found.close()


def test_a_name_of_ipv6_only(names):
    opened = Doors([Address("tcp", "::1", 0)], 0)
    assert opened.places == (Place("::1", opened.port),)
    names.known["six.test"] = ["::1"]
    assert results([Place("six.test", opened.port)]) == [(Place("::1", opened.port), "taken")]
    opened.close()


def test_a_name_that_is_unknown_or_none_is_said_to_be(names, here):
    for host in ("no.test", "a" * 70):
        assert results([Place(host, 1), *here.places]) == [
            (Place(host, 1), "the host name is unknown"),
            (here.places[0], "taken"),
        ]


def test_a_name_that_is_not_found_in_time_holds_up_nobody(names, here, monkeypatch):
    names.late["slow.test"] = threading.Event()
    names.known["slow.test"] = ["127.0.0.1"]
    monkeypatch.setattr(doors, "CONNECT_S", 0.5)
    place = Place("slow.test", here.port)
    assert results([place, *here.places]) == [
        (here.places[0], "taken"),
        (place, "the host name is not found in time"),
    ]
    names.late["slow.test"].set()


def test_a_name_that_is_found_late_is_called_yet(names, here, silent):
    names.late["slow.test"] = threading.Event()
    names.known["slow.test"] = ["127.0.0.1"]
    threading.Timer(0.4, names.late["slow.test"].set).start()
    place, sock = next(found := call([Place("slow.test", here.port), silent]))
    assert place == here.places[0]
    sock.close()
    found.close()


def test_places_are_tried_in_the_order_in_which_they_are_stated(names, here):
    """A name that is found at once comes before a number that is stated after it."""
    other = Doors([LOCAL], 0)
    names.known["first.test"] = ["127.0.0.1"]
    found = call([Place("first.test", other.port), *here.places])
    place, sock = next(found)
    assert place == other.places[0]
    sock.close()
    found.close()
    other.close()


def test_an_address_of_a_link_in_a_zone_that_is_not_here_is_refused_in_words():
    place = Place("fe80::1%nozone9", 7448)
    assert results([place]) == [(place, "there is no network interface 'nozone9' here")]


def test_an_address_of_a_link_is_tried_in_its_zone():
    ((place, why),) = results([Place("fe80::1%lo", 7448)])
    assert place.host == "fe80::1%lo"
    assert "interface" not in why


def test_an_address_of_a_link_without_a_zone_is_tried_in_all_or_refused_in_words(monkeypatch):
    place = Place("fe80::1", 7448)
    monkeypatch.setattr(doors, "in_zones", lambda host: [])
    assert results([place]) == [
        (place, "this machine has no network interface for such an address")
    ]
    monkeypatch.setattr(doors, "in_zones", lambda host: [f"{host}%lo", f"{host}%1"])
    assert len(results([place])) == 1, "that is the same zone twice"


def test_who_is_called_by_name_is_told_by_number_with_its_zone():
    found = (socket.AF_INET6, socket.SOCK_STREAM, 6, ("fe80::1", 7448, 0, 1))
    assert doors._by_number(found) == Place("fe80::1%1", 7448)
