"""Processes that run the tests: one that ends, or takes too long, is told of and replaced."""

from __future__ import annotations

import selectors
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import msgspec

from shoal_benchmarks.networks.suite import CRASHED, HUNG, Outcome, Test

MOST_S = 120.0
"""Longest that a test may take, and that a process may take to make the tests."""


class Fenced:
    """A process that runs tests one after the other. To be closed."""

    def __init__(self, most_s: float = MOST_S) -> None:
        self._most_s = most_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Fenced:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self) -> list[Test]:
        """Start the process; all tests that there are. Raises RuntimeError where it does not
        start."""
        self.close()
        command = [sys.executable, "-W", "ignore", "-m", "shoal_benchmarks.networks.suite"]
        self._process = process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        line = _line(process, MOST_S)
        if not line:
            self.close()
            raise RuntimeError(f"{' '.join(command)} does not start: run it to see why")
        return msgspec.json.decode(line, type=list[Test])

    def run(self, group: str, name: str) -> Outcome:
        """What came of a test."""
        if self._process is None:
            self.begin()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(f"{group} {name}\n".encode())
            process.stdin.flush()
            line = _line(process, self._most_s)
        except BrokenPipeError:
            line = b""
        if line:
            return msgspec.json.decode(line, type=Outcome)
        self.close()
        if line is None:
            return Outcome(name, group, shoal=HUNG, why=f"not done after {self._most_s:g} s")
        return Outcome(name, group, shoal=CRASHED, why=f"it ended with {process.returncode}")

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _line(process: subprocess.Popen[bytes], most_s: float) -> bytes | None:
    """The next line that a process tells; empty where it ended, None where none came in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if waiting.select(most_s) else None


def tests() -> list[Test]:
    """All tests, by group and name."""
    with Fenced() as fenced:
        return fenced.begin()


def run_all(chosen: Iterable[Test], processes: int, most_s: float = MOST_S) -> Iterator[Outcome]:
    """What came of these tests, in their order, run by so many processes."""
    local = threading.local()
    made: list[Fenced] = []

    def one(test: Test) -> Outcome:
        if not hasattr(local, "fenced"):
            local.fenced = Fenced(most_s)
            made.append(local.fenced)
        fenced: Fenced = local.fenced
        return fenced.run(*test)

    try:
        with ThreadPoolExecutor(processes) as pool:
            yield from pool.map(one, list(chosen))
    finally:
        for fenced in made:
            fenced.close()
