"""A link's rates and round trip over time, recorded or made.

CSV with the header ``time_s,down_mbit,up_mbit,rtt_ms``. Rows are evenly spaced and start at 0;
after the last row the trace begins again. ``up`` is from the link's first end to its second.
"""

from __future__ import annotations

import csv
import math
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import msgspec

from shoal.errors import LabFileError

SHIPPED = ("steady", "walk", "square")
"""steady: 20 Mbit/s and 10 ms. walk: ups and downs as of LTE on foot. square: 20 and 2 Mbit/s in
turns of 10 s."""

HEADER = ("time_s", "down_mbit", "up_mbit", "rtt_ms")
MAX_ROWS = 100_000
MAX_BYTES = 10 << 20
MIN_STEP_S = 0.1
MAX_MBIT = 10_000.0
MAX_RTT_MS = 60_000.0


class Sample(msgspec.Struct, frozen=True):
    """What a link does from ``time_s`` on. ``rtt_ms`` counts both directions."""

    time_s: float
    down_mbit: float
    up_mbit: float
    rtt_ms: float


class Trace(msgspec.Struct, frozen=True):
    """Evenly spaced samples, repeated for ever."""

    name: str
    samples: tuple[Sample, ...]
    step_s: float

    @property
    def length_s(self) -> float:
        """When it begins again."""
        return self.step_s * len(self.samples)

    def at(self, time_s: float) -> Sample:
        """The sample that holds ``time_s`` seconds after the start."""
        # A hair more, so that the time of a row itself is not rounded into the row before.
        return self.samples[int(time_s / self.step_s + 1e-6) % len(self.samples)]


def load_trace(name: str, folder: Path) -> Trace:
    """The shipped trace of this name, or the CSV file at this path (relative to ``folder``).

    LabFileError for a file that is missing, too large or wrong.
    """
    if name in SHIPPED:
        text = files("shoal_lab").joinpath("traces", f"{name}.csv").read_text(encoding="utf-8")
        return parse_trace(text, name)
    path = folder / name
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LabFileError(f"trace {path} is larger than {MAX_BYTES >> 20} MiB; shorten it")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LabFileError(
            f"cannot read trace {path}: {error.strerror}; give a CSV file or one of "
            f"{', '.join(SHIPPED)}"
        ) from error
    except UnicodeDecodeError as error:
        raise LabFileError(f"trace {path} is not text: {error}") from error
    return parse_trace(text, name)


def parse_trace(text: str, name: str) -> Trace:
    """A trace from CSV text; LabFileError names the row that is wrong."""
    rows = list(csv.reader(text.splitlines()))
    if not rows or tuple(cell.strip() for cell in rows[0]) != HEADER:
        raise LabFileError(f"trace {name}: the first line must be {','.join(HEADER)}")
    if len(rows) - 1 > MAX_ROWS:
        raise LabFileError(f"trace {name}: more than {MAX_ROWS} rows; shorten it")
    samples = tuple(
        _sample(row, f"trace {name}, line {line}") for line, row in enumerate(rows[1:], 2) if row
    )
    if not samples:
        raise LabFileError(f"trace {name}: there is no row after the header")
    if samples[0].time_s != 0:
        raise LabFileError(f"trace {name}: it starts at {samples[0].time_s:g} s; start it at 0")
    step_s = samples[1].time_s - samples[0].time_s if len(samples) > 1 else 1.0
    for line, (before, after) in enumerate(pairwise(samples), 3):
        here = after.time_s - before.time_s
        if here <= 0:
            raise LabFileError(
                f"trace {name}, line {line}: time goes back from {before.time_s:g} to "
                f"{after.time_s:g} s; sort the rows"
            )
        if not math.isclose(here, step_s, rel_tol=0.01):
            raise LabFileError(
                f"trace {name}, line {line}: a gap: {here:g} s after the row before, where rows "
                f"are {step_s:g} s apart; fill the missing rows"
            )
    if step_s < MIN_STEP_S:
        raise LabFileError(f"trace {name}: rows are {step_s:g} s apart; {MIN_STEP_S} s at least")
    return Trace(name=name, samples=samples, step_s=step_s)


def _sample(row: list[str], where: str) -> Sample:
    if len(row) != len(HEADER):
        raise LabFileError(f"{where}: {len(row)} values where {len(HEADER)} belong")
    values = []
    for column, cell in zip(HEADER, row, strict=True):
        try:
            value = float(cell)
        except ValueError:
            raise LabFileError(f"{where}: {column} is {cell!r}, not a number") from None
        if not math.isfinite(value) or value < 0:
            raise LabFileError(f"{where}: {column} is {cell.strip()}; it must not be negative")
        values.append(value)
    sample = Sample(*values)
    for column, mbit in (("down_mbit", sample.down_mbit), ("up_mbit", sample.up_mbit)):
        if not 0 < mbit <= MAX_MBIT:
            raise LabFileError(
                f"{where}: {column} is {mbit:g}; it must be above 0 and at most {MAX_MBIT:g} (for "
                "a time without any link use the fault 'cut')"
            )
    if sample.rtt_ms > MAX_RTT_MS:
        raise LabFileError(f"{where}: rtt_ms is {sample.rtt_ms:g}; at most {MAX_RTT_MS:g}")
    return sample
