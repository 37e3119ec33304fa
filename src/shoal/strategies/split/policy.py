"""The policy ``split``; what it decides is in ``decide``, which a worker that only passes requests
on never loads."""

from __future__ import annotations

from typing import Any

from shoal.core.policy import Choice, View
from shoal.plan.plan import Playbook
from shoal.strategies.preferred import Quickest


class Split(Quickest):
    """Cut and precision of the transferred tensor, chosen again as device and link change."""

    def choose(
        self, playbook: Playbook, view: View, at: tuple[str, ...], memory: Any
    ) -> tuple[Choice | None, Any]:
        """The plan for a request whose tensors ``at`` are at hand, and who runs it."""
        from shoal.strategies.split.decide import decide

        return decide(playbook, view, at, memory)


policy = Split()
