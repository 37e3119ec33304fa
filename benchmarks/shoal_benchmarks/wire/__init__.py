"""What the wire costs and stands: CPU time beside a gRPC chain, a frozen peer, large requests.

What it holds in memory is measured in :mod:`shoal_benchmarks.foundation.memory`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from shoal_benchmarks.row import Row

SECTIONS = ("cost", "gateway", "frozen", "large")


def rows(quick: bool) -> Iterator[Row]:
    """All sections in turn; each also alone, as ``wire.cost``."""
    for section in SECTIONS:
        yield from import_module(f"{__name__}.{section}").rows(quick)
