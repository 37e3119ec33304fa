"""When a request tries the link, so that the policy ``split`` learns what it carries now.

* When nothing has told of the link for ``TRY_S``, one request takes a plan that crosses it with
  enough to tell: the one that sends the most for at most ``SHARE`` more time, or the cheapest there
  is. Trials that take more time are made less often, so that they cost ``COST`` of it at most. When
  one shows that the link carries more than was thought, the next ones do so too, ``ROW`` at most:
  what was thought is an average, and one small message does not move it far. Where that is
  ``GROWN`` times as much, the next trial is judged as if it were ``MORE`` times of that.
* What crosses may itself be too small to tell a quick link from a quicker one: its way is lost in
  what hosts need to send and receive. So when the link has come to carry ``GROWN`` times of what it
  did when it was tried last, one request takes the plan that would be the best if it carried
  ``MORE`` times of that, if it sends more and takes at most ``SHARE`` more time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from shoal.core.policy import LinkView, View
from shoal.strategies.split.book import Book, Scene
from shoal.strategies.split.choice import allowed, best
from shoal.strategies.split.estimates import measured_s
from shoal.strategies.split.table import Costs, Facts, Flags, costs, scaled

TRY_S, SELDOM_S = 0.5, 30.0
SHARE = 0.25
COST = 0.05
TELLING_BYTES = 4096
"""Smaller messages tell nothing of what a link carries (``mesh/goodput.py``)."""
ROW, BETTER = 5, 1.1
AFTER, RARELY = 4, 20
"""Requests without a trial between two: usually, and where a trial breaks a hard limit."""
GROWN, MORE = 1.5, 4.0


class Trials(msgspec.Struct, frozen=True):
    """What is remembered of trials: when a request last crossed the link, how many have not since,
    what the link was thought to carry when it was last tried (or later, if that was less), how
    many trials there were in a row, and when the last one was."""

    crossed_s: float = -math.inf
    alone: int = 0
    tried_bytes_per_s: float = 0.0
    tries: int = 0
    tried_s: float = -math.inf

    def after(self, crosses: bool, now: float) -> Trials:
        """What is to be remembered after a request that crosses the link or does not."""
        if crosses:
            return msgspec.structs.replace(self, crossed_s=now, alone=0)
        return msgspec.structs.replace(self, alone=self.alone + 1)


def trial(
    book: Book, scene: Scene, known: Facts, found: Costs, meets: Flags, view: View, row: int,
    trials: Trials,
) -> tuple[int, Trials]:  # fmt: skip
    """The row of a plan that tries the link, if it is time for that, else ``row``, which is the
    plan for this request; ``meets`` are the plans that meet the limits."""
    carries = max((link.bytes_per_s for link in view.links.values()), default=0.0)
    if scene.table.bytes[row] > 0:
        return _larger(scene, known, found, meets, row, trials, carries)
    again = _is_better(trials, carries)
    if not again and not _is_time(trials, view.links, book.settings.servers, view.now):
        return row, trials
    grown = again and carries >= GROWN * trials.tried_bytes_per_s
    judged = costs(scene.table, scaled(known, MORE)) if grown else found
    chosen = _crossing(book, scene, judged, meets, row, again or trials.alone >= RARELY)
    if chosen is None:
        return row, trials
    longer_s = float(found.latency_ms[chosen] - found.latency_ms[row]) / 1e3
    if not again and view.now - trials.tried_s < min(longer_s / COST, SELDOM_S):
        return row, trials
    return chosen, msgspec.structs.replace(
        trials,
        tried_bytes_per_s=carries,
        tries=trials.tries + 1 if again else 1,
        tried_s=view.now,
    )


def _larger(
    scene: Scene, known: Facts, found: Costs, meets: Flags, row: int, trials: Trials, carries: float
) -> tuple[int, Trials]:
    """A plan that sends more than the one for this request, if the link may carry it."""
    if carries <= trials.tried_bytes_per_s:
        return row, msgspec.structs.replace(trials, tried_bytes_per_s=carries)
    if carries < GROWN * trials.tried_bytes_per_s or best(found, scene.wish, meets) != row:
        return row, trials  # where another is better already, it will be turned to
    trials = msgspec.structs.replace(trials, tried_bytes_per_s=carries)
    quicker = costs(scene.table, scaled(known, MORE))
    chosen = best(quicker, scene.wish, allowed(quicker, scene.wish).plans)
    sends_more = scene.table.bytes[chosen] > scene.table.bytes[row]
    cheap = found.latency_ms[chosen] <= (1 + SHARE) * found.latency_ms[row]
    return chosen if sends_more and cheap and meets[chosen] else row, trials


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
    book: Book, scene: Scene, found: Costs, meets: Flags, row: int, may_break: bool
) -> int | None:
    """A plan that crosses the link; one that breaks a limit other than that of accuracy if there
    is no other and it may."""
    table = scene.table
    able = found.usable & (table.bytes > 0)
    good = able & meets
    if not good.any():
        good = able & (table.accuracy >= _least_accuracy(book))
        if not may_break or not good.any():
            return None
    telling = good & (table.bytes >= TELLING_BYTES)
    good = telling if telling.any() else good
    latency_ms = found.latency_ms
    cheap = good & (latency_ms <= (1 + SHARE) * latency_ms[row])
    rows = range(len(table.names))
    if cheap.any():
        return max((r for r in rows if cheap[r]), key=lambda r: (table.bytes[r], -latency_ms[r]))
    return min((r for r in rows if good[r]), key=lambda r: (latency_ms[r], table.bytes[r]))


def _least_accuracy(book: Book) -> float:
    return 1.0 - dict(book.wish.limits).get("accuracy", 1.0) - 1e-9
