"""Makes changes in a copy of the project, one at a time, and sees whether a test fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeAlias

import msgspec

from shoal.scratch import Scratch
from shoal_benchmarks.node.mutants.runner import Done, Job
from shoal_benchmarks.node.mutants.sites import Mutant

ROOT = Path(__file__).parents[4]
RUNNER = Path(__file__).with_name("runner.py")
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "results", "build", "dist")
PACKAGES = ("src", "lab", "benchmarks")
WATCHED_S = 600.0
MORE_S, TIMES = 20.0, 2
"""A test may take so much longer, and so many times as long, as the processor took for its whole
file when that was watched (which makes it slow)."""
LATER_S = 1000
"""A changed file is dated so much later, so that nobody takes it for what was compiled."""

Reach: TypeAlias = Mapping[str, Done]
"""What each file of tests reaches, and how long it takes."""


def concerned(mutant: Mutant, reach: Reach) -> list[str]:
    """The files of tests that run what was changed: those that enter other functions of the same
    file first (where it runs at import, and others only import it), then the quickest."""
    if mutant.function:
        runs = [
            file for file, seen in reach.items() if (mutant.path, mutant.function) in seen.entered
        ]
    else:
        runs = [file for file, seen in reach.items() if mutant.path in seen.loaded]

    def order(file: str) -> tuple[bool, float]:
        enters = any(path == mutant.path for path, _ in reach[file].entered)
        return not enters, reach[file].took_s

    return sorted(runs, key=order)


class Trial:
    """A copy of the project, and a process that runs tests in it, for a ``with`` block."""

    def __init__(self) -> None:
        self._scratch = Scratch.make("mutants")
        self.copy = self._scratch.path / "project"
        shutil.copytree(ROOT, self.copy, ignore=LEFT_OUT)
        path = os.pathsep.join(str(self.copy / package) for package in PACKAGES)
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(RUNNER)],
            cwd=self.copy,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def watched(self, file: str) -> Done:
        """What the tests of a file reach, in what is there unchanged."""
        return self._done(Job({file: WATCHED_S}, WATCHED_S, watch=True))

    def tried(self, mutant: Mutant, reach: Reach) -> Done:
        """What the tests say to a change."""
        files = {file: MORE_S + TIMES * reach[file].took_s for file in concerned(mutant, reach)}
        limit_s = MORE_S + sum(files.values())
        with self._changed(mutant):
            return self._done(Job(files, limit_s))

    def _done(self, job: Job) -> Done:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(job) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Done)

    @contextmanager
    def _changed(self, mutant: Mutant) -> Iterator[None]:
        path = self.copy / mutant.path
        source, stat = path.read_bytes(), path.stat()
        try:
            path.write_bytes(mutant.applied(source))
            os.utime(path, (stat.st_atime, stat.st_mtime + LATER_S))
            yield
        finally:
            path.write_bytes(source)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._scratch.remove()


def files_of(patterns: Sequence[str]) -> list[str]:
    """The files of the project by patterns such as ``src/shoal/core/**/*.py``."""
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(str(path.relative_to(ROOT)) for path in found)
