"""Systems in processes of their own, asked in turn: what is compared shares every slow moment."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec

import shoal
from shoal.errors import MeshError, UsageError
from shoal_benchmarks.measure import Samples, samples, turns
from shoal_benchmarks.wire import system

BEFORE = "SHOAL_BENCH_BEFORE"
"""The environment variable that names the ``src`` of another checkout, to be measured beside."""
WINDOW = 8
"""Requests under way: four for each of two stages, as with the rivals."""
START_S = 60.0
REPLY_S = 60.0
"""Beyond the time that was asked for."""


class Cost(msgspec.Struct, frozen=True):
    """What a turn took: CPU seconds of the client (or gateway) and of the others together."""

    images: int
    wall_s: float
    client_s: float
    others_s: float

    @property
    def client_ms(self) -> float:
        """CPU time of the client for an image."""
        return self.client_s / self.images * 1e3

    @property
    def others_ms(self) -> float:
        """CPU time of the others for an image."""
        return self.others_s / self.images * 1e3

    @property
    def total_ms(self) -> float:
        """CPU time of all for an image."""
        return self.client_ms + self.others_ms


class Side:
    """A system (see :mod:`shoal_benchmarks.wire.system`) from the sources in ``src``, with a part
    store of its own; use it in a ``with`` block. MeshError, with its last words, when it fails."""

    def __init__(self, name: str, task: str, src: Path | None = None) -> None:
        self._what = f"{name}, {task}"
        self._folder = tempfile.TemporaryDirectory(prefix="shoal-side-")
        log = Path(self._folder.name) / "log"
        self._log = log
        paths = [str(src or _own_src()), os.environ.get("PYTHONPATH", "")]
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-P", system.__file__, name, task],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path for path in paths if path),
                    "SHOAL_CACHE": self._folder.name,
                },
                start_new_session=True,
            )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="side", daemon=True)
        self._reader.start()

    def wait_ready(self) -> None:
        """Wait until it has answered once."""
        self._reply(START_S)

    def take(self, seconds: float, window: int = WINDOW) -> Cost:
        """Let it answer for so long."""
        order = msgspec.json.encode({"seconds": seconds, "window": window})
        with contextlib.suppress(BrokenPipeError):  # then there is no reply either
            if self._process.stdin is not None:
                self._process.stdin.write(order + b"\n")
                self._process.stdin.flush()
        return msgspec.json.decode(self._reply(seconds + REPLY_S), type=Cost)

    def close(self) -> None:
        """End it, and what it has started."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(REPLY_S)
        except subprocess.TimeoutExpired:  # its workers end with it, as they hold its pipes
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._folder.cleanup()

    def _reply(self, timeout_s: float) -> bytes:
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise MeshError(f"{self._what}: no answer within {timeout_s:g} s") from None
        if not line:
            words = self._log.read_text(errors="replace").strip().splitlines()
            raise MeshError(f"{self._what}: it ended: {words[-1][:300] if words else 'silently'}")
        return line

    def _read(self) -> None:
        if self._process.stdout is not None:
            with contextlib.suppress(OSError, ValueError):
                for line in self._process.stdout:
                    self._lines.put(line)
        self._lines.put(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_turns(
    sides: Mapping[str, Side], rounds: int, seconds: float, seed: int = 0
) -> dict[str, list[Cost]]:
    """Costs of each side over rounds in which each has a turn, in an order that changes. A first
    turn of each does not count."""
    found: dict[str, list[Cost]] = {name: [] for name in sides}
    for side in sides.values():
        side.wait_ready()
        side.take(seconds / 2)
    for order in turns(sides, rounds, seed):
        for name in order:
            found[name].append(sides[name].take(seconds))
    return found


def totals(costs: Sequence[Cost]) -> Samples:
    """CPU ms of all processes for an image."""
    return samples([cost.total_ms for cost in costs])


def before() -> Path | None:
    """The sources of the version to compare with, if one is given. UsageError if they are none."""
    text = os.environ.get(BEFORE)
    if not text:
        print(f"no other version is measured beside this one ({BEFORE})", file=sys.stderr)
        return None
    path = Path(text).resolve()
    if not (path / "shoal" / "__init__.py").is_file():
        raise UsageError(f"{BEFORE} is {text}, where no package shoal is; give a checkout's src")
    return path


def _own_src() -> Path:
    return Path(shoal.__file__).resolve().parent.parent
