"""What a playbook keeps when devices are lost together: with the plan that its policy takes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection

import msgspec

from shoal.core.policy import DeviceView, View, deciding, find_policy
from shoal.errors import PlanError, PolicyError
from shoal.plan.plan import Plan, Playbook, Spread
from shoal.plan.playbook import runs_without
from shoal.plan.recommend import Losses

MOST_SETS = 5_000
"""Sets of devices that are looked at."""


def losses(playbook: Playbook, gateway: str, most: int, least: float) -> Losses:
    """What becomes of the accuracy without up to ``most`` devices; ``least`` of it is enough. The
    gateway is never lost.

    Raises PlanError where there are too many sets to look at.
    """
    used = sorted(_devices(playbook) - {gateway})
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


def accuracy_without(playbook: Playbook, devices: Collection[str]) -> float | None:
    """What is kept of the whole network's accuracy when these devices are gone and nothing else is
    to be done; None where nothing answers, 0 where nobody knows."""
    playbook = msgspec.structs.replace(playbook, plans=playbook.in_place)
    there = {name: DeviceView(usable=name not in devices) for name in _devices(playbook)}
    at = tuple(spec.name for spec in playbook.inputs)
    try:
        policy = find_policy(playbook.policy.name)
        with deciding(playbook):
            choice, _ = policy.choose(playbook, View(0.0, there), at, None)
    except PolicyError:
        return None
    plan = None if choice is None else playbook.plan(choice.plan)
    if plan is None or not runs_without(plan, devices):
        return None
    return plan.forecast.accuracy_without(_together(plan).intersection(devices)) or 0.0


def _devices(playbook: Playbook) -> set[str]:
    return {name for plan in playbook.plans for name in plan.devices}


def _together(plan: Plan) -> set[str]:
    """Those whose slices are joined: of others that may run a stage one will do."""
    stages = (stage for stage in plan.stages if stage.spread is Spread.ALL)
    return {name for stage in stages for name in stage.parts}
