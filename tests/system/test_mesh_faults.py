"""The mesh between real processes: killed, frozen, back again, and finding each other."""

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shoal.errors import NameTakenError
from shoal.mesh.events import LinkEvent, PeerDown, PeerUp, Received
from shoal.mesh.zenoh import ZenohLink

pytestmark = pytest.mark.system
PEER = Path(__file__).with_name("mesh_peer.py")
LEASE_MS = 400
LONG_LEASE_MS = 120_000
"""What is noticed in time is not noticed by its silence."""
SOON_S = 60.0


class Gateway:
    """The node of this process: keeps what it hears, with the time."""

    def __init__(self, lease_ms: int = LEASE_MS) -> None:
        self.lease_ms = lease_ms
        self.link = ZenohLink("gateway", ["tcp/127.0.0.1:0"], lease_ms=lease_ms)
        self.heard: list[tuple[float, LinkEvent]] = []
        self.processes: list[subprocess.Popen[str]] = []
        self.news = threading.Condition()
        self.link.start(self.hear)

    def hear(self, event: LinkEvent) -> bool:
        with self.news:
            self.heard.append((time.monotonic(), event))
            self.news.notify_all()
        return True

    def wait(self, kind: type, name: str, since: float = 0.0) -> float:
        """When the first such event since then was heard."""
        deadline = time.monotonic() + SOON_S
        with self.news:
            while True:
                for at, event in self.heard:
                    who = event.sender if isinstance(event, Received) else event.name
                    if isinstance(event, kind) and who == name and at >= since:
                        return at
                left = deadline - time.monotonic()
                assert left > 0, f"no {kind.__name__} of {name}"
                self.news.wait(left)

    def spawn(self, name: str) -> subprocess.Popen[str]:
        """Start a node that knows the address of this one only."""
        process = subprocess.Popen(
            [sys.executable, str(PEER), name, "127.0.0.1", *self.link.addresses],
            env={**os.environ, "LEASE_MS": str(self.lease_ms)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.processes.append(process)
        return process

    def start(self, name: str) -> subprocess.Popen[str]:
        """Start a node and wait until both sides see each other."""
        since = time.monotonic()
        process = self.spawn(name)
        assert process.stdout.readline().startswith("ready")
        self.wait(PeerUp, name, since)
        self.round_trip(name)
        return process

    def round_trip(self, name: str) -> float:
        """Seconds that an echo takes."""
        since = time.monotonic()
        while not self.link.send(name, b"echo", b"body"):
            assert time.monotonic() < since + SOON_S
            time.sleep(0.001)
        return self.wait(Received, name, since) - since

    def close(self) -> None:
        self.link.close()
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    yield gateway
    gateway.close()


@pytest.fixture
def patient() -> Iterator[Gateway]:
    """A gateway, and nodes, that wait long for each other."""
    gateway = Gateway(LONG_LEASE_MS)
    yield gateway
    gateway.close()


def say(what: str, seconds: list[float]) -> None:
    ordered = sorted(1000 * one for one in seconds)
    print(
        f"\n{what}: median {statistics.median(ordered):.1f} ms, "
        f"worst {ordered[-1]:.1f} ms of {len(ordered)}"
    )


def test_a_killed_node_is_noticed_at_once_and_its_successor_works(patient):
    """Not by its silence: the connection breaks."""
    noticed, back = [], []
    process = patient.start("w1")
    for _ in range(3):
        since = time.monotonic()
        process.kill()
        noticed.append(patient.wait(PeerDown, "w1", since) - since)
        process.wait()
        since = time.monotonic()
        process = patient.start("w1")
        back.append(time.monotonic() - since)
    say("killed, noticed after", noticed)
    say("started again and answering after", back)


def test_a_killed_node_is_noticed_although_a_child_of_it_lives(patient):
    """The child has copies of all that its parent had open."""
    process = patient.start("w1")
    since = time.monotonic()
    patient.link.send("w1", b"fork")
    patient.wait(Received, "w1", since)
    process.kill()
    patient.wait(PeerDown, "w1", since)


def test_a_frozen_node_is_noticed_within_the_lease_and_works_when_it_is_back(gateway):
    noticed, seen, back = [], [], []
    process = gateway.start("w1")
    life = gateway.link.peers()["w1"]
    for _ in range(3):
        since = time.monotonic()
        process.send_signal(signal.SIGSTOP)
        noticed.append(gateway.wait(PeerDown, "w1", since) - since)
        time.sleep(0.3)
        since = time.monotonic()
        process.send_signal(signal.SIGCONT)
        seen.append(gateway.wait(PeerUp, "w1", since) - since)
        gateway.round_trip("w1")
        back.append(time.monotonic() - since)
        assert gateway.link.peers()["w1"] == life
    say("frozen, noticed after", noticed)
    say("thawed, seen after", seen)
    say("thawed, answering after", back)


def test_a_node_that_freezes_in_the_middle_of_much_is_noticed_as_soon(gateway):
    """What it will never read is no reason to wait for it, and what its system takes is no sign
    that it lives."""
    noticed = []
    process = gateway.start("w1")
    much = bytes(64 << 20)
    for _ in range(3):
        assert gateway.link.send("w1", b"from", much)
        time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        since = time.monotonic()
        while gateway.link.waiting("w1") < 3:
            gateway.link.send("w1", b"from", much)
        noticed.append(gateway.wait(PeerDown, "w1", since) - since)
        since = time.monotonic()
        process.send_signal(signal.SIGCONT)
        gateway.wait(PeerUp, "w1", since)
        gateway.round_trip("w1")
    say("frozen in the middle of much, noticed after", noticed)


def test_a_freeze_shorter_than_the_lease_goes_unnoticed(patient):
    process = patient.start("w1")
    since = time.monotonic()
    process.send_signal(signal.SIGSTOP)
    patient.link.send("w1", b"echo")
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)
    patient.wait(Received, "w1", since)
    assert not [event for _, event in patient.heard if isinstance(event, PeerDown)]


def test_a_successor_takes_the_name_of_a_frozen_node_which_gives_way_when_it_is_back(gateway):
    frozen = gateway.start("w1")
    frozen.send_signal(signal.SIGSTOP)
    since = time.monotonic()
    successor = gateway.start("w1")  # comes while its predecessor is still visible
    took = time.monotonic() - since
    life = gateway.link.peers()["w1"]
    frozen.send_signal(signal.SIGCONT)
    assert frozen.stdout.readline() == "name lost\n"
    assert frozen.wait(SOON_S) == 0
    gateway.round_trip("w1")
    assert gateway.link.peers()["w1"] == life
    assert successor.poll() is None
    say("a frozen node's successor answers after", [took])


def test_a_twin_of_a_live_node_is_refused(gateway):
    gateway.start("w1")
    life = gateway.link.peers()["w1"]
    twin = gateway.spawn("w1")
    assert "NameTakenError a node called 'w1' is alive" in twin.stdout.readline()
    assert twin.wait(SOON_S) == NameTakenError.exit_code
    gateway.round_trip("w1")
    assert gateway.link.peers()["w1"] == life


def test_nodes_that_know_only_the_gateway_talk_to_each_other_directly(patient):
    gateway = patient
    gateway.start("w1")
    w2 = gateway.start("w2")
    deadline = time.monotonic() + SOON_S
    while not any(getattr(event, "head", b"") == b"gateway w2" for _, event in gateway.heard):
        since = time.monotonic()
        gateway.link.send("w1", b"peers")
        gateway.wait(Received, "w1", since)
        assert time.monotonic() < deadline
    process = psutil.Process(w2.pid)
    # Of the mesh one for each peer, and one for each direction.
    assert len([c for c in process.net_connections("tcp") if c.status == "ESTABLISHED"]) == 6
    before = gateway.link.stats()
    gateway.link.send("w1", b"to w2", os.urandom(100_000))
    assert w2.stdout.readline() == "got from w1\n"
    assert gateway.link.stats().received == before.received


def test_nodes_notice_that_the_gateway_is_gone_and_stay_a_mesh(gateway):
    w1, w2 = gateway.start("w1"), gateway.start("w2")
    gateway.link.close()
    time.sleep(0.2)
    for process in (w1, w2):
        assert process.poll() is None
        process.stdin.close()
        assert process.stdout.readline() == "closed\n"
        assert process.wait(SOON_S) == 0


def test_a_link_closes_although_a_node_that_it_called_is_frozen(gateway):
    """Zenoh calls it again and again, and waits for each call when it is closed."""
    process = gateway.spawn("w1")
    address = process.stdout.readline().split()[1]
    caller = ZenohLink("caller", ["tcp/127.0.0.1:0"], [*gateway.link.addresses, address])
    caller.start(lambda event: True)
    gateway.wait(PeerUp, "caller")
    while "w1" not in caller.peers():
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    while "w1" in caller.peers():
        time.sleep(0.01)
    time.sleep(0.5)
    since = time.monotonic()
    caller.close()
    say("closed while a node is frozen, after", [time.monotonic() - since])
    gateway.wait(PeerDown, "caller", since)
    again = ZenohLink("caller", caller.addresses, gateway.link.addresses)
    again.start(lambda event: True)
    gateway.wait(PeerUp, "caller", since)
    again.close()


def test_a_process_that_forgets_to_close_its_link_ends_well(gateway):
    script = (
        "import sys, time\n"
        "from shoal.mesh.zenoh import ZenohLink\n"
        "link = ZenohLink('w1', ['tcp/127.0.0.1:0'], sys.argv[1:])\n"
        "link.start(lambda event: True)\n"
        "while not link.send('gateway', b'', bytes(1_000_000)): time.sleep(0.01)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, *gateway.link.addresses],
        capture_output=True,
        timeout=SOON_S,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, b"")
    gateway.wait(PeerDown, "w1")


def test_an_idle_node_costs_little(gateway):
    process = psutil.Process(gateway.start("w1").pid)
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(1.0)
    used = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
    resident = process.memory_info().rss / 1e6
    print(f"\nidle node: {100 * used:.1f} % of a core, {resident:.0f} MB resident")
    assert used < 0.25
    assert resident < 90
