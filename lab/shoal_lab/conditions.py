"""What is done to a lab right now, written by its owner so that others can see it.

The owner writes ``conditions.json`` into the lab's folder whenever a host or link changes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from shoal_lab.cable import Load
from shoal_lab.shape import Shape

FILE = "conditions.json"
MAX_BYTES = 1 << 20


class FailedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a host's ``run`` that ended by itself and not with 0 (negative: by a signal).
    ``last`` is what its host's log ended with then."""

    host: str
    line: str
    code: int
    log: str
    last: str

    @property
    def how(self) -> str:
        """How it ended."""
        return f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}"

    @property
    def text(self) -> str:
        """All of it, as a sentence."""
        said = f"; it ends with: {self.last}" if self.last else ""
        return f"{self.host}: run line {self.line!r} failed with {self.how} (log: {self.log}{said})"


class HostCondition(msgspec.Struct, frozen=True, kw_only=True):
    """What a host suffers. ``factor`` is what is left of its share, ``clock_s`` how far its wall
    clock is off, ``failed`` are the lines of its ``run`` that did not end well."""

    dead: bool = False
    frozen: bool = False
    factor: float = 1.0
    disk_full: bool = False
    clock_s: float = 0.0
    failed: tuple[FailedLine, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """In words; nothing where all is well."""
        said = {
            "dead": self.dead,
            "frozen": self.frozen,
            f"slowed to {100 * self.factor:g} %": self.factor < 1,
            "disk full": self.disk_full,
            f"clock off by {self.clock_s:+g} s": self.clock_s != 0,
        }
        made = [words for words, is_so in said.items() if is_so]
        return (*made, *(f"{one.line!r} failed ({one.how})" for one in self.failed))


class LinkCondition(msgspec.Struct, frozen=True, kw_only=True):
    """What a link does now (up, down), and what of it is a fault's doing."""

    up: Shape
    down: Shape
    load: Load

    @property
    def faults(self) -> tuple[str, ...]:
        """In words; nothing where all is well."""
        made = ["cut"] if self.load.cut else []
        if self.load.mbit is not None:
            made.append(f"narrowed to {self.load.mbit:g} Mbit/s")
        if self.load.loss is not None:
            made.append(f"loses {100 * self.load.loss:g} %")
        return tuple(made)


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """All hosts, and all links that are emulated, by name."""

    hosts: dict[str, HostCondition] = {}
    links: dict[str, LinkCondition] = {}


def write(conditions: Conditions, folder: Path) -> None:
    """Save them in the lab's folder."""
    new = folder / f"{FILE}.new"
    new.write_bytes(msgspec.json.encode(conditions))
    new.replace(folder / FILE)


def read(folder: Path) -> Conditions:
    """What the owner wrote last; nothing where it wrote nothing."""
    file = folder / FILE
    try:
        if file.stat().st_size <= MAX_BYTES:
            return msgspec.json.decode(file.read_bytes(), type=Conditions)
    except (OSError, msgspec.DecodeError):
        pass
    return Conditions()
