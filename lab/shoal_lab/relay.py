"""Delays and loses packets where the kernel has no ``netem``. A program of its own, stdlib only.

A wire that delays has a TUN device at each end instead of a veth pair. This program holds both
ends of all such wires: it reads an IP packet at one end, keeps it for the wire's delay, and writes
it at the other, whatever protocol it carries. Rates are not its business (``tbf`` on the same
devices is). It runs before other programs (real-time priority), so that a busy machine does not
stretch the delays.

Started as ``python relay.py SOCKET`` with one line of JSON on stdin: a list of
``{"device", "spaces": [PATH, PATH], "delay_ms", "loss", "seed"}``. Says ``ready`` on stdout. Ends
when stdin ends, that is when whoever started it is gone. Each message to SOCKET (a Unix socket,
SEQPACKET, JSON) is answered: ``{"device", "delay_ms", "loss"}`` changes a wire, ``{}`` asks for
counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections import deque
from typing import Any, TypedDict

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
CLONE_NEWNET = 0x40000000
MTU_BYTES = 2048
BATCH = 64
"""Packets read from one end before the others have their turn."""
MOST_WAITING = 20_000
"""Packets on their way in one direction; more are dropped, as a real link would."""
BEAT_S = 0.0004
"""While packets come fast they are taken and delivered together, once in a beat: a third of the CPU
time. A packet is then up to half a beat early or late at each end, and right on average."""
CALM_BEATS = 5
"""After so many beats without a packet each one is again handled at its own moment."""
MESSAGE_BYTES = 65_536
PRIORITY = 10


class WireLine(TypedDict):
    """A wire, as the program gets it on stdin."""

    device: str
    spaces: list[str]
    delay_ms: float
    loss: float
    seed: int


class Direction:
    """One way of a wire: packets that wait for their time."""

    __slots__ = ("delay_s", "dropped", "last_due", "loss", "passed", "random", "to", "waiting")

    def __init__(self, to: int, delay_s: float, loss: float, seed: int) -> None:
        self.to = to
        self.delay_s = delay_s
        self.loss = loss
        self.random = random.Random(seed)
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.last_due = 0.0
        self.passed = 0
        self.dropped = 0

    def take(self, packet: bytes, now: float) -> None:
        """Keep a packet until its time, or lose it."""
        if (self.loss and self.random.random() < self.loss) or len(self.waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        # A delay that became shorter does not let a packet overtake.
        self.last_due = max(now + self.delay_s, self.last_due)
        self.waiting.append((self.last_due, packet))

    def deliver(self, now: float) -> None:
        """Write every packet whose time has come."""
        waiting = self.waiting
        while waiting and waiting[0][0] <= now:
            try:
                os.write(self.to, waiting.popleft()[1])
                self.passed += 1
            except OSError:  # the other end is gone or has no room: the packet is lost
                self.dropped += 1


class Relay:
    """All wires, one thread."""

    def __init__(self, wires: list[WireLine], control: socket.socket) -> None:
        self.directions: dict[int, Direction] = {}
        self.by_device: dict[str, list[Direction]] = {}
        self.busy: set[Direction] = set()
        self.control = control
        self.clients: dict[int, socket.socket] = {}
        self.poll = select.epoll()
        for wire in wires:
            self._add(wire)
        for fd in (sys.stdin.fileno(), control.fileno()):
            self.poll.register(fd, select.EPOLLIN)

    def _add(self, wire: WireLine) -> None:
        device, seed = wire["device"], wire["seed"]
        first, second = (open_tun(space, device) for space in wire["spaces"])
        delay_s, loss = wire["delay_ms"] / 1000, wire["loss"]
        up = Direction(second, delay_s, loss, seed)
        down = Direction(first, delay_s, loss, seed + 1)
        self.directions[first], self.directions[second] = up, down
        self.by_device[device] = [up, down]
        for fd in (first, second):
            self.poll.register(fd, select.EPOLLIN)

    def run(self) -> None:
        """Until stdin ends."""
        ready = [self.poll.fileno()]
        calm = CALM_BEATS
        while True:
            early = 0.0
            if calm < CALM_BEATS:
                time.sleep(BEAT_S)
                early = BEAT_S / 2
            else:
                # epoll itself counts in whole milliseconds; select does not.
                select.select(ready, [], [], self._until_due())
            calm += 1
            for fd, _ in self.poll.poll(0):
                if fd in self.directions:
                    calm = 0 if self._read(fd, early) else calm
                elif not self._serve(fd):
                    return
            self._deliver(time.monotonic() + early)

    def _until_due(self) -> float | None:
        """Seconds until a packet is due, None if there is none."""
        if not self.busy:
            return None
        due = min(direction.waiting[0][0] for direction in self.busy)
        return max(due - time.monotonic(), 0.0)

    def _deliver(self, now: float) -> None:
        for direction in [*self.busy]:
            direction.deliver(now)
            if not direction.waiting:
                self.busy.discard(direction)

    def _read(self, fd: int, early: float) -> bool:
        """Take what has come at one end, ``early`` seconds ago; whether there was anything."""
        direction = self.directions[fd]
        came = time.monotonic() - early
        count = 0
        with contextlib.suppress(OSError):  # nothing left, or the end is gone
            while count < BATCH:
                direction.take(os.read(fd, MTU_BYTES), came)
                count += 1
        if direction.waiting:
            self.busy.add(direction)
        return count > 0

    def _serve(self, fd: int) -> bool:
        """Stdin, a new client or a message. False when stdin has ended."""
        if fd == sys.stdin.fileno():
            return bool(os.read(fd, 1))
        if fd == self.control.fileno():
            client, _ = self.control.accept()
            self.clients[client.fileno()] = client
            self.poll.register(client.fileno(), select.EPOLLIN)
            return True
        client = self.clients[fd]
        try:
            message = client.recv(MESSAGE_BYTES)
            if message:
                client.send(json.dumps(self._answer(json.loads(message))).encode())
                return True
        except (OSError, ValueError, KeyError):
            pass  # a client that talks nonsense or left: let it go
        self.poll.unregister(fd)
        del self.clients[fd]
        client.close()
        return True

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        if "device" in message:
            for direction in self.by_device[message["device"]]:
                direction.delay_s = message["delay_ms"] / 1000
                direction.loss = message["loss"]
        return {
            "cpu_s": time.process_time(),
            "wires": {
                device: {
                    "passed": [one.passed for one in both],
                    "dropped": [one.dropped for one in both],
                }
                for device, both in self.by_device.items()
            },
        }


def enter(handle: int) -> None:
    """Go into the network namespace of an open file, and close it."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if libc.setns(handle, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot enter a network namespace")
    finally:
        os.close(handle)


def open_tun(space: str, device: str) -> int:
    """The file of a TUN device that exists in the network namespace at ``space``."""
    enter(os.open(space, os.O_RDONLY))
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN_NO_PI))
    return fd


def main() -> None:
    """See the module."""
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        wires = json.loads(stdin.readline())
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.bind(sys.argv[1])
    control.listen()
    relay = Relay(wires, control)
    enter(home)  # a program that stayed inside would keep a host's namespace alive
    gc.collect()
    gc.disable()  # nothing here makes cycles
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        how = "real-time"
    except OSError:  # not allowed here: ahead of others as far as it goes
        os.nice(-20)
        how = "nice"
    print(f"ready {how}", flush=True)
    relay.run()


if __name__ == "__main__":
    main()
