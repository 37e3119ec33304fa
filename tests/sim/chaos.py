"""What must hold at every step of a world, whatever goes wrong in it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.core.toys import check

from shoal.core.actions import Deliver, Reject
from shoal.core.events import Tick
from shoal.core.validate import broken
from shoal.plan.plan import Playbook
from shoal.sim.node import Node
from shoal.sim.world import Ticket, World

MOST_ACTIONS = 400
"""More than any one event may cause: each of the pending requests to be told to some devices."""


class Watch:
    """Watches a world: every reply is right and the only one, no machine runs wild or hoards."""

    def __init__(self, world: World, books: list[Playbook]) -> None:
        self.world = world
        self.books = books
        self.names: dict[Ticket, str] = {}
        self.deadlines: dict[Ticket, float] = {}
        self.asked: dict[Ticket, float] = {}
        self.excused: set[Ticket] = set()
        """Those whose gateway stood still: it cannot be in time."""
        self.seen: Counter[Ticket] = Counter()
        self.ticks: Counter[tuple[str, float]] = Counter()
        world.watch = self.step

    def note(self, ticket: Ticket, name: str, budget_ms: float) -> None:
        self.names[ticket] = name
        self.asked[ticket] = self.world.now
        self.deadlines[ticket] = self.world.now + budget_ms / 1e3

    def step(self, node: Node, event: Any, actions: Any) -> None:
        assert len(actions) <= MOST_ACTIONS, f"{event} caused {len(actions)} actions"
        if isinstance(event, Tick):
            key = node.name, self.world.now
            self.ticks[key] += 1
            assert self.ticks[key] <= 3, f"{node.name} ticks without end at {self.world.now}"
            if len(self.ticks) > 1000:
                self.ticks.clear()
        assert broken(node.core) == [], f"{node.name} after {event}"

    def check_replies(self) -> None:
        """New replies are right, and the only ones to their requests."""
        for ticket, replies in self.world.replies.items():
            assert len(replies) <= 1, f"{ticket} was answered twice"
            if replies and not self.seen[ticket]:
                self.seen[ticket] = 1
                self._check_reply(ticket)

    def _check_reply(self, ticket: Ticket) -> None:
        (reply,) = self.world.replies[ticket]
        match reply.what:
            case Deliver() as answer:
                check(answer, self.names[ticket], self.books)
                assert answer.attempts >= 1
            case Reject(_, "overloaded", text):
                assert reply.at == self.asked[ticket]
                assert text
            case Reject(_, kind, text):
                assert text
                if kind != "remote":
                    early_s = self.deadlines[ticket] - reply.at
                    assert early_s < 1e-6, f"{kind} before the deadline: {text}"
        if ticket not in self.excused:
            assert reply.at <= self.deadlines[ticket] + 1e-6

    def excuse(self, gateway: str) -> None:
        """A gateway is about to stand still."""
        self.excused |= {t for t, r in self.world.replies.items() if t.gateway == gateway and not r}

    def overdue(self) -> list[Ticket]:
        """Requests of gateways that live that should have been replied to."""
        return [
            ticket
            for ticket, replies in self.world.replies.items()
            if not replies
            and self.world.nodes[ticket.gateway].life == ticket.life
            and not self.world.nodes[ticket.gateway].silent
            and self.deadlines[ticket] + 1e-6 < self.world.now
        ]
