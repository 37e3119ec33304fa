"""Strangers cost little and hold up nobody, and who has something to say is heard at once."""

import contextlib
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from shoal.errors import FrameError, MeshError, VersionError
from shoal.mesh import greeting
from shoal.mesh.address import Address
from shoal.mesh.doors import Doors, call
from shoal.mesh.greeting import MAX_PENDING, Porter, reply, say_hello
from shoal.mesh.hello import (
    MAX_HELLO,
    PREAMBLE_BYTES,
    VERSION,
    CallerHello,
    No,
    Refusal,
    Welcome,
    length,
    read_reply,
    write_hello,
)
from shoal.mesh.place import Place

HELLO = CallerHello("c", "a", "1" * 16, "b", "2" * 16, 1, False, (Place("a", 1),))


def halves(number: int = 1, **change: object) -> tuple[bytes, bytes]:
    """The greetings of the two connections of a call: there, and back."""
    hello = msgspec.structs.replace(HELLO, number=number, **change)
    return write_hello(hello), write_hello(msgspec.structs.replace(hello, back=True))


class House:
    """A porter at a door, and whom he let in."""

    def __init__(self) -> None:
        self.doors = Doors([Address("tcp", "127.0.0.1", 0)], 0)
        self.place = self.doors.places[0]
        self.came: list[tuple[CallerHello, socket.socket, socket.socket]] = []
        self.refused: list[str] = []
        self.guests: list[socket.socket] = []
        self.porter = Porter("house", self.doors, self._decide, self.refused.append)
        self.porter.start()

    def _decide(self, hello: CallerHello, there: socket.socket, back: socket.socket) -> None:
        self.came.append((hello, there, back))
        reply(there, Welcome())

    def visit(self, said: bytes = b"") -> socket.socket:
        guest = socket.create_connection((self.place.host, self.place.port))
        self.guests.append(guest)
        if said:
            guest.sendall(said)
        return guest

    def close(self) -> None:
        self.porter.close()
        self.porter.thread.join(30)
        assert not self.porter.thread.is_alive()
        for sock in [*self.guests, *(s for _, *both in self.came for s in both)]:
            sock.close()


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeting, "HELLO_S", 0.3)


def soon(what, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def is_hung_up(guest: socket.socket) -> bool:
    guest.settimeout(0.01)
    try:
        return guest.recv(1000) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def said(guest: socket.socket):
    guest.settimeout(30)
    preamble = guest.recv(PREAMBLE_BYTES, socket.MSG_WAITALL)
    return read_reply(guest.recv(length(preamble), socket.MSG_WAITALL))


# -- who is let in --------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1])
def test_the_two_connections_of_a_call_are_put_together(house, first):
    both = halves()
    guests = {first: house.visit(both[first]), 1 - first: house.visit(both[1 - first])}
    assert said(guests[0]) == Welcome()
    ((hello, there, back),) = house.came
    assert hello == HELLO
    guests[0].sendall(b"from you")
    assert there.recv(100) == b"from you"
    back.sendall(b"to you")
    assert guests[1].recv(100) == b"to you"
    assert there.gettimeout() is None
    assert house.refused == []


def test_calls_that_come_mixed_up_are_told_apart(house):
    pieces = [(n, half) for n in range(20) for half in halves(n)]
    for _, half in pieces[::2] + pieces[::-2]:
        house.visit(half)
    soon(lambda: len(house.came) == 20)
    assert {hello.number for hello, *_ in house.came} == set(range(20))


def test_a_greeting_may_come_letter_by_letter(house):
    there, back = halves()
    guest = house.visit(back)
    guest = house.visit()
    for letter in there:
        guest.sendall(bytes([letter]))
        time.sleep(0.001)
    assert said(guest) == Welcome()


def test_what_is_said_after_the_greeting_is_left_for_who_reads_it(house):
    there, back = halves()
    house.visit(back)
    guest = house.visit(there + b"and more")
    assert said(guest) == Welcome()
    assert house.came[0][1].recv(100) == b"and more"


def test_a_connection_that_came_another_way_is_heard_like_one_that_came_to_the_door(house):
    for half in halves():
        here, there = socket.socketpair()
        assert house.porter.bring(there)
        here.sendall(half)
        house.guests.append(here)
    soon(lambda: len(house.came) == 1)


# -- strangers ------------------------------------------------------------------------------------


def test_who_says_nothing_is_sent_away_after_a_while(hasty, house):
    guest = house.visit()
    soon(lambda: is_hung_up(guest))
    soon(lambda: house.refused == ["it said nothing"])


@pytest.mark.parametrize("beginning", [1, PREAMBLE_BYTES - 1, PREAMBLE_BYTES, PREAMBLE_BYTES + 5])
def test_who_does_not_come_to_an_end_is_sent_away_after_a_while(hasty, house, beginning):
    guest = house.visit(halves()[0][:beginning])
    soon(lambda: is_hung_up(guest))
    assert house.came == []


def test_who_says_a_letter_now_and_then_is_sent_away_too(hasty, house):
    guest = house.visit()
    big = write_hello(Refusal(No.STRANGER, "x" * 10_000))
    since = time.monotonic()
    for letter in big:
        try:
            guest.sendall(bytes([letter]))
        except OSError:
            break
        time.sleep(0.02)
    assert time.monotonic() - since < 20


@pytest.mark.parametrize(
    "wrong",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00" * 10,
        bytes(100),
        struct.pack("<4sHI", b"Shol", VERSION, MAX_HELLO + 1),
        struct.pack("<4sHI", b"Shol", VERSION, 0xFFFFFFFF),
        struct.pack("<4sHI", b"Shol", VERSION, 5) + b"noise",
        struct.pack("<4sHI", b"Shol", VERSION, 0),
        write_hello(Welcome()),
        write_hello(msgspec.structs.replace(HELLO, name="a/b")),
    ],
    ids=["http", "tls", "zeros", "too long", "lying length", "noise", "empty", "reply", "name"],
)
def test_who_says_nonsense_is_sent_away_at_once(house, wrong):
    guest = house.visit(wrong)
    soon(lambda: is_hung_up(guest))
    soon(lambda: len(house.refused) == 1)
    assert house.came == []


