"""A frozen process does not pass for one that reads, and a slow one does not pass for frozen."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.mesh.test_rate import info
from tests.mesh.test_receiver import tcp_pair

from shoal.mesh.rate import TcpInfo
from shoal.mesh.tcp_info import tcp_info
from shoal.mesh.uptake import LEAST_GROWTH, UNTOLD_BYTES, Uptake

NEVER = float("-inf")
ROOM = 1 << 22


def test_more_than_there_was_room_for_is_evidence():
    uptake = Uptake()
    assert uptake.read_at(info(delivered=1 << 40, room=0), 0.0) == NEVER, "nobody asked"
    uptake.asked(info(delivered=1000, room=ROOM))
    most = 1000 + ROOM + ROOM // 2
    assert uptake.read_at(info(delivered=most, room=0), 1.0) == NEVER
    assert uptake.read_at(info(delivered=most + 1, room=0), 2.0) == 2.0
    assert uptake.read_at(info(delivered=most + 1, room=0), 3.0) == 2.0
    assert uptake.read_at(info(delivered=most + 1 + LEAST_GROWTH, room=0), 4.0) == 2.0
    assert uptake.read_at(info(delivered=most + 2 + LEAST_GROWTH, room=0), 5.0) == 5.0


def test_what_was_read_before_a_question_is_no_reply_to_it():
    uptake = Uptake()
    uptake.asked(info(delivered=0, room=ROOM))
    uptake.asked(info(delivered=1 << 30, room=ROOM))
    assert uptake.read_at(info(delivered=(1 << 30) + ROOM, room=0), 1.0) == NEVER


def test_where_the_room_is_not_told_it_is_taken_for_much():
    uptake = Uptake()
    uptake.asked(info(delivered=0, room=None))
    assert uptake.read_at(info(delivered=UNTOLD_BYTES, room=None), 1.0) == NEVER
    assert uptake.read_at(info(delivered=2 * UNTOLD_BYTES, room=None), 1.0) == 1.0


class Reader:
    """A process that reads ``size`` bytes at a time from ``sock``, and rests in between."""

    def __init__(self, size: int, rest_s: float) -> None:
        self.sock, other = tcp_pair()
        self.sock.setblocking(False)
        self.pid = os.fork()
        if not self.pid:
            try:
                self.sock.close()
                while other.recv(size):
                    time.sleep(rest_s)
            finally:
                os._exit(0)
        other.close()

    def send(self) -> TcpInfo:
        """Send what can be sent; what the system says then."""
        try:
            while True:
                self.sock.send(bytes(1 << 18))
        except BlockingIOError:
            time.sleep(0.002)
        said = tcp_info(self.sock)
        assert said is not None
        return said

    def signal(self, number: int, state: str) -> None:
        os.kill(self.pid, number)
        stat = Path(f"/proc/{self.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] not in state:
            time.sleep(0.001)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.sock.close()


@pytest.fixture(params=[(1 << 20, 0.0), (1 << 16, 0.005)], ids=["fast", "slow"])
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    with socket.socket() as sock:
        said = tcp_info(sock)
    if said is None or said.room is None:
        pytest.skip("this system does not say what there is room for")
    reader = Reader(*request.param)
    yield reader
    reader.close()


def test_a_process_that_reads_is_seen_to_and_a_frozen_one_is_not(reader):
    uptake = Uptake()
    uptake.asked(reader.send())
    end = time.monotonic() + 60
    while uptake.read_at(reader.send(), 1.0) == NEVER:
        assert time.monotonic() < end, "it reads"
    reader.signal(signal.SIGSTOP, "T")
    uptake.asked(reader.send())
    for _ in range(50):
        uptake.read_at(reader.send(), 2.0)  # once, where the system raises what it has room for
    uptake.asked(reader.send())
    for _ in range(50):
        assert uptake.read_at(reader.send(), 3.0) < 3.0, "it is frozen"
    reader.signal(signal.SIGCONT, "RS")
    end = time.monotonic() + 60
    while uptake.read_at(reader.send(), 4.0) < 4.0:
        assert time.monotonic() < end, "it reads again"
