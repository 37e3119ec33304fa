"""The rules of MDI-Exit (Colocrese, Koyuncu, Seferoglu; 2024, arXiv 2408.05247). Pure.

A node has an input queue, of tasks that it is to run, and an output queue, of what it has made and
not passed on yet. Queues of unequal nodes are compared by the seconds of work in them.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Rules(msgspec.Struct, frozen=True):
    """The numbers in the rules, with the paper's defaults: queues are short below ``short`` tasks
    (its T_Q1), long above ``long`` (T_Q2), and an output queue is crowded above ``crowded`` (T_O).
    What is adapted changes every ``period_s`` seconds by ``alpha`` where queues are short, ``beta``
    where they are neither, ``zeta`` the other way where they are long. Chances are drawn once in
    ``draw_s`` seconds. ``window`` is ours: at most so many tasks for each node are under way, and
    what is asked beyond that waits at the gateway, where those whose deadline is near come first.
    """

    short: float = 10.0
    long: float = 30.0
    crowded: float = 50.0
    alpha: float = 0.2
    beta: float = 0.1
    zeta: float = 0.2
    period_s: float = 0.5
    draw_s: float = 0.1
    window: float = 4.0


class Queues(NamedTuple):
    """What is in the queues of a node, in tasks, and how long it takes for one (seconds)."""

    waiting: float
    held: float
    task_s: float

    @property
    def work_s(self) -> float:
        """How long it takes for its input queue."""
        return self.waiting * self.task_s


def keeps(here: Queues, rules: Rules) -> bool:
    """Whether a node goes on with what it has just made: it has nothing else to do, or too much
    that it could not pass on."""
    return here.waiting < 1 or here.held > rules.crowded


def reaches(here: Queues, way_s: float) -> bool:
    """Whether a neighbour, the way to which takes ``way_s``, would begin with a task before this
    node has done what waits here, at least if it had nothing else to do. Where it would not, it is
    no use to give it the task, nor to hold that until it has time. Ours: in the paper links are
    quick beside tasks."""
    return way_s < here.work_s


def offloads(here: Queues, there: Queues, way_s: float, drawn: float) -> bool:
    """Whether a node gives the head of its output queue to a neighbour, the way to which takes
    ``way_s``: surely where the neighbour would begin with it sooner, else by chance, the more so
    the less it loses by that. ``drawn`` lies in [0, 1)."""
    if here.held <= there.waiting:
        return False
    here_s, there_s = here.work_s, way_s + there.work_s
    return here_s >= there_s or drawn * there_s < here_s


def followed(threshold: float, factor: float, loosest: float) -> float:
    """A threshold of the plan, where all follow the rate by a ``factor``: not below ``loosest``,
    and not raised above 1 or what was planned. An exit by which nobody is to leave stays one while
    queues are short."""
    return min(max(1.0, threshold), max(loosest, factor * threshold))


def slower_or_quicker(gap_s: float, queue: float, rules: Rules) -> float:
    """The time between two inputs after another period, where ``queue`` tasks are under way on each
    node and accuracy is fixed."""
    if queue < rules.short:
        return gap_s * (1 - rules.alpha)
    return gap_s * (1 - rules.beta) if queue < rules.long else gap_s * (1 + rules.zeta)


def surer_or_looser(threshold: float, queue: float, rules: Rules) -> float:
    """The same for a threshold, where the rate is fixed."""
    if queue < rules.short:
        return threshold * (1 + rules.alpha)
    return threshold * (1 + rules.beta) if queue < rules.long else threshold * (1 - rules.zeta)
