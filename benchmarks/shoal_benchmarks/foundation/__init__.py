"""The foundation's numbers: cuts, hops, pipelines, forecasts, failover, memory."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from shoal_benchmarks.row import Row

SECTIONS = ("parts", "hops", "pipelines", "forecasts", "failover", "memory")


def rows(quick: bool) -> Iterator[Row]:
    """All sections in turn."""
    for section in SECTIONS:
        yield from import_module(f"{__name__}.{section}").rows(quick)
