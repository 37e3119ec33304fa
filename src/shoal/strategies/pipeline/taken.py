"""The plans that were taken on, with what their parts leave of the memory."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.plan.costs import Range
from shoal.plan.network import Part
from shoal.plan.plan import Plan
from shoal.plan.search import Chain
from shoal.strategies.ledger import Ledger


class Taken:
    """``plans``, the ``ledger`` of their parts, and the ranges of nodes that each device holds."""

    def __init__(self, ledger: Ledger) -> None:
        self.plans: list[Plan] = []
        self.ledger = ledger
        self.held: dict[str, set[Range]] = {}

    def copy(self) -> Taken:
        """One that starts from here and goes its own way."""
        twin = Taken(self.ledger.copy())
        twin.plans = list(self.plans)
        twin.held = {device: set(ranges) for device, ranges in self.held.items()}
        return twin

    @property
    def names(self) -> set[str]:
        """The names of the plans."""
        return {plan.name for plan in self.plans}

    def add(self, plan: Plan, chain: Chain, parts: Sequence[Part]) -> bool:
        """Take on a plan, unless it is there already under another name. False, and nothing
        changes, when its parts do not fit."""
        if any(plan.stages == other.stages for other in self.plans):
            return True
        if not self.ledger.put((leg.device, part) for leg, part in zip(chain, parts, strict=True)):
            return False
        for leg in chain:
            self.held.setdefault(leg.device, set()).add((leg.first, leg.last))
        self.plans.append(plan)
        return True

    def survives(self, device: str) -> bool:
        """Whether some plan does without ``device``."""
        return any(device not in plan.devices for plan in self.plans)
