"""Plans for devices with less memory than a network takes: what each device needs for its parts,
and how much of that its weights are.

Limits are shares of the memory that the whole network takes on one device; nobody may be lost. How
right the memory of a part is told is measured by ``foundation.memory``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

from shoal.errors import MissingExtraError, PlanError
from shoal.model.network import Network
from shoal.plan.objective import Objective
from shoal.plan.size import Size
from shoal.strategies.making import make
from shoal_benchmarks.row import Row, row
from shoal_benchmarks.shards.layouts import ground_for, weight_bytes
from shoal_benchmarks.subjects import LITE0, LOADERS, of_pytorchcv

DEVICES = 4
LIMITS = (1.0, 0.75, 0.5, 0.35)
"""Of the whole network's memory."""
NETWORKS: dict[str, Callable[[], Network]] = {
    LITE0: LOADERS[LITE0],
    "vgg11": partial(of_pytorchcv, "vgg", "vgg11"),
}
"""One whose weights are few, and one whose weights are most of what it takes."""


def rows(quick: bool) -> Iterator[Row]:
    """Both networks; only the first when ``quick``."""
    for name in list(NETWORKS)[: 1 if quick else None]:
        try:
            network = NETWORKS[name]()
        except MissingExtraError as error:
            print(f"no rows for {name}: {error}", file=sys.stderr)
            continue
        yield from rows_for(network)


def rows_for(network: Network) -> Iterator[Row]:
    """A plan for each limit; 0 where there is none."""
    ground = ground_for(network, DEVICES)
    (whole,) = network.split((), prove=False)
    for share in LIMITS:
        limit = int(share * whole.memory)
        what = f"{network.name}, {DEVICES} devices with {share:g} of its memory"
        wish = Objective(max_memory=Size(limit), survive=0)
        try:
            built = make("shards", network, ground.cluster, ground.profiles, wish)
        except PlanError as error:
            print(f"{what}: {error}", file=sys.stderr)
            yield row(f"{what}: stages", 0, "stages")
            continue
        plan = built.playbook.plans[0]
        most = max(plan.forecast.memory.values())
        weights = [
            sum(weight_bytes(built.parts[stage.parts[name]]) for stage in plan.stages)
            for name in ground.devices
        ]
        yield row(f"{what}: stages", len(plan.stages), "stages")
        yield row(f"{what}: memory of the fullest, of the limit", most / limit, "share", "<= 1")
        heaviest = max(weights) / weight_bytes(whole)
        yield row(f"{what}: weights of the heaviest", heaviest, "of the network")
