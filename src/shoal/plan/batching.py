"""How many waiting requests are best run at once, from measured times. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shoal.plan.cluster import Cluster
from shoal.plan.profiles import Profiles

LEAST_GAIN = 0.05
"""Share of an image's time that running several at once must save, or it is left alone: each of
them waits for all."""
NEARLY = 0.02
"""A smaller batch that saves nearly as much is better, for the same reason."""


def common_batch(ratios: Sequence[Mapping[int, float]]) -> int:
    """How many requests are best run at once on any of some devices; 1 where that does not pay.

    ``ratios`` has for each device the time of an image in a run of so many, relative to a run of
    one. The device that gains least decides.
    """
    known = set.intersection(*(set(each) for each in ratios)) if ratios else set()
    worst = {count: max(each[count] for each in ratios) for count in known}
    enough = min(min(worst.values(), default=1.0) + NEARLY, 1 - LEAST_GAIN)
    return min((count for count, ratio in worst.items() if ratio <= enough), default=1)


def ratios(device: str, memory: float, cluster: Cluster, profiles: Profiles) -> dict[int, float]:
    """The ratios of a device for a part that needs ``memory`` bytes: of those batches for which a
    device with a limit has room (rather too much is expected: the weights are there but once)."""
    limit = cluster.node(device).memory
    known = profiles.device(device).batch_ratio
    return {n: ratio for n, ratio in known.items() if not limit or n * memory <= limit}
