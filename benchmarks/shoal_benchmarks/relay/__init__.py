"""Networks with exits whose tasks are handed from device to device: how fast and how right, on
equal and unequal devices, under overload, and when a device is lost or slowed.

A reader's path: :mod:`subject` (the network and its images), :mod:`systems` (what is compared),
then a module for each section.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from shoal_benchmarks.row import Row

SECTIONS = ("spread", "unequal", "overload", "faults")


def rows(quick: bool) -> Iterator[Row]:
    """All sections in turn; each also alone, as ``relay.spread``."""
    for section in SECTIONS:
        yield from import_module(f"{__name__}.{section}").rows(quick)
