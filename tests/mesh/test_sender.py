"""What is sent leaves at once where the system takes it, in order, and what waits is bounded."""

import contextlib
import math
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mesh.test_rate import info
from tests.mesh.test_receiver import tcp_pair

from shoal.mesh import sender as module
from shoal.mesh.events import MAX_BODY
from shoal.mesh.frames import HEADER_BYTES, MAX_WEIGHT, Kind, read_header, write_header
from shoal.mesh.receiver import Asked, Incoming, Receiver
from shoal.mesh.sender import MAX_URGENT, Sender
from shoal.mesh.tcp_info import tcp_info

PING, PONG = write_header(Kind.PING), write_header(Kind.PONG)
MUCH = 64 << 20
"""More than any system takes at once."""


class Talk:
    """A sender, and the other end of its connection."""

    def __init__(self, pair: Callable[[], tuple[socket.socket, socket.socket]]) -> None:
        self.sock, self.other = pair()
        self.failures = 0
        self.sender = Sender(self.sock, "talk", self._fail)
        self.receiver = Receiver(self.other, MAX_BODY)

    def _fail(self) -> None:
        self.failures += 1

    def fill(self) -> None:
        """Send what the system does not take at once."""
        while self.sender.waiting:  # what came before may be heard before it is known to be sent
            time.sleep(0.001)
        assert self.sender.send(b"much", bytes(MUCH), work=False)
        assert self.sender.waiting == 1

    def hear(self, count: int) -> list[Incoming]:
        found: list[Incoming] = []
        while len(found) < count:
            came = self.receiver.next()
            assert came is not None
            if isinstance(came, Incoming):
                found.append(came)
        return found

    def headers(self, count: int) -> list[Kind]:
        """What kinds of frames come, without a receiver."""
        found = []
        with self.other.makefile("rb") as file:
            while len(found) < count:
                header = read_header(file.read(HEADER_BYTES), MAX_BODY)
                file.read(header.head + header.piece)
                found.append(header.kind)
        return found

    def close(self) -> None:
        self.sender.close()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sender.join()
        self.sock.close()
        self.other.close()


@pytest.fixture(params=[socket.socketpair, tcp_pair], ids=["inside", "tcp"])
def talk(request: pytest.FixtureRequest) -> Iterator[Talk]:
    talk = Talk(request.param)
    yield talk
    talk.close()


@pytest.fixture
def tcp() -> Iterator[Talk]:
    talk = Talk(tcp_pair)
    yield talk
    talk.close()


def soon(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.002)


def in_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for name in ("FIRST_PIECE", "LEAST_PIECE", "MOST_PIECE"):
        monkeypatch.setattr(module, name, size)


# -- messages -------------------------------------------------------------------------------------


def test_what_goes_on_with_a_request_does_not_wait_for_the_bodies_of_others(talk) -> None:
    """Else a worker that has all that it needs waits for what the line carries in seconds."""
    talk.fill()
    body = bytes(1000)
    for head, about, much in (
        (b"task 1", 1, body),
        (b"task 2", 2, body),
        (b"hello", None, None),
        (b"resume 2", 2, None),
        (b"resume 3", 3, None),
        (b"resume 4", 4, None),
        (b"task 3", 3, body),
    ):
        assert talk.sender.send(head, much, work=True, about=about)
    heads = [message.head for message in talk.hear(8)]
    assert heads == [
        *(b"much", b"task 1", b"task 2", b"resume 2", b"resume 3", b"resume 4"),
        *(b"hello", b"task 3"),
    ]
    soon(lambda: talk.sender.waiting == 0)
    talk.fill()
    assert talk.sender.send(b"task 5", body, work=True, about=5)
    assert talk.sender.send(b"resume 6", None, work=True, about=6)
    assert [message.head for message in talk.hear(3)] == [b"much", b"resume 6", b"task 5"]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=50),
            st.none() | st.binary(max_size=2000) | st.lists(st.binary(max_size=300), max_size=80),
        ),
        max_size=10,
    ),
    st.integers(1, 500),
)
def test_all_is_sent_in_order_in_pieces_of_any_size(messages, piece):
    with pytest.MonkeyPatch.context() as monkeypatch:
        in_pieces(monkeypatch, piece)
        talk = Talk(socket.socketpair)
        talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        try:
            for head, body in messages:
                assert talk.sender.send(head, body, work=False)
            for (head, body), came in zip(messages, talk.hear(len(messages)), strict=True):
                expected = b"".join(body) if isinstance(body, list) else body
                assert came.head == head
                assert (None if came.body is None else bytes(came.body)) == expected
            assert talk.sender.sent == len(messages)
            assert talk.sender.bytes_sent == talk.receiver.bytes_received
        finally:
            talk.close()


