"""A device that is not always there gets less of what only it would hold. Pure.

Shares go by speed times reliability: what a device computes in the long run. So one that is there
half of the time counts as one that is half as fast. The others get more and take longer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from shoal.strategies.shards.costs import Ground
from shoal.strategies.shards.layout import Layout


def speeds(ground: Ground) -> list[float]:
    """Whole networks per ms, by device."""
    times = [ground.profile(name) for name in ground.devices]
    return [1 / max(1e-6, each.range_ms(0, len(each.node_ms))) for each in times]


def counted_on(ground: Ground) -> list[float]:
    """The same in the long run."""
    sure = _reliabilities(ground)
    return [speed * share for speed, share in zip(speeds(ground), sure, strict=True)]


def told(ground: Ground, layout: Layout) -> list[str]:
    """What it changes, and what that costs, in a sentence; none where all devices are as sure."""
    sure, fair = _reliabilities(ground), speeds(ground)
    if len(set(sure)) == 1:
        return []
    even = replace(ground, shares=tuple(each / math.fsum(fair) for each in fair))
    least = sure.index(min(sure))
    return [
        f"{ground.devices[least]} is there {sure[least]:.0%} of the time: it gets "
        f"{ground.shares[least]:.0%} of what not all hold, and by its speed "
        f"{even.shares[least]:.0%}; so of that {_away(ground.shares, sure):.1%} is missing on "
        f"average, not {_away(even.shares, sure):.1%}, and all compute for about "
        f"{_compute_ms(ground, layout):.1f} ms, not {_compute_ms(even, layout):.1f} ms"
    ]


def _reliabilities(ground: Ground) -> list[float]:
    return [ground.cluster.node(name).reliability for name in ground.devices]


def _away(shares: Sequence[float], sure: Sequence[float]) -> float:
    return math.fsum(share * (1 - each) for share, each in zip(shares, sure, strict=True))


def _compute_ms(ground: Ground, layout: Layout) -> float:
    return math.fsum(ground.compute_ms(step.what) for step in layout if step.what is not None)
