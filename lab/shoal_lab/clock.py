"""A wall clock that jumps: a small library loaded before the C library in a host's processes.

It is compiled when a lab comes up that has a ``clock-jump`` among its faults, from ``clock.c``
beside this file, which says how it works. Programs that do not use the C library for the time of
day (statically linked ones, Go) are not fooled.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

from shoal.errors import LabError

LIBRARY = "clock.so"
COMPILERS = ("cc", "gcc", "clang")
TIMEOUT_S = 60.0


def build(compiler: str, folder: Path) -> Path:
    """Compile the library into ``folder``; LabError with what the compiler says."""
    made = folder / LIBRARY
    with as_file(files("shoal_lab").joinpath("clock.c")) as source:
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    if done.returncode != 0:
        first = (done.stderr.strip() or "no reason").splitlines()[0]
        raise LabError(f"the library that lets clocks jump does not compile: {first}")
    return made


class Clock:
    """How far the wall clock of a host is off. ``environment`` makes its processes see it."""

    def __init__(self, library: Path, file: Path) -> None:
        self.environment = {"LD_PRELOAD": str(library), "SHOAL_LAB_CLOCK": str(file)}
        self._file = file
        self._off_s = 0.0

    def make(self) -> None:
        """Create it; it is right."""
        self._file.write_bytes(bytes(8))

    def jump(self, by_s: float) -> None:
        """Put it ``by_s`` seconds on (back if negative); processes see it at once."""
        self._off_s += by_s
        number = round(self._off_s * 1e9).to_bytes(8, sys.byteorder, signed=True)
        file = os.open(self._file, os.O_WRONLY)
        try:
            os.pwrite(file, number, 0)  # eight aligned bytes: nobody sees half of them
        finally:
            os.close(file)