def test_what_the_system_takes_at_once_needs_no_thread(talk):
    for _ in range(20):
        assert talk.sender.send(b"x" * 100, b"y" * 1000, work=True)
        assert talk.sender.waiting == 0
        talk.hear(1)
    assert talk.sender._thread is None


def test_what_has_to_wait_is_sent_by_a_thread_in_order(talk):
    talk.fill()
    for number in range(50):
        assert talk.sender.send(b"%d" % number, b"z" * number, work=True)
    assert talk.sender.waiting == 51
    came = talk.hear(51)
    assert [message.head for message in came[1:]] == [b"%d" % number for number in range(50)]
    soon(lambda: talk.sender.waiting == 0)
    assert talk.sender.send(b"at once again", None, work=True)
    assert talk.hear(1)[0].head == b"at once again"


def test_messages_of_several_threads_do_not_mix(talk, monkeypatch):
    in_pieces(monkeypatch, 3000)
    talk.sender._piece = 3000
    bodies = [bytes([k]) * 10_000 for k in range(4)]

    def say(k: int) -> None:
        for number in range(50):
            while not talk.sender.send(b"%d %d" % (k, number), bodies[k], work=False):
                time.sleep(0.001)

    threads = [threading.Thread(target=say, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    came = talk.hear(200)
    for thread in threads:
        thread.join()
    for k in range(4):
        mine = [message for message in came if message.head.startswith(b"%d " % k)]
        assert [message.head for message in mine] == [b"%d %d" % (k, n) for n in range(50)]
        assert all(bytes(message.body) == bodies[k] for message in mine)


def test_nothing_of_what_was_sent_is_kept(talk):
    body = bytearray(MUCH)
    assert talk.sender.send(b"", body, work=False)
    talk.hear(1)

    def is_given_back() -> bool:
        with contextlib.suppress(BufferError):
            body.append(1)
            return True
        return False

    soon(is_given_back)


# -- what comes first -----------------------------------------------------------------------------


def test_a_question_leaves_between_two_pieces_of_a_large_body(talk, monkeypatch):
    in_pieces(monkeypatch, 10_000)
    talk.sender._piece = 10_000
    talk.fill()
    talk.sender.send(b"next", None, work=False)
    talk.sender.urgent(PING)
    kinds = []
    pieces = -(-MUCH // 10_000)
    kinds = talk.headers(pieces + 2)
    assert kinds.count(Kind.PING) == 1
    assert kinds[0] is Kind.MESSAGE
    assert kinds[-1] is Kind.MESSAGE
    assert kinds.index(Kind.PING) < pieces, "it did not wait for all of the body"


def test_a_question_leaves_at_once_on_a_line_that_is_free(talk):
    talk.sender.urgent(PING)
    assert talk.receiver.next() == Asked()
    assert talk.sender.waiting == 0


def test_the_same_waits_once_and_not_too_much_of_it(talk):
    talk.fill()
    for _ in range(1000):
        talk.sender.urgent(PING)
        talk.sender.urgent(PONG)
    assert len(talk.sender._urgent) == 2
    for number in range(1000):
        talk.sender.urgent(write_header(Kind.NEWS, 1) + bytes([number % 256]))
    assert len(talk.sender._urgent) == MAX_URGENT


# -- bounds ---------------------------------------------------------------------------------------


def test_work_that_somebody_else_could_do_waits_less(talk):
    talk.fill()
    for _ in range(module.MAX_WORK):
        assert talk.sender.send(b"", b"", work=True)
    assert not talk.sender.send(b"", b"", work=True)
    for _ in range(module.MAX_WAITING - module.MAX_WORK):
        assert talk.sender.send(b"", b"", work=False)
    assert not talk.sender.send(b"", b"", work=False)
    assert talk.sender.sent == module.MAX_WAITING + 1


def test_bytes_that_wait_are_bounded_but_for_a_single_message(talk, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 1000)
    talk.fill()
    assert talk.sender.send(b"", bytes(5000), work=False)
    assert not talk.sender.send(b"", b"x", work=False)
    talk.hear(2)
    soon(lambda: talk.sender.waiting == 0)
    talk.fill()
    for _ in range(10):
        assert talk.sender.send(b"", bytes(100), work=False)
    assert not talk.sender.send(b"", b"x", work=False)


# -- the end --------------------------------------------------------------------------------------


def test_a_break_is_told_once_and_nothing_more_is_taken(talk):
    talk.other.close()
    soon(lambda: not talk.sender.send(b"", bytes(1000), work=False))
    talk.sender.urgent(PING)
    talk.sender.probe()
    assert talk.failures == 1
    assert talk.sender.failure


def test_a_break_while_the_system_is_full_is_told_too(talk):
    talk.fill()
    talk.other.close()
    soon(lambda: talk.failures == 1)
    talk.sender.join()
    assert not talk.sender.send(b"", b"", work=False)


def test_closing_drops_what_waits_and_ends_the_thread(talk):
    talk.fill()
    for _ in range(10):
        talk.sender.send(b"", bytes(1000), work=False)
    talk.sender.close()
    talk.sock.shutdown(socket.SHUT_RDWR)
    talk.sender.join()
    assert not talk.sender._thread.is_alive()
    assert not talk.sender.send(b"", b"", work=False)
    assert talk.failures == 0, "that was no break"


def test_a_system_without_a_thread_to_spare_breaks_the_connection(talk, monkeypatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    talk.sender.send(b"much", bytes(MUCH), work=False)
    assert talk.failures == 1
    assert talk.sender.failure == "can't start new thread"
    assert not talk.sender.send(b"", b"", work=False)
    talk.sender.join()


# -- rates ----------------------------------------------------------------------------------------


def test_a_rate_is_told_where_something_was_sent_since_it_was_asked(talk):
    now = time.monotonic
    assert talk.sender.rate(now()) is None
    talk.sender.send(b"", bytes(100_000), work=False)
    assert talk.sender.rate(now()) is not None
    talk.hear(1)
    soon(lambda: talk.sender.rate(now()) is None)
    talk.sender.send(b"x", None, work=False)
    assert talk.sender.rate(now()) is not None


def test_the_system_tells_the_rate_of_a_connection(tcp):
    tcp.sender.send(b"", bytes(100_000), work=False)
    tcp.hear(1)
    rates = []
    soon(lambda: rates.append(tcp.sender.rate(time.monotonic())) or rates[-1] is None)
    rate = rates[-2]
    assert rate.bytes_per_s > 0
    assert rate.rtt_ms > 0
    assert rate.age_s < 30


def test_elsewhere_the_clock_does_and_says_so():
    talk = Talk(socket.socketpair)
    talk.fill()
    talk.hear(1)
    soon(lambda: talk.sender.waiting == 0)
    rate = talk.sender.rate(time.monotonic())
    assert (rate.at_least, rate.rtt_ms) == (True, 0.0)
    assert rate.bytes_per_s > 0
    talk.close()


def test_what_is_sent_on_a_full_line_is_late(tcp):
    free_s = tcp.sender.late_s()
    info = tcp_info(tcp.sock)
    assert info is not None
    assert free_s == info.rtt_s > 0, "it is there and back again at least"
    tcp.fill()
    soon(lambda: tcp.sender.late_s() > tcp_info(tcp.sock).rtt_s or tcp_info(tcp.sock).shut)


def test_what_waits_until_the_other_end_reads_is_not_late_for_it(tcp, monkeypatch):
    """A frozen peer takes what it has room for: that is no reason to wait longer for it."""
    busy = info(mbit=8.0, flying=100_000, unsent=4_000_000, rtt_s=0.01)
    tcp.sender._rest.append(memoryview(bytes(1_000_000)))
    monkeypatch.setattr(module, "tcp_info", lambda sock: busy)
    assert tcp.sender.late_s() == pytest.approx(0.01 + 5.1)
    busy = msgspec.structs.replace(busy, shut=True)
    assert tcp.sender.late_s() == pytest.approx(0.01 + 0.1)
    tcp.sender._rest.clear()


def test_that_the_other_end_reads_is_seen_from_when_it_is_asked(talk):
    """Where the system tells."""
    tells = (told := tcp_info(talk.sock)) is not None and told.room is not None
    assert talk.sender.read_at(1.0) == -math.inf
    talk.sender.ask()
    reader = threading.Thread(target=talk.hear, args=(1,))
    reader.start()
    assert talk.sender.send(b"", bytes(MUCH), work=False)
    reader.join()
    soon(lambda: talk.sender.waiting == 0)
    assert talk.sender.read_at(2.0) == (2.0 if tells else -math.inf)
    assert talk.sender.read_at(3.0) == (2.0 if tells else -math.inf)


def test_how_late_it_is_may_be_asked_while_much_is_sent(tcp, monkeypatch):
    in_pieces(monkeypatch, 20_000)
    tcp.sender._piece = 20_000
    tcp.fill()
    reader = threading.Thread(target=tcp.hear, args=(1,))
    reader.start()
    while reader.is_alive():
        assert tcp.sender.late_s() >= 0
    reader.join()


def test_a_probe_weighs_something_and_means_nothing(talk):
    talk.sender.probe()
    talk.sender.send(b"after it", None, work=False)
    assert talk.hear(1)[0].head == b"after it"
    assert talk.receiver.received == 1
    assert talk.sender.rate(time.monotonic()) is not None


def test_nothing_is_added_to_a_line_that_is_full(talk):
    talk.fill()
    for _ in range(100):
        talk.sender.probe()
    assert sum(map(len, talk.sender._urgent)) <= MAX_WEIGHT


def test_a_large_message_leaves_its_sender_to_other_things(talk, monkeypatch):
    """Also where the system takes all of it: it would take seconds, and others would wait."""
    in_pieces(monkeypatch, 1000)
    talk.sender._piece = 1000
    monkeypatch.setattr(module, "MOST_AT_ONCE", 10_000)
    threads = []

    class Greedy:
        def sendmsg(self, buffers, ancillary, flags):
            threads.append(threading.current_thread())
            return sum(map(len, buffers))

        def getsockopt(self, *args):
            raise OSError

    talk.sender._sock = Greedy()
    assert talk.sender.send(b"", bytes(10_000_000), work=False)
    soon(lambda: talk.sender.waiting == 0)
    assert 5 <= threads.count(threading.current_thread()) <= 10
    assert len(threads) > 1000


def test_who_is_gone_is_no_reason_to_die():
    """In a process that wants to be ended by SIGPIPE, as one in a pipeline."""
    code = (
        "import signal, socket\n"
        "from shoal.mesh.sender import Sender\n"
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "here, there = socket.socketpair()\n"
        "sender = Sender(here, 'x', lambda: None)\n"
        "there.close()\n"
        "sender.send(b'x', None, work=False)\n"
        "print(sender.failure)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "Broken pipe\n")


def test_where_the_system_says_nothing_a_question_is_not_taken_for_late():
    talk = Talk(socket.socketpair)
    try:
        assert talk.sender.late_s() == 0.0
        talk.fill()
        assert talk.sender.late_s() == 0.0
        assert talk.sender.read_at(5.0) == -math.inf
    finally:
        talk.close()


def test_what_follows_a_probe_comes_whole(talk):
    for number in range(3):
        talk.sender.probe()
        assert talk.sender.send(b"after %d" % number, b"body", work=True)
        (came,) = talk.hear(1)
        assert (came.head, bytes(came.body)) == (b"after %d" % number, b"body")
