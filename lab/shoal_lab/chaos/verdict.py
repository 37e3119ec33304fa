"""What faults did to the requests. Pure: happenings and records in, numbers out.

Times are seconds since the faults began. A request is *lost* when it failed though somebody who
could have answered it could be reached for at least :data:`NEEDED_S` of its life; *excused* when
nobody could.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
import numpy as np

from shoal.observe.load_generator import Failure, Record
from shoal_lab.chaos.job import Account
from shoal_lab.faults import ClockJump, Cut, Fault, Freeze, Kill, Restart
from shoal_lab.network import Network
from shoal_lab.player import Happening

RECENT_S = 1.0
"""So long before a fault somebody who was in an answer counts as being at work."""
NEEDED_S = 5.0
"""To notice that a device is back, load its parts and answer."""


class Span(msgspec.Struct, frozen=True):
    """A fault from beginning to end (None: it stayed)."""

    what: str
    fault: Fault
    begin_s: float
    end_s: float | None

    def covers(self, at_s: float) -> bool:
        """Whether it was going on then."""
        return self.begin_s <= at_s and (self.end_s is None or at_s < self.end_s)


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What a fault did. ``hit``: a device that it took away was at work in the last
    :data:`RECENT_S` before. ``silence_ms``: the longest time without any answer, ``slowest_ms``:
    the slowest answer, both until the next fault began; ``back_s``: from its end until a device
    that it had taken away was in an answer again (None: it had taken nobody away, or the device
    was not needed before it was taken away again)."""

    what: str
    at_s: float
    lasted_s: float | None
    hit: bool
    silence_ms: float
    slowest_ms: float
    back_s: float | None


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """A request without an answer."""

    asked_s: float
    ended_s: float
    reason: str
    excused: bool


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. ``usual_ms`` is the median time of an answer."""

    asked: int
    answered: int
    lost: int
    excused: int
    twice: int
    wrong: int
    degraded: int
    images_per_s: float
    usual_ms: float
    p99_ms: float
    slowest_ms: float

    @property
    def met(self) -> bool:
        """Whether every request got one right answer."""
        return self.answered > 0 and self.lost == self.twice == self.wrong == 0


def spans(happenings: Iterable[Happening]) -> list[Span]:
    """The faults that happened, in order of their beginning."""
    made: list[Span] = []
    open_at: dict[tuple[str, ...], int] = {}
    for happening in happenings:
        fault = happening.fault
        if fault is None or happening.error is not None:
            continue
        key = _key(fault)
        if happening.ends:
            at = open_at.pop(key, None)
            if at is not None:
                made[at] = msgspec.structs.replace(made[at], end_s=happening.at_s)
        elif key not in open_at:
            passes = isinstance(fault, ClockJump)
            if not passes:
                open_at[key] = len(made)
            made.append(
                Span(happening.text, fault, happening.at_s, happening.at_s if passes else None)
            )
    return made


def _key(fault: Fault) -> tuple[str, ...]:
    """What cannot be twice at a time. A killed host is down until its restart."""
    if isinstance(fault, Kill | Restart):
        return ("down", fault.host)
    place = getattr(fault, "link", None) or (getattr(fault, "host", ""),)
    return (str(type(fault).__struct_config__.tag), *place)


def away(fault: Fault, net: Network, gate: str, worker: str) -> bool:
    """Whether ``worker`` cannot answer while ``fault`` goes on."""
    if isinstance(fault, Kill | Restart | Freeze):
        return fault.host == worker
    if isinstance(fault, Cut):
        cut = net.wire(*fault.link)
        return any(cut.index in _way(net, *pair) for pair in ((gate, worker), (worker, gate)))
    return False


def _way(net: Network, source: str, target: str) -> set[int]:
    """The wires that packets from ``source`` to ``target`` take."""
    taken = set()
    while source != target and target in net.routes.get(source, {}):
        wire = net.routes[source][target]
        taken.add(wire.index)
        source = wire.other(source)
    return taken


def able_s(
    begin_s: float, end_s: float, happened: Sequence[Span], net: Network, gate: str,
    workers: Sequence[str],
) -> float:  # fmt: skip
    """For how many seconds between two moments some worker was alive and could be reached."""
    inside = {moment for span in happened for moment in (span.begin_s, span.end_s)}
    edges = sorted({begin_s, end_s, *(m for m in inside if m and begin_s < m < end_s)})
    total_s = 0.0
    for early_s, late_s in pairwise(edges):
        middle_s = (early_s + late_s) / 2
        there = [span.fault for span in happened if span.covers(middle_s)]
        if any(not any(away(fault, net, gate, name) for fault in there) for name in workers):
            total_s += late_s - early_s
    return total_s


def losses(
    failures: Iterable[Failure], began_s: float, happened: Sequence[Span], net: Network,
    gate: str, workers: Sequence[str],
) -> list[Loss]:  # fmt: skip
    """The requests that failed. ``began_s`` is when the faults began, on the records' clock."""
    made = []
    for failure in failures:
        asked_s, ended_s = failure.asked_s - began_s, failure.ended_s - began_s
        had_s = able_s(asked_s, ended_s, happened, net, gate, workers)
        made.append(
            Loss(
                asked_s=asked_s,
                ended_s=ended_s,
                reason=failure.reason,
                excused=ended_s - asked_s >= NEEDED_S > had_s,
            )
        )
    return made


