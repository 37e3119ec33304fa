"""What a playbook keeps when devices are lost together. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from typing import NamedTuple

from shoal.errors import PlanError
from shoal.plan.plan import Plan, Playbook, Spread, Stage

MOST_SETS = 50_000
"""Sets of devices that are looked at."""


def plans_without(playbook: Playbook, *devices: str) -> list[Plan]:
    """The plans that can be followed when these devices are gone."""
    return [
        plan
        for plan in playbook.plans
        if all(_runs_without(stage, devices) for stage in plan.stages)
    ]


def accuracy_without(playbook: Playbook, devices: Collection[str]) -> float | None:
    """The most that is kept of the whole network's accuracy when these devices are gone; None where
    no plan can be followed, 0 where nothing is known of what one keeps."""
    return max((_kept(plan, devices) for plan in plans_without(playbook, *devices)), default=None)


class Losses(NamedTuple):
    """The sets of devices without which no plan keeps enough of the accuracy (``unprotected``), the
    small ones first, none that contains another one; and what is ``kept`` at least without others.
    """

    unprotected: tuple[tuple[str, ...], ...]
    kept: float


def losses(playbook: Playbook, gateway: str, most: int, least: float) -> Losses:
    """What becomes of the accuracy without up to ``most`` devices; ``least`` of it is enough. The
    gateway is never lost.

    Raises PlanError where there are too many sets to look at.
    """
    used = sorted({name for plan in playbook.plans for name in plan.devices} - {gateway})
    sizes = range(1, min(most, len(used)) + 1)
    count = sum(math.comb(len(used), size) for size in sizes)
    if count > MOST_SETS:
        raise PlanError(
            f"survive: {most} of {len(used)} devices can be lost in {count} ways, at most "
            f"{MOST_SETS} are looked at; ask for less"
        )
    found, worst = list[tuple[str, ...]](), 1.0
    for lost in itertools.chain.from_iterable(itertools.combinations(used, k) for k in sizes):
        if any(known <= set(lost) for known in map(set, found)):
            continue
        kept = accuracy_without(playbook, lost)
        if kept is None or kept < least:
            found.append(lost)
        else:
            worst = min(worst, kept)
    return Losses(tuple(found), worst)


def _runs_without(stage: Stage, devices: Collection[str]) -> bool:
    rest = stage.parts.keys() - set(devices)
    if stage.spread is Spread.ONE or len(rest) == len(stage.parts):
        return bool(rest)
    return stage.join is not None and stage.join.enough(rest)


def _kept(plan: Plan, devices: Collection[str]) -> float:
    together = {n for stage in plan.stages if stage.spread is Spread.ALL for n in stage.parts}
    return plan.forecast.accuracy_without(together.intersection(devices)) or 0.0
