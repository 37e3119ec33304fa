"""Hosts that answer under load while some of them are lost and come back: rates and recovery."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from shoal import allowance
from shoal.observe.load_generator import Record
from shoal_lab import Fault, HostSpec, LabSpec, LinkSpec
from shoal_lab.chaos import Scene, Story
from shoal_lab.chaos.verdict import Span, spans
from shoal_lab.spec import Star

PART = 0.8
"""Of the cores: the rest is for the machine itself."""
GATE = "gate"
MBIT = 100.0
SETTLE_S = 0.5
"""After a change, before the rate counts."""
BIN_S = 0.5
"""Over so long a rate is taken to see whether it is back."""
NEAR = 0.8
"""Of a level: the rate is back at it."""

APART = {"high_s": 1e-6, "low_s": 0.0}
"""Marks with which each device answers for itself as soon as anything waits."""
TOGETHER = {"high_s": 1e5}
"""Marks with which they always answer together."""


def share_of(workers: int) -> float:
    """The part of a core that each of so many equal workers gets."""
    return min(0.5, PART * allowance.cores() / 3) / workers


def scene_of(
    path: Path,
    workers: int,
    seconds: float,
    faults: Sequence[Fault],
    marks: dict[str, float],
    deadline_ms: float = 60_000.0,
) -> Scene:
    """Equal workers, and a gateway with twice as much as all of them, but one core at most: it
    shall not be what bounds them."""
    share = share_of(workers)
    hosts = {GATE: HostSpec(share=2 * workers * share)}
    hosts |= {f"worker-{k + 1}": HostSpec(share=share) for k in range(workers)}
    return Scene(
        spec=LabSpec(name="fluid", hosts=hosts, topology=Star(link=LinkSpec(mbit=MBIT))),
        gate=GATE,
        seconds=seconds,
        faults=tuple(faults),
        model=str(path),
        strategy="fluid",
        options=dict(marks),
        window=8 * workers,
        deadline_ms=deadline_ms,
    )


class Course(msgspec.Struct, frozen=True):
    """The answers of a story over time. ``times`` are seconds since the faults began, in order."""

    times: tuple[float, ...]
    records: tuple[Record, ...]
    lost: tuple[Span, ...]

    def rate(self, begin_s: float, end_s: float) -> float:
        """Images per second between two moments."""
        count = bisect_left(self.times, end_s) - bisect_left(self.times, begin_s)
        return count / max(end_s - begin_s, 1e-9)

    def plans(self, begin_s: float, end_s: float) -> Counter[str]:
        """How many answers by which plan there were between two moments."""
        first, last = bisect_left(self.times, begin_s), bisect_left(self.times, end_s)
        return Counter(record.plan for record in self.records[first:last])

    def by_second(self, end_s: float) -> list[float]:
        """Images in each second."""
        return [self.rate(second, second + 1) for second in range(int(end_s))]

    def reaches(self, level: float, from_s: float) -> float:
        """How long after ``from_s`` the rate is at ``level`` for the first time (``BIN_S`` long);
        infinite when it never is."""
        wanted = NEAR * level * BIN_S
        first = bisect_left(self.times, from_s)
        starts = [from_s, *self.times[first:]]
        for start_s in starts:
            if self.rate(start_s, start_s + BIN_S) * BIN_S >= wanted:
                return start_s - from_s
        return float("inf")

    def first_answer(self, device: str, from_s: float) -> float | None:
        """When ``device`` had a part in an answer for the first time after ``from_s``."""
        for at_s, record in zip(self.times, self.records, strict=True):
            if at_s >= from_s and device in record.devices:
                return at_s
        return None


def course(story: Story) -> Course:
    """What the answers were over time, and who was lost when."""
    times = tuple(record.answered_s - story.began_s for record in story.records)
    return Course(times, story.records, tuple(spans(story.happenings)))
