"""A device and a server in virtual time: ``split`` follows the link, whatever that does."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import msgspec
import pytest
from tests.strategies.test_split_policy import MBIT, book

from shoal.core.actions import Deliver
from shoal.plan.plan import PartInfo
from shoal.sim.engine import Symbols, Token
from shoal.sim.wires import Wire
from shoal.sim.world import World

RUN_MS = {
    ("device", "image-logits"): 100.0,
    ("server", "image-logits"): 10.0,
    ("device", "image-middle"): 20.0,
    ("device", "middle-logits"): 80.0,
    ("server", "middle-logits"): 8.0,
}
BYTES = {"image-logits": 40, "image-middle": 5000, "middle-logits": 40}
FOLLOWS_S = 1.0


class Asked(NamedTuple):
    """A request: when it was asked, the plan that it took, how long that took (ms)."""

    at: float
    plan: str
    ms: float


class Pair:
    """A device that asks for one image after the other, and a server behind a link."""

    def __init__(self, mbit_s: float) -> None:
        plain = book(up=mbit_s * MBIT)
        names = {part for p in plain.plans for s in p.stages for part in s.parts.values()}
        parts = {name: PartInfo(size=1000, memory=1000, stacks=True) for name in names}
        engine = Symbols(lambda device, part, _: RUN_MS[device, part], BYTES.__getitem__)
        self.world = World(engine, lambda a, b: self.wire(mbit_s))
        self.world.add("device", gateway={})
        self.world.add("server")
        self.world.run(0.1)
        self.world.adopt("device", msgspec.structs.replace(plain, parts=parts))
        self.world.run(1.0)

    def wire(self, mbit_s: float) -> Wire:
        return Wire(delay_s=0.001, bytes_per_s=mbit_s * MBIT)

    def jump(self, mbit_s: float) -> None:
        for ends in (("device", "server"), ("server", "device")):
            self.world.wires.change(*ends, self.wire(mbit_s), self.world.now)

    def ask(self, seconds: float) -> list[Asked]:
        world, found = self.world, []
        began = world.now
        while world.now < began + seconds:
            at = world.now
            body = Token(("input", f"x{at}"), 50_000)
            ticket = world.submit("device", body, 5000.0)
            assert world.run_until(lambda ticket=ticket: bool(world.replies[ticket]), 10.0)
            ((reply,),) = [world.replies[ticket]]
            assert isinstance(reply.what, Deliver), reply.what
            found.append(Asked(at - began, reply.what.plan, (world.now - at) * 1e3))
        return found


def followed(asked: list[Asked]) -> float:
    """When the last change of plan was."""
    return max(next(run).at for _, run in groupby(asked, key=lambda one: one.plan))


@pytest.mark.parametrize(
    ("mbit_s", "plan", "ms"),
    [(0.05, "alone", 100.0), (1.0, "cut, 4 bits", 75.0), (100.0, "image", 16.0)],
)
def test_on_a_steady_link_the_best_plan_is_taken_and_takes_what_was_reckoned(
    mbit_s: float, plan: str, ms: float
) -> None:
    pair = Pair(mbit_s)
    pair.ask(2.0)
    asked = pair.ask(2.0)
    assert {one.plan for one in asked} == {plan}
    assert asked[-1].ms == pytest.approx(ms, rel=0.15)


@pytest.mark.parametrize("before", [0.05, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("after", [0.05, 1.0, 100.0])
def test_a_jump_of_the_link_is_followed_within_a_second_or_five_requests(
    before: float, after: float
) -> None:
    pair = Pair(before)
    pair.ask(3.0)
    pair.jump(after)
    asked = pair.ask(6.0)
    settled = followed(asked)
    late = [one for one in asked if one.at < settled]
    assert settled <= FOLLOWS_S or len(late) <= 5, asked[:20]
    fresh = Pair(after)
    fresh.ask(3.0)
    assert asked[-1].plan == fresh.ask(1.0)[-1].plan


def test_a_server_that_dies_costs_its_requests_a_start_from_what_is_kept() -> None:
    pair = Pair(1.0)
    pair.ask(1.0)
    pair.world.clock.after(0.04, pair.world.kill, "server")
    first, *rest = pair.ask(1.0)
    assert first.ms == pytest.approx(123.0, abs=3.0), "20 at first, 3 to notice, 80 for the rest"
    assert {one.plan for one in rest} == {"alone"}
    pair.world.restart("server")
    assert pair.ask(3.0)[-1].plan == "cut, 4 bits"
