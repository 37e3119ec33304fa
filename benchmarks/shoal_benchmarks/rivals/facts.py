"""From what was seen in a run to its facts. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import msgspec

from shoal_benchmarks.measure import samples
from shoal_benchmarks.rivals.asking import Record
from shoal_benchmarks.rivals.family import Usage


class Sight(msgspec.Struct, frozen=True):
    """A look at everything at one moment of the monotonic clock."""

    at_s: float
    usage: Usage
    wire_bytes: int


class Facts(msgspec.Struct, frozen=True):
    """A run of a rival. ``back_s`` is the time from the kill to the first right answer to a
    request asked after it (None: never), ``pause_s`` the longest time without any right answer
    from the last one before the kill on. ``lost`` are requests without a right answer, of
    ``asked`` in all; ``why`` says what became of the first of them."""

    start_s: float
    images_per_s: float
    p50_ms: float
    p99_ms: float
    wire_bytes: float
    cpu_s: float
    memory_bytes: int
    asked: int
    lost: int
    back_s: float | None
    pause_s: float
    why: str = ""


def facts_of(
    start_s: float,
    before: Sight,
    after: Sight,
    killed_s: float,
    records: Sequence[Record],
) -> Facts:
    """The facts of a run: rate, latency, bytes and CPU between two sights, losses over all of it.

    With no right answer between the sights the rate is 0 and what is per image is not a number.
    """
    good = [r for r in records if not r.why]
    between = [r for r in good if before.at_s <= r.ended_s < after.at_s]
    bad = [r for r in records if r.why]
    back_s = [r.ended_s - killed_s for r in good if r.asked_s >= killed_s]
    nan = float("nan")
    times = samples([(r.ended_s - r.asked_s) * 1e3 for r in between] or [nan])
    count = len(between)
    return Facts(
        start_s=start_s,
        images_per_s=count / (after.at_s - before.at_s),
        p50_ms=times.median,
        p99_ms=times.percentile(99),
        wire_bytes=(after.wire_bytes - before.wire_bytes) / count if count else nan,
        cpu_s=(after.usage.cpu_s - before.usage.cpu_s) / count if count else nan,
        memory_bytes=after.usage.memory_bytes,
        asked=len(records),
        lost=len(bad),
        back_s=min(back_s, default=None),
        pause_s=pause_s(good, killed_s),
        why=bad[0].why if bad else "",
    )


def pause_s(good: Sequence[Record], killed_s: float) -> float:
    """The longest time between two right answers from the last before the kill on; infinite when
    none came after it."""
    ends = sorted(record.ended_s for record in good)
    last = max((end for end in ends if end <= killed_s), default=killed_s)
    later = [end for end in ends if end > killed_s]
    return max((b - a for a, b in itertools.pairwise([last, *later])), default=math.inf)
