"""Layers dealt over devices: what is kept when some are lost, how exact, how fast, for how long
an answer waits when a device is lost in the middle of it, and what it takes to repair that.

A reader's path: :mod:`subjects` (networks and images), :mod:`layouts` (what is dealt of a network),
:mod:`ways` (who holds what), then a module for each section.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from shoal_benchmarks.row import Row

SECTIONS = (
    "accuracy",
    "importance",
    "exact",
    "coded",
    "packed",
    "promised",
    "memory",
    "lost",
    "repair",
    "lab",
    "simulated",
)


def rows(quick: bool) -> Iterator[Row]:
    """All sections in turn; each also alone, as ``shards.accuracy``."""
    for section in SECTIONS:
        yield from import_module(f"{__name__}.{section}").rows(quick)
