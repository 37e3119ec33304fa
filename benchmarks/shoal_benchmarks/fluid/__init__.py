"""Sub-networks that answer together and alone: throughput, accuracy, and what losses cost.

A reader's path: :mod:`bundles` (what is run), :mod:`scenes` (hosts that are lost and come back),
then a module for each section.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from shoal_benchmarks.row import Row

SECTIONS = ("accuracy", "matrix", "scale", "switch", "exact")


def rows(quick: bool) -> Iterator[Row]:
    """All sections in turn."""
    for section in SECTIONS:
        yield from import_module(f"{__name__}.{section}").rows(quick)
