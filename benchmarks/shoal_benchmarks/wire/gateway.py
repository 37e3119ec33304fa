"""CPU time of a gateway and of its one remote stage for an image of 150 kB (1x224x224x3, uint8),
of which the stage computes next to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from shoal_benchmarks.measure import samples
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.wire.sides import Cost, Side, before, in_turns

GOAL = "<= 0.24"
"""In ms, for either, on a core that needs 5 ms for EfficientNet-Lite0; half of what the version
needed that this is held against."""
ROUNDS, QUICK_ROUNDS = 15, 5
TURN_S, QUICK_TURN_S = 3.0, 1.5
NOW, BEFORE = "now", "before"


def rows(quick: bool) -> Iterator[Row]:
    """Times of both, and over those of another version if there is one."""
    other = before()
    rounds, turn_s = (QUICK_ROUNDS, QUICK_TURN_S) if quick else (ROUNDS, TURN_S)
    with ExitStack() as stack:
        sides = {NOW: stack.enter_context(Side("shoal", "image"))}
        if other is not None:
            sides[BEFORE] = stack.enter_context(Side("shoal", "image", other))
        costs = in_turns(sides, rounds, turn_s)
    yield from rows_of(costs)


def rows_of(costs: Mapping[str, Sequence[Cost]]) -> Iterator[Row]:
    """The table."""
    what = "one remote stage, an image of 150 kB uint8: CPU per image"
    for who in ("gateway", "worker"):
        found = {name: samples([_ms(cost, who) for cost in each]) for name, each in costs.items()}
        yield row(f"{what}, {who}", found[NOW], "ms", GOAL)
        if BEFORE in found:
            yield row(f"{what}, {who}, before (baseline)", found[BEFORE], "ms")
            yield row(f"{what}, {who}: now over before", found[NOW].over(found[BEFORE]), "ratio")


def _ms(cost: Cost, who: str) -> float:
    return cost.client_ms if who == "gateway" else cost.others_ms
