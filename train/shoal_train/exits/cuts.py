"""At which cuts exits stand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from shoal.errors import CutError, UsageError
from shoal.model.cuts import Cut
from shoal.model.exits import MAX_EXITS
from shoal.model.network import Network

AUTO = "auto"
COUNT = 3
"""Exits that are chosen: with the network's end they make four stages."""
NEAR = 0.08
"""Of the network's time: within so much of a place the narrowest cut is taken."""


def chosen(network: Network, at: str, node_ms: Sequence[float]) -> list[Cut]:
    """The cuts that ``at`` names (``3,8``), or three of its own choice (``auto``): at equal shares
    of the time that nodes take, where little crosses.

    CutError for what is no cut of the network that one tensor crosses, or for a network that has
    none; UsageError for no numbers.
    """
    single = {cut.at: cut for cut in network.cuts if len(cut.tensors) == 1 and _is_read(cut)}
    if at == AUTO:
        return _even(list(single.values()), node_ms, network.name)
    try:
        places = sorted({int(word) for word in at.split(",")})
    except ValueError:
        raise UsageError(f"--at {at[:60]}: write numbers of cuts (--at 3,8), or auto") from None
    if len(places) > MAX_EXITS:
        raise UsageError(f"--at names {len(places)} cuts; {MAX_EXITS} exits are possible")
    for place in places:
        if place not in single:
            nearest = min(single, key=lambda one: abs(one - place), default=None)
            raise CutError(
                f"{network.name!r} has no cut at {place} that a single tensor with channels "
                f"crosses; the nearest is at {nearest}, see 'shoal inspect --cuts'"
            )
    return [single[place] for place in places]


def shares(node_ms: Sequence[float], cuts: Sequence[Cut]) -> list[float]:
    """The share of the network's time of each stage between these cuts."""
    ends = [0, *(cut.at for cut in cuts), len(node_ms)]
    total = sum(node_ms) or 1.0
    return [sum(node_ms[a:b]) / total for a, b in pairwise(ends)]


def _is_read(cut: Cut) -> bool:
    (spec,) = cut.tensors
    return len(spec.shape) > 1 and spec.shape[0] in (None, 1) and None not in spec.shape[1:]


def _even(cuts: Sequence[Cut], node_ms: Sequence[float], name: str) -> list[Cut]:
    if not cuts:
        raise CutError(f"{name!r} has no cut that a single tensor with channels crosses")
    before = [0.0, *accumulate(node_ms)]
    found: dict[int, Cut] = {}
    for turn in range(1, COUNT + 1):
        place = turn / (COUNT + 1) * before[-1]
        apart = {cut.at: abs(before[cut.at] - place) / (before[-1] or 1.0) for cut in cuts}
        most = max(NEAR, min(apart.values()) + NEAR / 8)
        near = [cut for cut in cuts if apart[cut.at] <= most]
        # Of such that are about as near the last: what was rectified holds zeros.
        best = min(near, key=lambda cut: (cut.bytes, round(2 * apart[cut.at] / NEAR), -cut.at))
        found[best.at] = best
    return [found[at] for at in sorted(found)]