def test_who_looks_in_and_leaves_is_no_stranger(house):
    for said in (b"", b"Sho", halves()[0][:-1]):
        house.visit(said).close()
    there, back = halves()
    house.visit(there)
    house.visit(back)
    soon(lambda: len(house.came) == 1)
    assert house.refused == []


def test_who_speaks_another_version_is_told_which_this_is(house):
    later = bytearray(halves()[0])
    struct.pack_into("<H", later, 4, VERSION + 1)
    guest = house.visit(bytes(later))
    answer = said(guest)
    assert isinstance(answer, Refusal)
    assert f"version {VERSION + 1} of the wire, this is version {VERSION}" in answer.text


def test_a_half_without_the_other_is_sent_away_after_a_while(hasty, house):
    guests = [house.visit(half) for half in (halves(1)[0], halves(2)[1])]
    for guest in guests:
        soon(lambda guest=guest: is_hung_up(guest))
    assert house.came == []


def test_the_same_half_twice_is_none(house):
    guests = [house.visit(halves()[0]) for _ in range(2)]
    for guest in guests:
        soon(lambda guest=guest: is_hung_up(guest))
    soon(lambda: house.refused == ["a made one half of a connection twice"])
    guests = [house.visit(half) for half in halves()]
    assert said(guests[0]) == Welcome()


def test_who_hangs_up_harshly_is_no_trouble(house):
    for said_ in (b"", b"Shol", halves()[0]):
        guest = house.visit(said_)
        guest.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        guest.close()
    guests = [house.visit(half) for half in halves(7)]
    assert said(guests[0]) == Welcome()


def test_a_thousand_who_say_nothing_are_bounded_and_a_node_is_let_in(house):
    for _ in range(1000):
        house.visit()
    guests = [house.visit(half) for half in halves()]
    assert said(guests[0]) == Welcome()
    soon(lambda: len(house.porter._pending) <= MAX_PENDING)
    soon(lambda: len(house.refused) >= 1000 - MAX_PENDING - 10)
    assert "too many who say nothing" in house.refused


def test_a_thousand_halves_are_bounded_and_a_node_is_let_in(house):
    for number in range(1000):
        house.visit(halves(number + 10)[0])
    soon(lambda: len(house.porter._halves) == MAX_PENDING)
    guests = [house.visit(half) for half in halves()]
    assert said(guests[0]) == Welcome()
    assert len(house.porter._halves) <= MAX_PENDING


