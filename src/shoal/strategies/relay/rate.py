"""Whether a rate can be held, and with which thresholds: told before anything serves. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from shoal.strategies.relay.rules import followed

FULL = 0.9
"""The load up to which a rate is held: queues grow long before all are busy all the time."""
STEPS = 200
"""Sets of thresholds that are tried, from those of the plan to the loosest."""


class Can(NamedTuple):
    """What can be done with ``thresholds``, by the forecast: so many images in a second, bounded by
    what is ``slowest``; the share ``accuracy`` of the answers is right."""

    thresholds: tuple[float, ...]
    images_per_s: float
    accuracy: float
    slowest: str

    def load(self, rate: float) -> float:
        """Which share of that is asked."""
        return rate / self.images_per_s

    def holds(self, rate: float) -> bool:
        """Whether all that is asked can be answered."""
        return self.load(rate) <= FULL


def surest(
    rate: float,
    planned: Sequence[float],
    loosest: float,
    can: Callable[[tuple[float, ...]], Can],
) -> Can:
    """What can be done with the surest thresholds that hold a rate, of those to which the
    ``planned`` ones may follow it; where none do, with the surest of those with which most can be
    done."""
    best = can(tuple(planned))
    for step in range(STEPS + 1):
        if best.holds(rate):
            break
        found = can(tuple(followed(each, 1 - step / STEPS, loosest) for each in planned))
        if found.images_per_s > best.images_per_s:
            best = found
    return best


def told(rate: float, planned: Can, following: Can, fixed: str) -> str:
    """What becomes of a rate, in a sentence: with the thresholds that are planned where accuracy is
    ``fixed``, else with those that follow the rate."""
    is_fixed = fixed == "accuracy"
    used = planned if is_fixed else following
    if used.holds(rate):
        load = 100 * used.load(rate)
        return f"{rate:g} images/s can be held, at a load of {load:.0f} %: {able(used)}"
    most = FULL * used.images_per_s
    text = (
        f"{rate:g} images/s cannot be held: {able(used)}, {most:.1f} with short queues, bounded by "
        f"{used.slowest}; the rest is refused"
    )
    if is_fixed and following.holds(rate):
        text += f" (with --fixed rate it is held: {able(following)})"
    return text


def able(can: Can) -> str:
    """What can be done, in words."""
    sure = ", ".join("never" if each > 1 else f"{each:.3f}" for each in can.thresholds)
    right = f"{100 * can.accuracy:.2f} % of the answers are right"
    return f"thresholds {sure} let {can.images_per_s:.1f} be done, and {right}"
