"""``relay`` in virtual time: what nodes can do together is done, unequal ones too; and under
overload thresholds follow, or what cannot be answered in time is refused."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.core.toys import find, leaving, one, plan, playbook

from shoal.core.actions import Deliver, Reject
from shoal.core.policy import Policy
from shoal.plan.plan import Playbook, PolicySpec
from shoal.sim.engine import Symbols, Token
from shoal.sim.wires import Wire
from shoal.sim.world import Reply, Ticket, World
from shoal.strategies.relay.policy import policy
from shoal.strategies.relay.settings import Settings

TASK_MS, TASKS = 10.0, 4
LEAVES = (0.3, 0.6, 0.8)
"""The share of images that have left after each exit, at the threshold that is planned."""
THRESHOLD = 0.8
STAGES = {"0-3": 0, "3-6": 1, "6-9": 2}
MEAN_TASKS = 1 + sum(1 - share for share in LEAVES)
WARM_S, SECONDS = 4.0, 8.0


class Ended(NamedTuple):
    """A request that was asked at ``at`` and took so long (seconds)."""

    at: float
    took_s: float
    what: Deliver | Reject


def policies(name: str) -> Policy:
    return policy if name == "relay" else find(name)


def sure(part: str, made: tuple[Any, ...]) -> float:
    """How sure an exit is of an image: above the threshold for the share that leaves by then."""
    while made[0] != "input":
        made = made[2]
    share = LEAVES[STAGES[part]]
    return max(0.0, min(1.0, THRESHOLD + (share - Random(made[1]).random()) / 2))


QUICK, SLOW = Wire(delay_s=0.001, bytes_per_s=25e6), Wire(bytes_per_s=1.25e6)
SIZES = (20_000.0, *(10_000.0,) * 3)
WIDE = (3_000.0, 200_000.0, 100_000.0, 50_000.0)
"""What enters each task: of the last, more than a slow line carries in the time of ten tasks."""


def book(
    names: list[str],
    fixed: str,
    threshold: float = THRESHOLD,
    sizes: tuple[float, ...] = SIZES,
    wire: Wire = QUICK,
    alone: bool = False,
) -> Playbook:
    ends = [(3 * k, 3 * k + 3) for k in range(TASKS)]
    stages = [one(*each, names) for each in ends]
    made = playbook(plan("relay", *(leaving(s, threshold) for s in stages[:-1]), stages[-1]))
    settings = Settings(
        sizes=sizes,
        fixed=fixed,
        least_gap_s=1e-3,
        neighbours=dict.fromkeys(names, ()) if alone else {},
        bytes_per_s=wire.bytes_per_s,
    )
    return msgspec.structs.replace(made, policy=PolicySpec("relay", msgspec.to_builtins(settings)))


class Fleet:
    """Nodes of these speeds, and a gateway that is asked ``rate`` times in a second."""

    def __init__(
        self,
        *speeds: float,
        fixed: str = "accuracy",
        threshold: float = THRESHOLD,
        sizes: tuple[float, ...] = SIZES,
        wire: Wire = QUICK,
        alone: bool = False,
    ) -> None:
        self.names = [f"w{k}" for k in range(len(speeds))]
        speed = dict(zip(self.names, speeds, strict=True))
        self._size = int(sizes[0])
        after = dict(zip(STAGES, sizes[1:], strict=True))
        engine = Symbols(
            lambda device, part, batch: TASK_MS * batch / speed[device],
            lambda part: int(after.get(part, sizes[-1])),
            confidence=sure,
        )
        self.world = World(engine, lambda a, b: wire, policies=policies)
        for name in ["g", *self.names]:
            self.world.add(name, **({"gateway": {}} if name == "g" else {}))
        self.world.run(0.1)
        made = book(self.names, fixed, threshold, sizes, wire, alone)
        self.world.adopt("g", made)
        self.world.run(1.0)
        self.ended: list[Ended] = []
        self._asked: dict[int, float] = {}
        self._count = 0
        self.world.told = self._told
        self.capacity = sum(speeds) / TASK_MS * 1e3 / MEAN_TASKS
        """Images in a second, if nobody was ever idle."""

    def ask(self, rate: float, seconds: float, budget_ms: float = 2000.0) -> list[Ended]:
        """What became of requests that came by chance, once those of before are forgotten."""
        chance, self.ended = Random(1), []
        end = self.world.now + seconds
        while self.world.now < end:
            body = Token(("input", f"x{self._count}"), self._size)
            self._asked[self._count] = self.world.now
            self._count += 1
            self.world.submit("g", body, budget_ms)
            self.world.run(chance.expovariate(rate))
        found = list(self.ended)
        self.world.run(budget_ms / 1e3 + 1.0)
        assert not self._asked, "each request has an end"
        return found

    def _told(self, ticket: Ticket, reply: Reply) -> None:
        at = self._asked.pop(ticket.number)
        self.ended.append(Ended(at, reply.at - at, reply.what))


def answered(ended: list[Ended]) -> list[Deliver]:
    return [each.what for each in ended if isinstance(each.what, Deliver)]


@pytest.mark.parametrize("speeds", [(1, 1, 1), (1, 2, 4)])
def test_together_they_do_nearly_all_that_they_can_however_unequal_they_are(
    speeds: tuple[float, ...],
) -> None:
    fleet = Fleet(*speeds)
    fleet.ask(2 * fleet.capacity, WARM_S)
    ended = fleet.ask(2 * fleet.capacity, SECONDS)
    assert len(answered(ended)) / SECONDS >= 0.9 * fleet.capacity


def done(fleet: Fleet) -> int:
    """Answers to requests that come twice as fast as they can be answered."""
    fleet.ask(2 * fleet.capacity, WARM_S)
    return len(answered(fleet.ask(2 * fleet.capacity, SECONDS)))


@pytest.mark.parametrize("speeds", [(1, 1, 1), (1, 2, 4)])
@pytest.mark.parametrize("wire", [QUICK, SLOW])
def test_together_they_do_no_less_than_each_alone_with_the_same_exits(
    speeds: tuple[float, ...], wire: Wire
) -> None:
    """A slow line takes longer for a task than any queue here: it is not given away there."""
    alone = done(Fleet(*speeds, sizes=WIDE, wire=wire, alone=True))
    assert done(Fleet(*speeds, sizes=WIDE, wire=wire)) >= 0.98 * alone


def test_what_cannot_be_answered_in_time_is_refused_with_a_time_to_come_back() -> None:
    fleet = Fleet(1, 1, 1)
    fleet.ask(3 * fleet.capacity, WARM_S, 1000.0)
    ended = fleet.ask(3 * fleet.capacity, SECONDS, 1000.0)
    kinds = Counter(each.what.kind for each in ended if isinstance(each.what, Reject))
    assert kinds["overloaded"] > len(ended) / 2
    assert all(
        each.what.retry_after_s
        for each in ended
        if isinstance(each.what, Reject) and each.what.kind == "overloaded"
    )
    done = len(answered(ended))
    assert done / SECONDS >= 0.9 * fleet.capacity, "refusals cost no answers"
    assert kinds["deadline"] <= 0.02 * done


def test_with_the_rate_fixed_thresholds_follow_it() -> None:
    """More is asked than could be answered with the thresholds that are planned; then little."""
    fleet = Fleet(1, 1, 1, fixed="rate")
    rate = 1.5 * fleet.capacity
    fleet.ask(rate, WARM_S)
    ended = fleet.ask(rate, SECONDS)
    assert len(answered(ended)) >= 0.98 * len(ended)
    assert len(answered(ended)) >= 1.3 * fleet.capacity * SECONDS
    hurried = [len(each.trace) for each in answered(ended)]
    fleet.ask(0.2 * rate, SECONDS)
    calm = [len(each.trace) for each in answered(fleet.ask(0.2 * rate, WARM_S))]
    assert sum(hurried) / len(hurried) < MEAN_TASKS < sum(calm) / len(calm)


@pytest.mark.parametrize(("threshold", "tasks"), [(0.0, 1), (1.1, TASKS)])
def test_thresholds_that_all_pass_or_none(threshold: float, tasks: int) -> None:
    fleet = Fleet(1, 1, threshold=threshold)
    assert {len(each.trace) for each in answered(fleet.ask(10.0, 1.0))} == {tasks}


def test_a_node_that_dies_loses_nothing_and_one_that_joins_is_used() -> None:
    fleet = Fleet(1, 1, 1)
    rate = 0.5 * fleet.capacity
    fleet.world.clock.after(1.0, lambda: fleet.world.kill("w1"))
    fleet.world.clock.after(3.0, lambda: fleet.world.restart("w1"))
    ended = fleet.ask(rate, 6.0, 5000.0)
    assert not any(isinstance(each.what, Reject) for each in ended)
    late = [each.what for each in ended if each.at > ended[0].at + 4.0]
    used = Counter(step.device for what in late if isinstance(what, Deliver) for step in what.trace)
    assert used["w1"] > 0
