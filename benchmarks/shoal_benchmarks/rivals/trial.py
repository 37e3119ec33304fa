"""One run of one rival: start, load, measure, kill, wait, end."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from shoal.errors import MeshError
from shoal_benchmarks.rivals.driver import Order, Reply
from shoal_benchmarks.rivals.facts import Facts, Sight, facts_of

if TYPE_CHECKING:
    from shoal_benchmarks.rivals.ground import Ground
    from shoal_benchmarks.rivals.job import Job
    from shoal_benchmarks.rivals.rival import Rival

REPLY_S = 15.0
"""Beyond the deadline of the requests that ``finish`` waits for."""
POLL_S = 0.05


class Pace(msgspec.Struct, frozen=True):
    """How long things last, in seconds: the longest wait for the first answer, warming up,
    measuring, the longest wait after the kill (then it is "never"), going on after it."""

    start_s: float = 120.0
    warm_s: float = 1.0
    measure_s: float = 4.0
    patience_s: float = 20.0
    after_s: float = 0.5


def run(name: str, rival: Rival, ground: Ground, job: Job, pace: Pace, victim: int) -> Facts:
    """The facts of a run in which stage ``victim`` is killed. MeshError when it does not start."""
    job.forget_pids()
    begin_s = time.monotonic()
    rival.start(ground, job)
    driver = _Driver(name, ground, job)
    ready_s = driver.ready_s(pace.start_s)
    driver.ask("load", REPLY_S)
    time.sleep(pace.warm_s)
    before = _look(ground)
    time.sleep(pace.measure_s)
    after = _look(ground)
    killed_s = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(job.pid(victim), signal.SIGKILL)
    while time.monotonic() < killed_s + pace.patience_s:
        if driver.ask("first", REPLY_S, killed_s).at_s is not None:
            time.sleep(pace.after_s)
            break
        time.sleep(POLL_S)
    records = driver.ask("finish", job.deadline_s + REPLY_S).records
    driver.end()
    return facts_of(ready_s - begin_s, before, after, killed_s, records)


class _Driver:
    """The bench's end of the client's process."""

    def __init__(self, name: str, ground: Ground, job: Job) -> None:
        self._ground = ground
        self._seat = ground.client
        self._process = ground.spawn(
            ground.client,
            ["-m", "shoal_benchmarks.rivals.driver", name, str(job.path)],
            stdout=subprocess.PIPE,
        )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="driver", daemon=True)
        self._reader.start()

    def ready_s(self, timeout_s: float) -> float:
        """When the first right answer had come."""
        at_s = self._reply(timeout_s).at_s
        if at_s is None:
            raise MeshError("the client's process did not say when it was ready")
        return at_s

    def ask(self, do: str, timeout_s: float, after_s: float = 0.0) -> Reply:
        """Give an order and take the reply."""
        line = msgspec.json.encode(Order(do, after_s)) + b"\n"
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(line)
                self._process.stdin.flush()
        except OSError as error:
            raise MeshError(f"the client's process has ended: {self._last_words()}") from error
        return self._reply(timeout_s)

    def end(self) -> None:
        """Let it leave by itself, so that what it uses sees a proper end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)

    def _reply(self, timeout_s: float) -> Reply:
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise MeshError(f"no answer within {timeout_s:g} s: {self._last_words()}") from None
        if not line:
            raise MeshError(f"the client's process has ended: {self._last_words()}")
        try:
            return msgspec.json.decode(line, type=Reply)
        except msgspec.DecodeError as error:
            raise MeshError(f"the client's process said {line[:80]!r}: {error}") from None

    def _last_words(self) -> str:
        return self._ground.log(self._seat) or "it said nothing"

    def _read(self) -> None:
        if self._process.stdout is not None:
            with contextlib.suppress(OSError, ValueError):
                for line in self._process.stdout:
                    self._lines.put(line)
        self._lines.put(b"")


def _look(ground: Ground) -> Sight:
    """A moment's sight; the clock is read in the middle of it."""
    wire_bytes = ground.wire_bytes()
    at_s = time.monotonic()
    return Sight(at_s, ground.usage(), wire_bytes)