def test_strangers_who_come_all_the_time_keep_nobody_out(house):
    stop = threading.Event()

    def come() -> None:
        while not stop.is_set():
            with socket.create_connection((house.place.host, house.place.port)) as sock:
                sock.sendall(b"nonsense nonsense")

    strangers = [threading.Thread(target=come) for _ in range(2)]
    for stranger in strangers:
        stranger.start()
    try:
        for number in range(10):
            guests = [house.visit(half) for half in halves(number)]
            assert said(guests[0]) == Welcome()
    finally:
        stop.set()
        for stranger in strangers:
            stranger.join()


def test_a_fault_in_what_is_decided_does_not_leave_the_door_unattended(house, caplog):
    decide = house.porter._decide
    house.porter._decide = lambda *_: 1 / 0
    for half in halves(1):
        house.visit(half)
    soon(lambda: "house-porter failed" in caplog.text)
    house.porter._decide = decide
    guests = [house.visit(half) for half in halves(2)]
    assert said(guests[0]) == Welcome()


def test_a_system_that_gives_no_more_sockets_is_waited_for(house, monkeypatch):
    full = threading.Event()
    full.set()
    real = greeting.take

    def take(door: socket.socket, context: object) -> socket.socket | None:
        if full.is_set():
            raise OSError(24, "Too many open files")
        return real(door)

    monkeypatch.setattr(greeting, "take", take)
    guests = [house.visit(half) for half in halves()]
    soon(lambda: len(house.refused) >= 2)
    assert set(house.refused) == {"there is no room for it: Too many open files"}
    assert len(house.refused) < 100, "it does not try without end"
    full.clear()
    assert said(guests[0]) == Welcome()


def test_a_process_with_few_files_keeps_some(monkeypatch):
    for files, most in ((64, 8), (256, 32), (1024, 128), (1 << 20, 128), (-1, 128), (8, 8)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, files=files: (files, files))
        assert greeting.most_pending() == most


def test_where_there_are_no_more_sockets_the_silent_make_room(house, monkeypatch):
    silent = [house.visit() for _ in range(3)]
    soon(lambda: len(house.porter._pending) == 3)
    real = greeting.take

    def take(door: socket.socket, context: object) -> socket.socket | None:
        if len(house.porter._pending) > 1:
            raise OSError(24, "Too many open files")
        return real(door)

    monkeypatch.setattr(greeting, "take", take)
    guests = [house.visit(half) for half in halves()]
    assert said(guests[0]) == Welcome()
    assert is_hung_up(silent[0])
    assert is_hung_up(silent[1])


# -- the end --------------------------------------------------------------------------------------


def test_closing_sends_all_away_that_are_not_known_yet(house):
    guests = [house.visit(), house.visit(b"Sho"), house.visit(halves()[0])]
    here, there = socket.socketpair()
    assert house.porter.bring(there)
    soon(lambda: len(house.porter._pending) == 3)
    soon(lambda: len(house.porter._halves) == 1)
    house.porter.close()
    house.porter.thread.join(30)
    for guest in [*guests, here]:
        soon(lambda guest=guest: is_hung_up(guest))
    here.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((house.place.host, house.place.port))
    here, there = socket.socketpair()
    assert not house.porter.bring(there)
    here.close()
    there.close()
    house.porter.close()


def test_a_porter_that_never_began_closes_the_doors():
    doors = Doors([Address("tcp", "127.0.0.1", 0)], 0)
    place = doors.places[0]
    Porter("house", doors, lambda *_: None, lambda why: None).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((place.host, place.port))


def test_more_connections_than_the_bell_can_ring_for_are_brought(house):
    gate, waits = threading.Event(), threading.Event()
    decide = house.porter._decide

    def wait(*what: object) -> None:
        waits.set()
        gate.wait(30)
        decide(*what)

    house.porter._decide = wait
    for half in halves(0):
        house.visit(half)
    assert waits.wait(30)
    here = [socket.socketpair() for _ in range(600)]
    for _, there in here:
        assert house.porter.bring(there)
    house.porter._decide = decide
    gate.set()
    soon(lambda: len(house.porter._pending) == MAX_PENDING)
    for mine, _ in here:
        mine.close()
    guests = [house.visit(half) for half in halves(1)]
    assert said(guests[0]) == Welcome()


