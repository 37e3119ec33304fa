"""Nodes of this machine: what it has to offer, and what parts may take of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from shoal.core.actions import Deliver, Reject
from shoal.core.messages import DeviceInfo
from shoal.errors import ShoalError
from shoal.mesh.link import Link
from shoal.model.engine import Engine
from shoal.model.store import PartStore
from shoal.runtime.node import Node
from shoal.version import VERSION

if TYPE_CHECKING:
    from shoal.core.gateway import GatewayCore

MEMORY_SHARE = 0.8
"""Share of the machine's memory that parts may take when no limit is stated."""


def make_node(
    link: Link,
    store: PartStore,
    engine: Engine,
    *,
    memory_limit: int = 0,
    inbox: int = 256,
    gateway: GatewayCore | None = None,
    on_result: Callable[[Deliver | Reject], None] | None = None,
    on_fault: Callable[[ShoalError], None] | None = None,
    on_peer: Callable[[str, bool], None] | None = None,
) -> Node:
    """A node of this machine, not started. ``memory_limit`` is bytes for loaded parts (0: four
    fifths of the machine's memory)."""
    affinity = getattr(os, "sched_getaffinity", None)
    info = DeviceInfo(
        name=link.name,
        incarnation="",
        version=VERSION,
        cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        threads=engine.threads,
        memory=memory_limit or int(MEMORY_SHARE * machine_memory()),
        provider=engine.provider,
        worker=gateway is None,
    )
    return Node(
        link,
        info,
        store,
        engine,
        gateway=gateway,
        on_result=on_result,
        on_fault=on_fault,
        on_peer=on_peer,
        inbox=inbox,
    )


def machine_memory() -> int:
    """Bytes of memory of this machine (0 where the system does not say)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
