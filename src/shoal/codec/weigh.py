"""What tensors weigh packed, and how long this machine packs and unpacks them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from shoal.codec.frame import pack, unpack
from shoal.model.dtypes import Array

ROUNDS = 5
"""Of packing, of which the quickest counts."""


class Weighed(NamedTuple):
    """Bytes of a frame, and CPU time of this thread."""

    size: int
    pack_ms: float
    unpack_ms: float


def weigh(tensors: Mapping[str, Array], codec: str) -> Weighed:
    """Pack and unpack these tensors."""
    frame = pack(tensors, codec)
    pack_ms = _quickest_ms(lambda: pack(tensors, codec))
    return Weighed(frame.size, pack_ms, _quickest_ms(lambda: unpack(frame)))


def _quickest_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        work()
        times.append((time.thread_time() - began) * 1e3)
    return min(times)