# -- who calls ------------------------------------------------------------------------------------


@contextlib.contextmanager
def called(*answers: bytes, slowly_s: float = 0.0) -> Iterator[list[socket.socket]]:
    """Two connections to somebody who reads what is said, says that, and hangs up in the end."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        there = socket.create_connection(door.getsockname())
        far, _ = door.accept()
        back = socket.create_connection(door.getsockname())
        other, _ = door.accept()

    def answer() -> None:
        for part in answers:
            with contextlib.suppress(OSError):
                far.sendall(part)
            time.sleep(slowly_s)

    thread = threading.Thread(target=answer)
    thread.start()
    yield [there, back]
    for sock in (there, back):
        sock.close()
    thread.join()
    far.close()
    other.close()


def hello(back: bool) -> CallerHello:
    return msgspec.structs.replace(HELLO, back=back)


@pytest.mark.parametrize("answer", [Welcome(), Refusal(No.AGAIN, "not now", "b", "2" * 16)])
def test_a_reply_is_heard(answer):
    with called(write_hello(answer)) as socks:
        assert say_hello(*socks, hello) == answer
        assert socks[0].gettimeout() is None


def test_a_reply_may_come_letter_by_letter():
    wire = write_hello(Welcome())
    with called(*(wire[at : at + 1] for at in range(len(wire))), slowly_s=0.002) as socks:
        assert say_hello(*socks, hello) == Welcome()


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", FrameError, "no node of Shoal"),
        (struct.pack("<4sHI", b"Shol", 9, 1), VersionError, "version 9 of the wire"),
        (struct.pack("<4sHI", b"Shol", VERSION, 1 << 30), FrameError, "are the limit"),
        (struct.pack("<4sHI", b"Shol", VERSION, 4) + b"\xff" * 4, FrameError, "cannot be read"),
    ],
)
def test_an_answer_that_is_none_is_an_error_in_words(answer, error, told):
    with called(answer) as socks, pytest.raises(error, match=told):
        say_hello(*socks, hello)


def test_who_does_not_answer_is_given_up(hasty):
    with called() as socks, pytest.raises(MeshError, match="it does not answer"):
        say_hello(*socks, hello)


def test_who_answers_a_letter_now_and_then_is_given_up_in_time(hasty):
    wire = write_hello(Refusal(No.STRANGER, "x" * 200))
    with called(*(wire[at : at + 1] for at in range(60)), slowly_s=0.05) as socks:
        since = time.monotonic()
        with pytest.raises(MeshError, match="it does not answer"):
            say_hello(*socks, hello)
        assert time.monotonic() - since < 2.5, "each letter is no reason to wait anew"


def test_who_does_not_answer_is_not_waited_for_when_nobody_wants_it_any_more(monkeypatch):
    monkeypatch.setattr(greeting, "HELLO_S", 600.0)
    given_up = threading.Event()
    threading.Timer(0.2, given_up.set).start()
    with called() as socks, pytest.raises(MeshError):
        say_hello(*socks, hello, given_up.is_set)


def test_who_hangs_up_instead_of_an_answer_is_an_error_in_words():
    with socket.create_server(("127.0.0.1", 0)) as door:
        there = socket.create_connection(door.getsockname())
        far, _ = door.accept()
        back = socket.create_connection(door.getsockname())
        other, _ = door.accept()
        other.close()
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(MeshError, match=r"hung up without a word|reset|Broken pipe"):
            say_hello(there, back, hello)
        for sock in (there, back, far):
            sock.close()


def test_a_caller_and_a_porter_understand_each_other(house):
    ((_, there),) = call([house.place])
    ((_, back),) = call([house.place])
    assert say_hello(there, back, hello) == Welcome()
    there.close()
    back.close()


def test_who_brings_connections_before_the_porter_looks_waits_for_nobody():
    """The bell is full after a few hundred; it has rung then."""
    doors = Doors([Address("tcp", "127.0.0.1", 0)], 0)
    porter = Porter("house", doors, lambda hello, there, back: None, lambda why: None)
    here, there = socket.socketpair()
    try:
        for _ in range(5000):
            assert porter.bring(here)
    finally:
        porter.close()
        there.close()
    assert not porter.bring(here), "it comes too late"
