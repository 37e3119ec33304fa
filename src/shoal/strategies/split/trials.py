"""When a request tries the link, so that the policy ``split`` learns what it carries now.

* When nothing has told of the link for ``TRY_S``, one request takes a plan that crosses it with
  enough to tell: the one that sends the most for at most ``SHARE`` more time, or the cheapest there
  is. When that shows that the link carries more than was thought, the next ones do so too, ``ROW``
  at most: what was thought is an average, and one small message does not move it far. Where that is
  ``GROWN`` times as much, the next trial is judged as if it were ``MORE`` times of that.
* Where such a plan takes too much time, or breaks a limit, the link is probed every ``PROBE_S``:
  with a message that no request waits for, and that tells little of a quick link, but that it is
  quick.
* What crosses may itself be too small to tell a quick link from a quicker one: its way is lost in
  what hosts need to send and receive. So when the link has come to carry ``GROWN`` times of the
  least since it was tried last, or ``LATER_S`` have passed, one request takes the plan that would
  be the best if it carried ``MORE`` times of what it is thought to, if that sends more and takes at
  most ``SHARE`` more time.

Trials that take more time are made less often, so that they cost ``COST`` of it at most where
nothing tells of the link otherwise, and ``LARGER_COST`` where something does (what is measured of a
link wavers by half on a weak device), or ``GROWN_COST`` where the link has ``GROWN``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from shoal.core.policy import LinkView, View
from shoal.strategies.split.book import Book, Scene
from shoal.strategies.split.choice import GAIN, allowed, best, gains
from shoal.strategies.split.estimates import measured_s
from shoal.strategies.split.table import Costs, Facts, Flags, costs, scaled

TRY_S, LATER_S = 0.5, 10.0
PROBE_S = 1.0
SHARE = 0.25
COST, LARGER_COST, GROWN_COST = 0.03, 0.01, 0.1
TELLING_BYTES = 4096
"""Smaller messages tell nothing of what a link carries (``mesh/goodput.py``)."""
ROW, BETTER = 5, 1.1
AFTER, RARELY = 4, 20
"""Requests without a trial between two: usually, and where a trial breaks a hard limit."""
GROWN, MORE = 2.0, 4.0


class Trials(msgspec.Struct, frozen=True):
    """What is remembered of trials: when a request last crossed the link with enough to tell, and
    how many have not since; what the link was thought to carry when it was last tried (or later, if
    that was less), how many trials there were in a row, when the last one was, and the last probe.
    """

    crossed_s: float = -math.inf
    alone: int = 0
    tried_bytes_per_s: float = 0.0
    tries: int = 0
    tried_s: float = -math.inf
    probed_s: float = -math.inf


class Trial(NamedTuple):
    """The row of the plan that a request takes, the server the way to which is probed meanwhile
    (may be empty), and what is to be remembered."""

    row: int
    trials: Trials
    probe: str = ""


def trial(
    book: Book, scene: Scene, known: Facts, found: Costs, meets: Flags, view: View, row: int,
    trials: Trials,
) -> Trial:  # fmt: skip
    """A plan that tries the link in place of ``row``, the plan for this request, if it is time for
    that, or a probe; ``meets`` are the plans that meet the limits."""
    servers = [name for name in book.settings.servers if view.usable(name)]
    links = [view.links[name] for name in servers if name in view.links]
    carries = max((link.bytes_per_s for link in links), default=0.0)
    telling = scene.table.bytes * view.images >= TELLING_BYTES
    if telling[row]:
        row, trials = _larger(scene, known, found, meets, row, trials, carries, view.now)
        made = Trial(row, trials)
    else:
        made = _first(book, scene, known, found, meets, telling, view, row, trials, carries)
    return made._replace(trials=_after(made, bool(telling[made.row]), view.now))


def _after(made: Trial, tells: bool, now: float) -> Trials:
    """What is to be remembered after the request."""
    trials = made.trials
    if tells:
        return msgspec.structs.replace(trials, crossed_s=now, alone=0)
    return msgspec.structs.replace(trials, alone=trials.alone + 1)


def _first(
    book: Book, scene: Scene, known: Facts, found: Costs, meets: Flags, telling: Flags, view: View,
    row: int, trials: Trials, carries: float,
) -> Trial:  # fmt: skip
    """A plan that tells of the link, in place of one that does not; or a probe."""
    trials = _least(trials, carries)
    grown = trials.tried_bytes_per_s > 0 and _has_grown(trials, carries)
    again = _is_better(trials, carries)
    if not (again or grown) and not _is_time(trials, view.links, book.settings.servers, view.now):
        return Trial(row, trials)
    may_break = again or grown or trials.alone >= RARELY
    # First as if the link carried yet more than it has come to, then as it is thought to.
    for judged in [costs(scene.table, scaled(known, MORE)), found] if grown else [found]:
        chosen = _crossing(book, scene, judged, meets, telling, row, may_break)
        if chosen is None:
            break
        pause_s = _longer_s(found, chosen, row) / (GROWN_COST if grown else COST)
        if again or view.now - trials.tried_s >= pause_s:
            tries = trials.tries + 1 if again else 1
            return Trial(chosen, msgspec.structs.replace(
                trials, tried_bytes_per_s=carries, tries=tries, tried_s=view.now
            ))  # fmt: skip
    return _probe(book, view, row, trials)


def _probe(book: Book, view: View, row: int, trials: Trials) -> Trial:
    """A probe of the link that was measured the longest ago, if it is time for one."""
    servers = [name for name in book.settings.servers if view.usable(name)]
    if not servers or view.now - trials.probed_s < PROBE_S:
        return Trial(row, trials)
    unseen = LinkView()
    oldest = min(servers, key=lambda name: view.links.get(name, unseen).at)
    return Trial(row, msgspec.structs.replace(trials, probed_s=view.now), oldest)


def _larger(
    scene: Scene, known: Facts, found: Costs, meets: Flags, row: int, trials: Trials,
    carries: float, now: float,
) -> tuple[int, Trials]:  # fmt: skip
    """A plan that sends more than the one for this request, if the link may carry it."""
    grown = _has_grown(trials, carries)
    trials = _least(trials, carries)
    if now - trials.tried_s < (TRY_S if grown else LATER_S):
        return row, trials
    wish = scene.wish
    other = best(found, wish, meets)
    if other != row and gains(found, wish, other, row, GAIN):
        return row, trials  # it will be turned to, and tells by itself
    quicker = costs(scene.table, scaled(known, MORE))
    chosen = best(quicker, wish, allowed(quicker, wish).plans)
    longer_s = _longer_s(found, chosen, row)
    if now - trials.tried_s < longer_s / LARGER_COST:
        return row, trials
    trials = msgspec.structs.replace(trials, tried_s=now)
    if scene.table.bytes[chosen] > scene.table.bytes[row] and meets[chosen]:
        if longer_s > SHARE * found.latency_ms[row] / 1e3:
            return row, trials  # it may be worth it when the link has grown further
        row = chosen
    return row, msgspec.structs.replace(trials, tried_bytes_per_s=carries)


def _longer_s(found: Costs, chosen: int, row: int) -> float:
    """How much longer a request takes by a trial."""
    return float(found.latency_ms[chosen] - found.latency_ms[row]) / 1e3


def _least(trials: Trials, carries: float) -> Trials:
    """With what the link carries now, if that is less than when it was tried (or it was not)."""
    if 0 < trials.tried_bytes_per_s <= carries:
        return trials
    return msgspec.structs.replace(trials, tried_bytes_per_s=carries)


def _has_grown(trials: Trials, carries: float) -> bool:
    """Whether the link has come to carry much more since it was tried, or is new."""
    return 0 < carries >= GROWN * trials.tried_bytes_per_s


def _is_better(trials: Trials, carries: float) -> bool:
    """Whether the last trial, a moment ago, has shown that the link carries more than was
    thought, and there may be another at once."""
    thought = trials.tried_bytes_per_s
    new = trials.alone < AFTER and 0 < trials.tries < ROW
    return new and 0 < thought * BETTER < carries


def _is_time(
    trials: Trials, links: Mapping[str, LinkView], servers: tuple[str, ...], now: float
) -> bool:
    """Whether nothing has told of the link for long enough."""
    seen_s = max(trials.crossed_s, measured_s(links, servers))
    return trials.alone >= AFTER and now - seen_s >= TRY_S


def _crossing(
    book: Book, scene: Scene, found: Costs, meets: Flags, telling: Flags, row: int, may_break: bool
) -> int | None:
    """A plan that tells of the link; one that breaks a limit other than that of accuracy if there
    is no other and it may."""
    table = scene.table
    able = found.usable & telling
    good = able & meets
    if not good.any():
        good = able & (table.accuracy >= _least_accuracy(book))
        if not may_break or not good.any():
            return None
    latency_ms = found.latency_ms
    cheap = good & (latency_ms <= (1 + SHARE) * latency_ms[row])
    rows = range(len(table.names))
    if cheap.any():
        return max((r for r in rows if cheap[r]), key=lambda r: (table.bytes[r], -latency_ms[r]))
    return min((r for r in rows if good[r]), key=lambda r: (latency_ms[r], table.bytes[r]))


def _least_accuracy(book: Book) -> float:
    return 1.0 - dict(book.wish.limits).get("accuracy", 1.0) - 1e-9
