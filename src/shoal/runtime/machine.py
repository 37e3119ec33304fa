"""What this machine has to offer as a device, and what parts may take of it."""

from __future__ import annotations

import logging

from shoal import allowance
from shoal.core.messages import DeviceInfo
from shoal.model.engine import Engine
from shoal.version import VERSION

OWN_BYTES = 80 << 20
"""What a worker takes without any part."""
MEMORY_SHARE = 0.8
"""Share of the rest that parts and their runs may take when nothing is stated."""

log = logging.getLogger("shoal")


def own_info(name: str, engine: Engine, memory_limit: int, worker: bool) -> DeviceInfo:
    """What a node of this machine says of itself. ``memory_limit`` is bytes for loaded parts and
    what they run (0, or more than this process may have: four fifths of what it may have beside
    what it takes itself)."""
    cores = allowance.whole_cores()
    if engine.threads > cores:
        log.warning("%s: %d threads on %d core(s)", name, engine.threads, cores)
    return DeviceInfo(
        name=name,
        incarnation="",
        version=VERSION,
        cores=cores,
        threads=engine.threads,
        memory=_memory(name, memory_limit),
        provider=engine.provider,
        worker=worker,
    )


def _memory(name: str, stated: int) -> int:
    """The limit for parts, and a warning where what was stated cannot be had."""
    there = allowance.memory_bytes()
    if stated and there and stated > there:
        log.warning(
            "%s: memory is stated as %d MiB, and this process may have %d: that counts",
            name,
            stated >> 20,
            there >> 20,
        )
    if not stated or (there and stated > there):
        return max(1, int(MEMORY_SHARE * (there - OWN_BYTES))) if there else 0
    return stated
