"""What comes is put together as it was sent, however it comes, and who breaks the rules is heard no
further."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.errors import FrameError
from shoal.mesh.events import MAX_BODY
from shoal.mesh.frames import Kind, NodeSeen, write_header, write_news
from shoal.mesh.place import Place
from shoal.mesh.receiver import AHEAD_BYTES, Asked, Incoming, News, Receiver

NODE = NodeSeen("n", "1" * 16, (Place("a", 1),))


def message(head: bytes, body: bytes | None, piece: int = 1 << 30) -> bytes:
    """The bytes of a message, in pieces of that size."""
    if body is None:
        return write_header(Kind.MESSAGE, len(head)) + head
    first = min(piece, len(body))
    wire = write_header(Kind.MESSAGE, len(head), len(body), first) + head + body[:first]
    for at in range(first, len(body), piece):
        part = body[at : at + piece]
        wire += write_header(Kind.PIECE, 0, len(body), len(part)) + part
    return wire


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        here = socket.create_connection(door.getsockname())
        there, _ = door.accept()
    return here, there


@contextlib.contextmanager
def listening(
    pair: Callable[[], tuple[socket.socket, socket.socket]] = socket.socketpair,
    max_body: int = MAX_BODY,
) -> Iterator[tuple[socket.socket, Receiver]]:
    here, there = pair()
    try:
        yield here, Receiver(there, max_body)
    finally:
        here.close()
        there.close()


def heard(wire: bytes, cuts: list[int], **how: int) -> list[tuple[bytes, bytes | None]]:
    """The messages in some bytes that come in parts."""
    with listening(**how) as (here, receiver):

        def talk() -> None:
            last = 0
            for cut in [*sorted(cuts), len(wire)]:
                here.sendall(wire[last:cut])
                last = max(last, cut)
            here.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=talk)
        thread.start()
        found = []
        while (came := receiver.next()) is not None:
            if isinstance(came, Incoming):
                found.append((came.head, None if came.body is None else bytes(came.body)))
        thread.join()
        assert receiver.received == len(found)
        assert receiver.bytes_received == sum(len(h) + len(b or b"") for h, b in found)
        return found


bodies = st.none() | st.binary(max_size=3000)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.binary(max_size=100), bodies), max_size=8),
    st.integers(1, 1000),
    st.lists(st.integers(0, 10_000), max_size=10),
    st.lists(st.sampled_from([Kind.PING, Kind.PONG, Kind.NEWS, Kind.WEIGHT]), max_size=4),
)
def test_messages_come_as_they_were_sent_however_they_come(messages, piece, cuts, between):
    small = {
        Kind.PING: write_header(Kind.PING),
        Kind.PONG: write_header(Kind.PONG),
        Kind.NEWS: write_news([NODE]),
        Kind.WEIGHT: write_header(Kind.WEIGHT, 0, 500, 500) + bytes(500),
    }
    wire = b""
    for at, (head, body) in enumerate(messages):
        wire += message(head, body, piece)
        wire += small[between[at]] if at < len(between) else b""
    assert heard(wire, cuts) == messages


@pytest.mark.parametrize("size", [AHEAD_BYTES - 1, AHEAD_BYTES, AHEAD_BYTES + 1, 300_000])
def test_a_head_may_be_larger_than_what_is_read_ahead(size):
    head = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert heard(message(head, b"body") + message(b"next", None), []) == [
        (head, b"body"),
        (b"next", None),
    ]


def test_a_large_body_comes_whole_over_tcp():
    body = bytes(range(256)) * 40_000
    wire = message(b"1", body, 1 << 20) + message(b"2", body)
    assert heard(wire, [], pair=tcp_pair) == [(b"1", body), (b"2", body)]


def test_questions_and_news_may_come_between_the_pieces_of_a_body():
    first = write_header(Kind.MESSAGE, 1, 8, 4) + b"hABCD"
    rest = write_header(Kind.PIECE, 0, 8, 4) + b"EFGH"
    with listening() as (here, receiver):
        here.sendall(first + write_header(Kind.PING) + write_news([NODE]) + rest)
        assert receiver.next() == Asked()
        assert receiver.next() == News([NODE])
        came = receiver.next()
        assert isinstance(came, Incoming)
        assert (came.head, bytes(came.body)) == (b"h", b"ABCDEFGH")


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        write_header(Kind.PIECE, 0, 10, 5) + b"12345",
        write_header(Kind.MESSAGE, 0, 10, 5) + b"12345" + write_header(Kind.MESSAGE),
        write_header(Kind.MESSAGE, 0, 10, 5) + b"12345" + write_header(Kind.PIECE, 0, 10, 6),
        write_header(Kind.MESSAGE, 0, 1001, 0),
        write_header(Kind.MESSAGE, 1 << 31, None),
        write_header(Kind.NEWS, 4) + b"\xff\xff\xff\xff",
        write_header(Kind.PING, 5) + b"hello" + write_header(Kind.PING),
    ],
    ids=["another protocol", "piece of nothing", "message in a body", "piece too long",
         "body too long", "head too long", "news", "question with a head"],
)  # fmt: skip
def test_who_breaks_the_rules_is_heard_no_further(wire):
    with listening(max_body=1000) as (here, receiver):
        here.sendall(wire)
        here.shutdown(socket.SHUT_WR)
        with pytest.raises(FrameError):
            list(iter(receiver.next, None))


@pytest.mark.parametrize("piece", [7, 100, 1 << 30])
def test_an_end_in_the_middle_of_a_message_is_a_break_and_no_lie(piece):
    wire = message(b"head", b"0123456789" * 30, piece)
    for cut in range(1, len(wire)):
        with listening() as (here, receiver):
            here.sendall(wire[:cut])
            here.close()
            with pytest.raises(ConnectionResetError, match="in the middle"):
                receiver.next()


def test_an_end_between_messages_is_the_end():
    with listening() as (here, receiver):
        here.sendall(message(b"last", None))
        here.close()
        assert receiver.next() == Incoming(b"last", None)
        assert receiver.next() is None
        assert receiver.next() is None


def test_a_lie_about_its_length_takes_no_memory():
    with listening() as (here, receiver):
        before = psutil.Process().memory_info().rss
        here.sendall(write_header(Kind.MESSAGE, 0, MAX_BODY, MAX_BODY) + bytes(1000))
        thread = threading.Thread(target=_drain, args=(receiver,))
        thread.start()
        time.sleep(0.1)
        assert psutil.Process().memory_info().rss - before < 100 << 20
        here.close()
        thread.join(30)
        assert not thread.is_alive()


def _drain(receiver: Receiver) -> None:
    with contextlib.suppress(OSError):
        receiver.next()


def test_when_something_came_last_is_known_although_nobody_reads():
    with listening(tcp_pair) as (here, receiver):
        time.sleep(0.3)
        now = time.monotonic()
        assert now - receiver.heard_at(now) >= 0.25
        here.sendall(b"x")
        end = now + 30
        while (now := time.monotonic()) - receiver.heard_at(now) > 0.2:
            assert now < end
            time.sleep(0.005)


@pytest.mark.parametrize("pair", [socket.socketpair, tcp_pair])
def test_a_body_that_comes_little_by_little_counts_as_heard(pair):
    with listening(pair) as (here, receiver):
        here.sendall(write_header(Kind.MESSAGE, 0, 1 << 20, 1 << 20))
        thread = threading.Thread(target=_drain, args=(receiver,))
        thread.start()
        for _ in range(10):
            time.sleep(0.05)
            here.sendall(bytes(1000))
        time.sleep(0.02)
        now = time.monotonic()
        assert now - receiver.heard_at(now) < 0.4
        here.close()
        thread.join(30)


def test_a_connection_that_is_closed_has_heard_what_it_has():
    with listening(tcp_pair) as (_, receiver):
        before = time.monotonic()
    assert receiver.heard_at(time.monotonic()) <= before


def test_a_body_for_which_there_is_no_memory_is_said_in_words(monkeypatch):
    """A system that is strict, or a small board, promises no gigabyte."""

    def refuse(*what: object) -> None:
        raise MemoryError

    with listening(socket.socketpair) as (here, receiver):
        here.sendall(message(b"head", bytes(10)))
        monkeypatch.setattr(np, "empty", refuse)
        with pytest.raises(FrameError, match="no memory for a body of 10 bytes"):
            receiver.next()
