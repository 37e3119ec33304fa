"""The process that runs tests, each time in a fork, that has loaded what is large already.

It is started in a copy of the project, with the sources of that copy on its path, and has not
loaded Shoal: a fork does, as the copy is by then. It reads a job per line and answers by a line.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

import msgspec

HEAVY = ("numpy", "onnx", "onnxruntime", "hypothesis", "pytest", "rich.console", "typer", "yaml")
PASSED = (0, 5)
"""What pytest ends with where all passed, and where a file holds none that is asked for."""
MOST_BYTES = 6 << 30
"""What a fork may map: a change may ask for memory without an end."""
UNENDED = "a test that did not end, or that ended the process"
OPTIONS = (
    *("-x", "-m", "not system and not root", "-p", "no:cacheprovider", "-p", "no:xdist"),
    "--timeout-method=thread",  # what Hypothesis would catch it would try again
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of what is loaded by the second file
)


class Job(msgspec.Struct, frozen=True):
    """Run the tests of ``files``, one file after the other, until one fails. ``files`` says of each
    how long a test may take, ``limit_s`` how long all may. ``watch``: also tell what of Shoal they
    reach."""

    files: dict[str, float]
    limit_s: float
    watch: bool = False


class Done(msgspec.Struct, frozen=True):
    """How that ended: ``failed`` is the first that did not pass (None: all did). ``entered`` are
    the functions that ran, by file and first line, ``loaded`` the files that were imported.
    ``took_s`` is of the processor."""

    failed: str | None = None
    took_s: float = 0.0
    entered: tuple[tuple[str, int], ...] = ()
    loaded: tuple[str, ...] = ()


def done(job: Job) -> Done:
    """Do a job in a fork of this process."""
    until = time.monotonic() + job.limit_s
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            os.setsid()
            resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
            _run(job, writing)
        finally:
            os._exit(1)
    os.close(writing)
    try:
        told = _read(reading, until)
    finally:
        with contextlib.suppress(ProcessLookupError):  # with all that it started
            os.killpg(child, signal.SIGKILL)
        _, _, used = os.wait4(child, 0)
    found = msgspec.json.decode(told, type=Done) if told else Done(UNENDED)
    return msgspec.structs.replace(found, took_s=used.ru_utime + used.ru_stime)


def _read(handle: int, until: float) -> bytes:
    """All that is written there; nothing where that does not end in time."""
    chunks: list[bytes] = []
    with open(handle, "rb", buffering=0) as source:
        while select.select([source], [], [], max(0.0, until - time.monotonic()))[0]:
            chunk = source.read(1 << 16)
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
    return b""


def _run(job: Job, writing: int) -> NoReturn:
    """What the fork does."""
    import pytest

    silence = os.open(os.devnull, os.O_RDWR)
    for handle in range(3):
        os.dup2(silence, handle)
    if not job.watch:  # what is changed in turn would be taken for one another
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

    def tell(what: Done) -> NoReturn:
        os.write(writing, msgspec.json.encode(what))
        os._exit(0)

    class Plugin:
        def pytest_sessionstart(self) -> None:
            from hypothesis import Phase, settings

            # An example that fails is enough: it need not be the simplest.
            phases = (Phase.explicit, Phase.generate)
            settings.register_profile("any failure", settings(), phases=phases)
            settings.load_profile("any failure")

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.failed:
                tell(Done(report.nodeid))

        def pytest_collectreport(self, report: Any) -> None:
            if report.failed:
                tell(Done(report.nodeid or "collecting"))

    watch = Watch()
    if job.watch:
        watch.begin()
    for file, test_s in job.files.items():
        code = pytest.main([file, *OPTIONS, f"--timeout={test_s:g}"], plugins=[Plugin()])
        if code not in PASSED:
            tell(Done(file))
    tell(watch.seen() if job.watch else Done())


class Watch:
    """Notes which functions of Shoal are entered."""

    def __init__(self) -> None:
        self._codes: dict[int, CodeType] = {}

    def begin(self) -> None:
        """From now on, in all threads."""
        threading.settrace(self._entered)
        sys.settrace(self._entered)

    def _entered(self, frame: FrameType, event: str, argument: object) -> None:
        self._codes[id(frame.f_code)] = frame.f_code

    def seen(self) -> Done:
        """What was seen till now."""
        sys.settrace(None)
        source = Path.cwd() / "src"
        entered = {
            (str(Path(code.co_filename).relative_to(Path.cwd())), code.co_firstlineno)
            for code in list(self._codes.values())
            if code.co_filename.startswith(f"{source}/")
        }
        loaded = [
            str(Path(file).relative_to(Path.cwd()))
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] == "shoal" and (file := module.__file__) is not None
        ]
        return Done(entered=tuple(sorted(entered)), loaded=tuple(sorted(loaded)))


def serve(lines: Sequence[str] | Any, out: Any) -> None:
    """Do one job after the other."""
    for name in HEAVY:
        importlib.import_module(name)
    assert "shoal" not in sys.modules
    for line in lines:
        out.write(msgspec.json.encode(done(msgspec.json.decode(line, type=Job))).decode() + "\n")
        out.flush()


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
