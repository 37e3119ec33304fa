"""The mesh on three hosts (network namespaces) whose lines are cut and mended."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.root]
PEER = Path(__file__).with_name("mesh_peer.py")
SUBNET = "10.201.77"


def run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True)


class Host:
    """A network namespace with a node in it, and what the node says with the time."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.space = f"shoal-{os.getpid()}-{number}"
        self.inside = ["ip", "netns", "exec", self.space]
        self.address = f"{SUBNET}.{number}"
        self.said: list[tuple[float, str]] = []
        self.readers: list[threading.Thread] = []
        self.process: subprocess.Popen[str] | None = None

    def start(self, *seeds: str) -> str:
        self.process = subprocess.Popen(
            [*self.inside, sys.executable, str(PEER), self.name, self.address, *seeds],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for stream in (self.process.stdout, self.process.stderr):
            reader = threading.Thread(target=self.listen, args=(stream,))
            self.readers.append(reader)
            reader.start()
        self.wait("ready")
        return next(line.split()[1] for _, line in self.said if line.startswith("ready"))

    def listen(self, stream) -> None:
        for line in stream:
            self.said.append((time.monotonic(), line.strip()))

    def wait(self, what: str, since: float = 0.0, seconds: float = 30.0) -> float:
        """When it said so; fails when it does not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for at, line in self.said:
                if at >= since and line.startswith(what):
                    return at
            time.sleep(0.01)
        return pytest.fail(f"{self.name} did not say {what!r} but {self.said}")

    def say(self, to: "Host", size: int = 0) -> None:
        """Send a message of ``size`` bytes to another node and wait until it is there."""
        since = time.monotonic()
        self.process.stdin.write(f"say {to.name} {size}\n")
        self.process.stdin.flush()
        to.wait(f"got from {self.name}", since)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for reader in self.readers:
                reader.join()
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                stream.close()


class Lan:
    """Three hosts on one switch."""

    def __init__(self) -> None:
        self.switch = f"shoal-{os.getpid()}-0"
        self.hosts = [Host(number, name) for number, name in enumerate(["gw", "w1", "w2"], 1)]

    def build(self) -> None:
        run(f"ip netns add {self.switch}")
        run(f"ip -n {self.switch} link add lan type bridge")
        run(f"ip -n {self.switch} link set lan up")
        for host in self.hosts:
            run(f"ip netns add {host.space}")
            run(
                f"ip link add eth0 netns {host.space} type veth "
                f"peer name p{host.number} netns {self.switch}"
            )
            run(f"ip -n {host.space} addr add {host.address}/24 dev eth0")
            run(f"ip -n {host.space} link set eth0 up")
            run(f"ip -n {self.switch} link set p{host.number} master lan")
            run(f"ip -n {self.switch} link set p{host.number} up")

    def cut(self, a: Host, b: Host, cut: bool = True) -> None:
        for here, there in ((a, b), (b, a)):
            verb = "add" if cut else "del"
            run(f"ip -n {here.space} route {verb} blackhole {there.address}/32")

    def narrow(self, host: Host, mbit: float) -> None:
        # A queue without end: what TCP does about losses is not what is tried.
        run(
            f"ip netns exec {host.space} tc qdisc replace dev eth0 root "
            f"tbf rate {mbit}mbit burst 2000 limit 1000000"
        )

    def close(self) -> None:
        for host in self.hosts:
            host.stop()
        for space in [self.switch, *(host.space for host in self.hosts)]:
            with suppress(subprocess.CalledProcessError):
                run(f"ip netns del {space}")


@pytest.fixture
def lan() -> Iterator[Lan]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make network namespaces")
    lan = Lan()
    try:
        lan.build()
    except (OSError, subprocess.CalledProcessError) as error:
        lan.close()
        pytest.skip(f"network namespaces cannot be made here: {error}")
    yield lan
    lan.close()


def test_cut_lines_are_noticed_and_mended_ones_are_used_again(lan):
    gw, w1, w2 = lan.hosts
    seed = gw.start()
    w1.start(seed)
    w2.start(seed)
    w1.wait("PeerUp w2")
    w2.wait("PeerUp w1")
    w1.say(w2)

    since = time.monotonic()
    lan.cut(gw, w1)
    noticed = max(gw.wait("PeerDown w1", since), w1.wait("PeerDown gw", since)) - since
    assert not any(at > since and "w2" in line for at, line in w1.said)
    time.sleep(1.0)
    since = time.monotonic()
    lan.cut(gw, w1, cut=False)
    back = max(gw.wait("PeerUp w1", since), w1.wait("PeerUp gw", since)) - since
    w1.say(gw)
    gw.say(w1)
    print(f"\ncalled: cut noticed after {noticed:.2f} s, mended after {back:.2f} s")

    since = time.monotonic()
    lan.cut(w1, w2)  # these two found each other through the gateway
    noticed = max(w1.wait("PeerDown w2", since), w2.wait("PeerDown w1", since)) - since
    lan.cut(w1, w2, cut=False)
    since = time.monotonic()
    back = max(w1.wait("PeerUp w2", since), w2.wait("PeerUp w1", since)) - since
    w1.say(w2)
    w2.say(w1)
    print(f"heard of: cut noticed after {noticed:.2f} s, mended after {back:.2f} s")


def test_a_line_of_1_mbit_carries_what_takes_longer_than_the_lease(lan):
    """The signs of life of a sender stand behind its own bytes: it must not be taken for dead
    while they come in."""
    gw, w1, _ = lan.hosts
    lan.narrow(w1, 1.0)
    seed = gw.start()
    w1.start(seed)
    w1.wait("PeerUp gw")
    w1.say(gw, 300_000)  # 2.4 s
