"""What a plan keeps while devices are missing, measured on its real parts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from shoal.model.network import Network
from shoal.plan.network import Part
from shoal.plan.plan import Plan
from shoal.plan.prove import run_plan
from shoal.strategies.shards.failures import Kept, Sample, one_by_one
from shoal.strategies.shards.trials import batches, rows


def measure(
    plan: Plan,
    parts: Mapping[str, Part],
    network: Network,
    sample: Sample,
    absent: Collection[str],
) -> Kept:
    """What is kept of the whole network's answers while these devices are missing."""
    return sample.compare(
        outputs
        for feeds in batches(network, sample.images)
        for outputs in one_by_one(run_plan(plan, parts, feeds, absent), rows(feeds))
    )
