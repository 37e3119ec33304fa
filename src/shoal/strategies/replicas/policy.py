"""The policy ``replicas``: each request goes to the device where it is expected to end first.

Expected end = its way there and back (from the forecast, setting ``hop_ms`` by device) + the work
given to the device and not answered, and the request's own, times how slow it has shown to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shoal.core.policy import Choice, View
from shoal.plan.plan import Plan, Playbook
from shoal.strategies.preferred import finish_ms, stage_from, usable_holders


class Replicas:
    """See the module."""

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        """The usable holder with the earliest end, over all plans of one stage."""
        best: tuple[float, Choice] | None = None
        hop_ms = _hop_ms(playbook)
        for plan in playbook.plans:
            if len(plan.stages) != 1 or stage_from(plan, at) != 0:
                continue
            for device in usable_holders(plan.stages[0], view):
                end = hop_ms.get(device, 0.0) + finish_ms(plan, 0, device, view)
                if best is None or end < best[0]:
                    best = (end, Choice(plan.name, ((device,),)))
        return (best[1] if best else None), memory

    def forward(
        self, playbook: Playbook, plan: Plan, stage: int, view: View, memory: Any
    ) -> tuple[str | None, Any]:
        """The same choice, for one stage of a plan whose route is free."""
        hop_ms = _hop_ms(playbook)
        quickest = min(
            usable_holders(plan.stages[stage], view),
            key=lambda d: hop_ms.get(d, 0.0) + finish_ms(plan, stage, d, view),
            default=None,
        )
        return quickest, memory


def _hop_ms(playbook: Playbook) -> Mapping[str, float]:
    settings = playbook.policy.settings.get("hop_ms", {})
    return settings if isinstance(settings, dict) else {}


policy = Replicas()
