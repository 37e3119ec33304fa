"""Who died of what: the truth about a world, which its gateways have to guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shoal.core.actions import Run
from shoal.core.events import JobKey, Ran, RunFailed
from shoal.sim.node import Node
from shoal.sim.world import Ticket, World


class Deaths:
    """Remembers what each life of each node was running when it ended."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._runs: dict[tuple[str, int], dict[tuple[JobKey, ...], None]] = {}
        self._next = world.watch
        world.watch = self.step

    def step(self, node: Node, event: Any, actions: Sequence[Any]) -> None:
        runs = self._runs.setdefault((node.name, node.life), {})
        if isinstance(event, Ran | RunFailed):
            runs.pop(event.jobs, None)
        for action in actions:
            if isinstance(action, Run):
                runs[action.jobs] = None
        if self._next is not None:
            self._next(node, event, actions)

    def of(self, ticket: Ticket) -> list[tuple[str, int]]:
        """The lives that ended while they ran a request, and nothing else."""
        life = f"{ticket.gateway}#{ticket.life}"
        return [
            (name, number)
            for (name, number), runs in self._runs.items()
            if self._over(name, number)
            for jobs in runs
            if [(job.gateway, job.incarnation, job.number) for job in jobs]
            == [(ticket.gateway, life, ticket.number)]
        ]

    def count(self) -> int:
        """How many lives have ended."""
        return sum(self._over(name, number) for name, number in self._runs)

    def _over(self, name: str, life: int) -> bool:
        node = self.world.nodes[name]
        return node.life != life or not node.alive
