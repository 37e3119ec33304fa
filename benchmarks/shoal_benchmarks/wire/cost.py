"""CPU time of an image beside computing: two workers and a gateway against a plain gRPC chain.

Both run the same two stages of one trivial convolution each, on loopback, with as many requests
under way, in the same rounds. ``beside computing`` takes off what the two stages cost in one
process, measured in these rounds too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec

from shoal_benchmarks.measure import Samples, samples
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.wire.sides import Cost, Side, before, in_turns, totals

GOALS = {"64 KiB": "<= 0.65", "600 kB": "<= 0.60"}
"""By the size of the tensors: the CPU time of an image over that of the gRPC chain."""
ROUNDS, QUICK_ROUNDS = 15, 5
TURN_S, QUICK_TURN_S = 3.0, 1.5
SHOAL, BEFORE, GRPC, COMPUTE = "Shoal", "Shoal before", "gRPC chain", "computing alone"


def rows(quick: bool) -> Iterator[Row]:
    """For each size the times of all, and their ratios round by round."""
    rounds, turn_s = (QUICK_ROUNDS, QUICK_TURN_S) if quick else (ROUNDS, TURN_S)
    other = before()
    for size, goal in GOALS.items():
        with ExitStack() as stack:
            wanted = {SHOAL: "shoal", COMPUTE: "compute"}
            if find_spec("grpc") is not None:
                wanted[GRPC] = "grpc"
            else:
                yield row(f"{GRPC}, {size}: not measured, grpc is not installed", 0, "rounds")
            sides = {n: stack.enter_context(Side(system, size)) for n, system in wanted.items()}
            if other is not None:
                sides[BEFORE] = stack.enter_context(Side("shoal", size, other))
            costs = in_turns(sides, rounds, turn_s)
        yield from rows_of(size, goal, costs)


def rows_of(size: str, goal: str, costs: Mapping[str, Sequence[Cost]]) -> Iterator[Row]:
    """The rows of one size."""
    what = f"CPU per image, two stages, {size}"
    found = {name: totals(each) for name, each in costs.items()}
    for name, each in found.items():
        which = "" if name in (SHOAL, BEFORE) else " (baseline)"
        yield row(f"{what}: {name}{which}", each, "ms")
    for name in (SHOAL, BEFORE):
        if name not in found:
            continue
        gateway = samples([cost.client_ms for cost in costs[name]])
        yield row(f"{what}: {name}, of which the gateway", gateway, "ms")
        if GRPC in found:
            held = goal if name == SHOAL else None
            yield row(f"{what}: {name} over {GRPC}", found[name].over(found[GRPC]), "ratio", held)
            net = beside(found[name], found[COMPUTE]).over(beside(found[GRPC], found[COMPUTE]))
            yield row(f"{what}: {name} over {GRPC}, beside computing", net, "ratio")


def beside(total: Samples, computing: Samples) -> Samples:
    """What is left, round by round."""
    return samples([a - b for a, b in zip(total.values, computing.values, strict=True)])
