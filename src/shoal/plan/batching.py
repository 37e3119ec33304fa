"""How many waiting requests are best run at once, from measured times. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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


def best_batch(
    devices: Iterable[str], memory: float, stacks: bool, cluster: Cluster, profiles: Profiles
) -> int:
    """How many requests are best run at once on any of ``devices``, for a part that needs
    ``memory`` bytes and treats images one by one if it ``stacks``. Batches for which a device with
    a limit has no room are left out (rather too much is expected: the weights are there but once).
    """
    if not stacks:
        return 1
    ratios = []
    for device in devices:
        limit = cluster.node(device).memory
        known = profiles.device(device).batch_ratio
        ratios.append({n: ratio for n, ratio in known.items() if not limit or n * memory <= limit})
    return common_batch(ratios)