def effects(
    records: Sequence[Record], began_s: float, happened: Sequence[Span], over_s: float,
    net: Network, gate: str, workers: Sequence[str],
) -> list[Effect]:  # fmt: skip
    """What each fault did. ``records`` are in the order of their answers; ``over_s`` is when the
    load ended."""
    times = [record.answered_s - began_s for record in records]
    made = []
    begins_s = [*(span.begin_s for span in happened), over_s]
    for at, span in enumerate(happened):
        until_s = begins_s[at + 1]
        first, last = bisect_left(times, span.begin_s), bisect_left(times, until_s)
        moments = [span.begin_s, *times[first:last], max(until_s, span.begin_s)]
        gone = {name for name in workers if away(span.fault, net, gate, name)}
        again_s = min(
            (
                later.begin_s
                for later in happened[at + 1 :]
                if any(away(later.fault, net, gate, name) for name in gone)
            ),
            default=over_s,
        )
        made.append(
            Effect(
                what=span.what,
                at_s=span.begin_s,
                lasted_s=None if span.end_s is None else span.end_s - span.begin_s,
                hit=any(
                    gone & set(record.devices)
                    for record in records[bisect_left(times, span.begin_s - RECENT_S) : first]
                ),
                silence_ms=1e3 * max(b - a for a, b in pairwise(moments)),
                slowest_ms=max((one.latency_ms for one in records[first:last]), default=0.0),
                back_s=_back_s(records[first : bisect_left(times, again_s)], began_s, span, gone),
            )
        )
    return made


def _back_s(records: Sequence[Record], began_s: float, span: Span, gone: set[str]) -> float | None:
    if not gone or span.end_s is None:
        return None
    for record in records:
        if record.answered_s - began_s >= span.end_s and gone & set(record.devices):
            return record.answered_s - began_s - span.end_s
    return None


def totals(account: Account, lost: Sequence[Loss], seconds: float) -> Totals:
    """The sums. Requests that neither were answered nor failed count as lost: there are none
    unless Shoal forgot them."""
    records = account.records
    times = [record.latency_ms for record in records] or [0.0]
    excused = sum(loss.excused for loss in lost)
    return Totals(
        asked=account.asked,
        answered=len(records),
        lost=account.asked - len(records) - excused,
        excused=excused,
        twice=account.twice,
        wrong=sum(record.wrong for record in records),
        degraded=sum(record.degraded for record in records),
        images_per_s=len(records) / seconds,
        usual_ms=float(np.median(times)),
        p99_ms=float(np.percentile(times, 99)),
        slowest_ms=max(times),
    )
