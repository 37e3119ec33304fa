"""Nodes of this machine: what it has to offer, and what parts may take of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from shoal import allowance
from shoal.core.messages import DeviceInfo
from shoal.mesh.link import Link
from shoal.model.engine import Engine
from shoal.model.store import PartStore
from shoal.runtime.node import Node
from shoal.runtime.recording import RecordingWriter
from shoal.version import VERSION

if TYPE_CHECKING:
    from shoal.core.gateway.gateway import GatewayCore

OWN_BYTES = 80 << 20
"""What a worker takes without any part."""
MEMORY_SHARE = 0.8
"""Share of the rest that parts and their runs may take when nothing is stated."""

log = logging.getLogger("shoal")


def make_node(
    link: Link,
    store: PartStore,
    engine: Engine,
    *,
    memory_limit: int = 0,
    inbox: int = 256,
    gateway: GatewayCore | None = None,
    record: str | Path | None = None,
) -> Node:
    """A node of this machine, not started. ``memory_limit`` is bytes for loaded parts and what
    they run (0, or more than this process may have: four fifths of what it may have beside what
    it takes itself). ``record`` is a file for all that it does (see
    :mod:`shoal.runtime.recording`): StoreError where that cannot be written."""
    cores = allowance.whole_cores()
    if engine.threads > cores:
        log.warning("%s: %d threads on %d core(s)", link.name, engine.threads, cores)
    info = DeviceInfo(
        name=link.name,
        incarnation="",
        version=VERSION,
        cores=cores,
        threads=engine.threads,
        memory=_memory(link.name, memory_limit),
        provider=engine.provider,
        worker=gateway is None,
    )
    return Node(
        link,
        info,
        store,
        engine,
        gateway=gateway,
        inbox=inbox,
        recording=None if record is None else RecordingWriter(record),
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
