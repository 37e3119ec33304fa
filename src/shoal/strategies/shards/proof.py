"""What a plan keeps while devices are missing, measured on its real parts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from shoal.model.network import Network
from shoal.plan.network import Part
from shoal.plan.plan import Plan
from shoal.plan.prove import run_plan
from shoal.strategies.shards.failures import Kept, Sample, compare
from shoal.strategies.shards.trials import batches


def measure(
    plan: Plan,
    parts: Mapping[str, Part],
    network: Network,
    sample: Sample,
    absent: Collection[str],
) -> Kept:
    """What is kept of the whole network's answers while these devices are missing."""
    output = network.outputs[0].name
    rows = [
        run_plan(plan, parts, feeds, absent)[output] for feeds in batches(network, sample.images)
    ]
    found = np.concatenate([row.reshape(len(row), -1) for row in rows])
    return compare(sample.right, found, sample.labels)
