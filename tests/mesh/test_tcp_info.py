"""What the system says of real connections is read where it lies."""

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from shoal.mesh.rate import TcpInfo
from shoal.mesh.tcp_info import tcp_info

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux says it")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        here = socket.create_connection(door.getsockname())
        there, _ = door.accept()
    yield here, there
    here.close()
    there.close()


def said(sock: socket.socket) -> TcpInfo:
    info = tcp_info(sock)
    assert info is not None
    return info


def soon(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_what_was_delivered_is_counted(pair):
    here, there = pair
    before = said(here).delivered
    here.sendall(bytes(100_000))
    got = 0
    while got < 100_000:
        got += len(there.recv(1 << 16))
    soon(lambda: said(here).delivered == before + 100_000)
    info = said(here)
    assert info.delivery_rate > 0
    assert (info.unsent, info.flying) == (0, 0)
    assert 0 < info.min_rtt_s <= info.rtt_s < 5
    assert said(there).delivered <= 1, "the other direction is counted apart"


def test_what_is_not_read_is_under_way_or_not_sent(pair):
    here, _ = pair
    here.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            here.send(bytes(1 << 16))
    soon(lambda: said(here).unsent > 0)
    info = said(here)
    assert info.unsent + info.delivered > 1 << 16


def test_what_is_under_way_is_counted_in_bytes(pair):
    """Packets may be small."""
    here, there = pair
    if said(here).room is None:
        pytest.skip("this system counts packets")
    for size in (1, 10, 100):
        here.sendall(bytes(size))
        assert said(here).flying <= size
        soon(lambda: said(here).flying == 0)
    assert len(there.recv(1 << 10)) == 111


def test_it_is_told_when_the_other_end_has_no_room(pair):
    here, there = pair
    info = said(here)
    if info.room is None:
        pytest.skip("this system does not say what there is room for")
    assert info.room > 0
    assert not info.shut
    here.setblocking(False)

    def fill() -> bool:
        with contextlib.suppress(BlockingIOError):
            while True:
                here.send(bytes(1 << 16))
        return said(here).shut

    soon(fill)
    delivered = said(here).delivered
    while said(here).delivered == delivered:
        assert there.recv(1 << 20)
    soon(lambda: there.recv(1 << 20) and not said(here).shut)


def test_times_since_something_was_sent_acknowledged_and_came(pair):
    here, there = pair
    here.sendall(b"x")
    assert there.recv(1) == b"x"
    time.sleep(0.3)
    assert said(here).quiet_s >= 0.25
    assert said(here).unsaid_s >= 0.25
    assert said(there).unheard_s >= 0.25
    there.sendall(b"y")
    assert here.recv(1) == b"y"
    assert said(here).unheard_s < said(here).unsaid_s
    assert said(there).unsaid_s < said(there).unheard_s


def test_what_comes_and_is_not_read_counts_as_come(pair):
    here, there = pair
    time.sleep(0.3)
    here.sendall(b"x")
    soon(lambda: said(there).unheard_s < 0.2)
    assert there.recv(1) == b"x"


def test_nothing_is_said_of_what_is_no_connection_or_closed(pair):
    here, _ = pair
    one, two = socket.socketpair()
    assert tcp_info(one) is None
    one.close()
    two.close()
    here.close()
    assert tcp_info(here) is None
