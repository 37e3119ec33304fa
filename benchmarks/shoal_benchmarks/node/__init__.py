"""The node: what its messages weigh, how fast it is simulated, how truly, and how well tested."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from shoal_benchmarks.row import Row

SECTIONS = ("heads", "simulator", "agreement", "mutants")


def rows(quick: bool) -> Iterator[Row]:
    """All sections in turn; each also alone, as ``node.heads``."""
    for section in SECTIONS:
        yield from import_module(f"{__name__}.{section}").rows(quick)
