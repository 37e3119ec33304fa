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


class Moment(NamedTuple):
    """What is known when a request comes: the facts, what each plan costs by them, which plans meet
    the limits, and the ``row`` of the one that it would take. ``telling`` are those that tell of
    the link, ``carries`` what it is thought to carry at best, ``servers`` those that are usable."""

    book: Book
    scene: Scene
    known: Facts
    found: Costs
    meets: Flags
    view: View
    row: int
    telling: Flags
    carries: float
    servers: tuple[str, ...]

    @property
    def now(self) -> float:
        """The time, in seconds."""
        return self.view.now

    def longer_s(self, row: int) -> float:
        """How much longer the request takes by another plan."""
        return float(self.found.latency_ms[row] - self.found.latency_ms[self.row]) / 1e3

    def quicker(self) -> Costs:
        """What each plan costs if the links carry more."""
        return costs(self.scene.table, scaled(self.known, MORE))


def moment(
    book: Book, scene: Scene, known: Facts, found: Costs, meets: Flags, view: View, row: int
) -> Moment:
    """What is known when a request comes."""
    servers = tuple(name for name in book.settings.servers if view.usable(name))
    links = [view.links[name] for name in servers if name in view.links]
    carries = max((link.bytes_per_s for link in links), default=0.0)
    telling = scene.table.bytes * view.images >= TELLING_BYTES
    return Moment(book, scene, known, found, meets, view, row, telling, carries, servers)


def trial(at: Moment, trials: Trials) -> Trial:
    """A plan that tries the link in place of the one for this request, if it is time for that, or a
    probe."""
    made = _larger(at, trials) if at.telling[at.row] else _first(at, trials)
    if at.telling[made.row]:
        after = msgspec.structs.replace(made.trials, crossed_s=at.now, alone=0)
    else:
        after = msgspec.structs.replace(made.trials, alone=made.trials.alone + 1)
    return made._replace(trials=after)


def _first(at: Moment, trials: Trials) -> Trial:
    """A plan that tells of the link, in place of one that does not; or a probe."""
    trials = _least(trials, at.carries)
    grown = trials.tried_bytes_per_s > 0 and _has_grown(trials, at.carries)
    again = _is_better(trials, at.carries)
    if not again and not grown and not _is_time(at, trials):
        return Trial(at.row, trials)
    may_break = again or grown or trials.alone >= RARELY
    # First as if the link carried yet more than it has come to, then as it is thought to.
    for judged in (at.quicker(), at.found) if grown else (at.found,):
        chosen = _crossing(at, judged, may_break)
        if chosen is None:
            break
        pause_s = at.longer_s(chosen) / (GROWN_COST if grown else COST)
        if again or at.now - trials.tried_s >= pause_s:
            return Trial(chosen, _tried(at, trials, trials.tries + 1 if again else 1))
    return _probe(at, trials)


def _probe(at: Moment, trials: Trials) -> Trial:
    """A probe of the link that was measured the longest ago, if it is time for one."""
    if not at.servers or at.now - trials.probed_s < PROBE_S:
        return Trial(at.row, trials)
    unseen = LinkView()
    oldest = min(at.servers, key=lambda name: at.view.links.get(name, unseen).at)
    return Trial(at.row, msgspec.structs.replace(trials, probed_s=at.now), oldest)


def _larger(at: Moment, trials: Trials) -> Trial:
    """A plan that sends more than the one for this request, if the link may carry it."""
    grown = _has_grown(trials, at.carries)
    trials = _least(trials, at.carries)
    if at.now - trials.tried_s < (TRY_S if grown else LATER_S):
        return Trial(at.row, trials)
    wish, bytes_sent = at.scene.wish, at.scene.table.bytes
    other = best(at.found, wish, at.meets)
    if other != at.row and gains(at.found, wish, other, at.row, GAIN):
        return Trial(at.row, trials)  # it will be turned to, and tells by itself
    quicker = at.quicker()
    chosen = best(quicker, wish, allowed(quicker, wish).plans)
    longer_s = at.longer_s(chosen)
    if at.now - trials.tried_s < longer_s / LARGER_COST:
        return Trial(at.row, trials)
    if bytes_sent[chosen] <= bytes_sent[at.row] or not at.meets[chosen]:
        return Trial(at.row, _tried(at, trials, trials.tries))  # there is nothing to try
    if longer_s > SHARE * at.found.latency_ms[at.row] / 1e3:
        # It may be worth it when the link has grown further.
        return Trial(at.row, msgspec.structs.replace(trials, tried_s=at.now))
    return Trial(chosen, _tried(at, trials, trials.tries))


def _tried(at: Moment, trials: Trials, tries: int) -> Trials:
    """What is remembered after a trial, one of so many in a row."""
    return msgspec.structs.replace(
        trials, tried_bytes_per_s=at.carries, tries=tries, tried_s=at.now
    )


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


def _is_time(at: Moment, trials: Trials) -> bool:
    """Whether nothing has told of the link for long enough."""
    seen_s = max(trials.crossed_s, measured_s(at.view.links, at.book.settings.servers))
    return trials.alone >= AFTER and at.now - seen_s >= TRY_S


def _crossing(at: Moment, found: Costs, may_break: bool) -> int | None:
    """A plan that tells of the link; one that breaks a limit other than that of accuracy if there
    is no other and it may."""
    table = at.scene.table
    able = found.usable & at.telling
    good = able & at.meets
    if not good.any():
        good = able & (table.accuracy >= _least_accuracy(at.book))
        if not may_break or not good.any():
            return None
    latency_ms = found.latency_ms
    cheap = good & (latency_ms <= (1 + SHARE) * latency_ms[at.row])
    rows = range(len(table.names))
    if cheap.any():
        return max((r for r in rows if cheap[r]), key=lambda r: (table.bytes[r], -latency_ms[r]))
    return min((r for r in rows if good[r]), key=lambda r: (latency_ms[r], table.bytes[r]))


def _least_accuracy(book: Book) -> float:
    return 1.0 - dict(book.wish.limits).get("accuracy", 1.0) - 1e-9
