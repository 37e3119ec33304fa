"""The lab's numbers: how right it is, how fast it comes and goes, and what Shoal survives in it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from shoal_benchmarks.row import Row

SECTIONS = ("emulation", "coming", "failover", "chaos")


def rows(quick: bool) -> Iterator[Row]:
    """All sections in turn; each also alone, as ``lab.failover``."""
    for section in SECTIONS:
        yield from import_module(f"{__name__}.{section}").rows(quick)
