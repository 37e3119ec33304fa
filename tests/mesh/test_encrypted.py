"""Encrypted connections are used as plain ones are."""

import contextlib
import functools
import os
import socket
import ssl
import threading
import time

import numpy as np
import pytest
from tests.mesh.conftest import Ear, say_all
from tests.mesh.test_link import drop

from shoal.mesh import doors, zenoh
from shoal.mesh.address import Address
from shoal.mesh.doors import AT_ONCE, Doors, call, take
from shoal.mesh.encrypted import encrypt
from shoal.mesh.events import MAX_BODY, PeerDown, PeerUp, Received
from shoal.mesh.receiver import Incoming, Receiver
from shoal.mesh.sender import Sender
from shoal.mesh.zenoh import ZenohLink


def context(called: bool) -> ssl.SSLContext:
    """Encryption without certificates: nobody knows with whom he talks, which is enough here."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if called else ssl.PROTOCOL_TLS_CLIENT)
    if not called:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.set_ciphers("AECDH-AES256-SHA:@SECLEVEL=0")
    except ssl.SSLError:
        pytest.skip("this library of encryption does not do without certificates")
    return made


@pytest.fixture
def pair():
    """A connection: the end of who called, and that of who was called."""
    door = Doors([Address("tcp", "127.0.0.1", 0)], 0, context(True))
    with contextlib.closing(door):
        ((_, here),) = call(door.places, context=context(False))
        door.sockets[0].setblocking(True)
        there = take(door.sockets[0], door.context)
        yield here, there
        here.close()
        there.close()


def test_what_is_sent_is_encrypted_and_comes_as_it_was_sent(pair):
    here, there = pair
    wire = socket.socket(fileno=os.dup(there.fileno()))
    hands = threading.Thread(target=there.recv, args=(1,))
    hands.start()
    here.sendall(b"!")
    hands.join()
    sender = Sender(here, "sender", lambda: None)
    receiver = Receiver(there, MAX_BODY)
    sender.send(b"secret", None, work=False)
    with wire:
        assert b"secret" not in wire.recv(1000, socket.MSG_PEEK)
    assert receiver.next() == Incoming(b"secret", None)
    generator = np.random.default_rng(1)
    for size in (0, 1, 100, 16_300, 16_384, 100_000, 5_000_000):
        bodies = [generator.bytes(size), generator.bytes(10), generator.bytes(20_000)]
        sender.send(b"head", bodies, work=False)
        came = receiver.next()
        assert isinstance(came, Incoming)
        assert came.body == b"".join(bodies)
    sender.close()
    here.shutdown(socket.SHUT_RDWR)
    sender.join()
    assert receiver.next() is None


def test_what_cannot_be_sent_at_once_is_said_and_can_be_sent_later(pair):
    here, there = pair
    hands = threading.Thread(target=there.recv, args=(1,))
    hands.start()
    here.sendall(b"!")
    hands.join()
    data = memoryview(np.random.default_rng(2).bytes(30_000_000))
    at = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            at += here.sendmsg([data[at:]], (), AT_ONCE)
    assert 0 < at < len(data)
    came = bytearray()

    def read() -> None:
        while len(came) < len(data):
            came.extend(there.recv(1 << 16))

    reader = threading.Thread(target=read)
    reader.start()
    while at < len(data):
        at += here.sendmsg([data[at:]], (), 0)
    reader.join()
    assert came == data


def test_who_reads_is_woken_by_who_hangs_up(pair):
    here, there = pair
    ended = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError):
            while here.recv_into(bytearray(100)):
                pass
        ended.set()

    threading.Thread(target=read).start()
    there.setblocking(False)
    with pytest.raises(BlockingIOError):
        there.recv(1)
    time.sleep(0.1)
    here.shutdown(socket.SHUT_RDWR)
    assert ended.wait(30)


def test_who_does_not_shake_hands_is_no_node():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sock = encrypt(socket.create_connection(silent.getsockname()), context(False), "host")
        sock.settimeout(0.1)
        with sock, pytest.raises(TimeoutError):
            sock.sendall(b"x")


def test_links_talk_and_break_over_encrypted_connections(zenoh_fleet, monkeypatch):
    """And a node that calls in plain words is refused."""
    monkeypatch.setattr(zenoh, "call", functools.partial(doors.call, context=context(False)))
    monkeypatch.setattr(zenoh, "Doors", functools.partial(Doors, context=context(True)))
    a, b = zenoh_fleet.pair()
    body = np.random.default_rng(3).bytes(3_000_000)
    for _ in range(3):
        for one, other in ((a, b), (b, a)):
            say_all(one.link, other.link.name, [b"small"] * 100)
            assert one.link.send(other.link.name, b"large", body)
            other.wait(
                lambda one=one, other=other: (
                    other.heard()[-1:] == [Received(one.link.name, b"large", body)]
                )
            )
            other.events.clear()
        drop(a.link)
        for one, other in ((a, "b"), (b, "a")):
            one.wait(lambda one=one, other=other: one.kinds(other) == [PeerDown, PeerUp])
            one.events.clear()
    monkeypatch.setattr(zenoh, "call", doors.call)
    monkeypatch.setattr(zenoh, "Doors", Doors)
    plain: Ear = zenoh_fleet.join("plain")
    assert isinstance(plain.link, ZenohLink)
    plain.wait(lambda: set(plain.link.unreachable()) == {"a", "b"})
    assert plain.link.peers() == {}
    a.wait(lambda: a.link.stats().refused > 0)
