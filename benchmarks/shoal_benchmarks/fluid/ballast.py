"""Work in place of hosts that rest, so that those that answer are neither faster nor slower for it.

Hosts of a lab share the cores and caches of one machine, as devices of their own would not: work on
one core takes some 15 % longer while the other is busy, and a core that hardly anybody uses starts
each piece of work cold. So as much is computed while a host is away as it, and what the gateway
does for it, would take.

    python -m shoal_benchmarks.fluid.ballast SHARE
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Self

from shoal_lab.faults import Restart
from shoal_lab.player import Happening

PERIOD_S = 0.01
"""As that of the hosts' CPU quota."""
WITH_GATEWAY = 2.0
"""What a host computes and what the gateway does for it, over the former."""


class Ballast:
    """Computes in place of each host that is killed until it is started again. ``share`` is that of
    a host. Use it in a ``with`` block, and give :meth:`heard` to ``play``."""

    def __init__(self, share: float) -> None:
        self._share = WITH_GATEWAY * share
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._over = True
            for host in list(self._running):
                self._end(host)

    @property
    def hosts(self) -> frozenset[str]:
        """In whose place something is computed now."""
        with self._lock:
            return frozenset(self._running)

    def heard(self, happening: Happening) -> None:
        """A host was killed, or started again."""
        if not isinstance(happening.fault, Restart):
            return
        host = happening.fault.host
        with self._lock:
            if happening.ends:
                self._end(host)
            elif host not in self._running and not self._over:
                command = [sys.executable, "-m", __name__, str(self._share)]
                self._running[host] = subprocess.Popen(command, stdin=subprocess.PIPE)

    def _end(self, host: str) -> None:
        process = self._running.pop(host, None)
        if process is not None:
            process.kill()
            process.communicate()


def burn(share: float, over: threading.Event) -> None:
    """Compute ``share`` of the time, in each period, until it is over."""
    while not over.is_set():
        began_s, end_s = time.monotonic(), time.thread_time() + share * PERIOD_S
        while time.thread_time() < end_s:
            sorted({number: str(number) for number in range(200)}.values())
        over.wait(max(0.0, began_s + PERIOD_S - time.monotonic()))


def _main(share: float) -> None:
    """Burn until whoever began this has gone: then standard input ends."""
    over = threading.Event()
    threading.Thread(target=burn, args=(share, over), daemon=True).start()
    while os.read(0, 4096):
        pass
    over.set()


if __name__ == "__main__":
    _main(float(sys.argv[1]))
