"""How much of the time of the whole network each part of a bundle takes, measured here.

Devices are profiled with the whole network; a part takes the same share of that everywhere, which
holds well enough for parts that are made of the same kinds of nodes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from shoal.model.bundle import Bundle
from shoal.model.part import Part
from shoal.model.probe import probe

ROUNDS = 7
"""Of which the quickest counts: whatever disturbs makes a run longer."""
LEAST = 1e-3
"""A part is never taken for free."""


def shares(bundle: Bundle, parts: Iterable[str]) -> dict[str, float]:
    """The time of each of ``parts`` (hashes) over that of the whole network in one piece, in
    processor time of one thread."""
    whole_s = _quickest(bundle.part(bundle.reference.stages[0].parts["0"]))
    return {
        hash: max(LEAST, _quickest(bundle.part(hash)) / whole_s) for hash in dict.fromkeys(parts)
    }


def _quickest(part: Part) -> float:
    session = part.session()
    feeds = probe([part.specs[name] for name in part.inputs])
    session.run(feeds)
    times = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        session.run(feeds)
        times.append(time.thread_time() - began)
    return max(min(times), 1e-7)
